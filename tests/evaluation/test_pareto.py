import os
import subprocess
import sys

import numpy as np
import pytest

from iwae_tf.evaluation.pareto import estimate_pareto_k, import_arviz


@pytest.fixture
def log_weights():
    """5000 log weights whose tails have the shapes 0.3, 0.7 and 1.2."""
    return np.random.default_rng(0).exponential(size=(3, 5000)) * [[0.3], [0.7], [1.2]]


@pytest.mark.parametrize("k", [25, 100, 1000, 5000])
def test_pareto_k_is_that_of_the_whole_sample(log_weights, k):
    largest = -np.sort(-log_weights[:, :k], axis=1)[:, :256]
    padded = np.pad(largest, [(0, 0), (0, 256 - largest.shape[1])], constant_values=-np.inf)
    expected = [import_arviz().psislw(row[:k])[1] for row in log_weights]
    np.testing.assert_allclose(estimate_pareto_k(padded, k), expected, rtol=1e-6)


def test_a_home_that_cannot_be_written_is_no_error():
    code = "from iwae_tf.evaluation.pareto import import_arviz as a; print(a().__version__)"
    homeless = {**os.environ, "HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null/cache"}
    result = subprocess.run([sys.executable, "-c", code], env=homeless, capture_output=True, text=True, check=False)
    assert result.stdout.startswith("0."), result.stderr[-1000:]


def test_pareto_k_of_pareto_tails(log_weights):
    """The tail of 213 has a standard error of (1 + k) / sqrt(213), 0.15 at most: 3 of them."""
    shapes = estimate_pareto_k(-np.sort(-log_weights, axis=1)[:, :256], 5000)
    np.testing.assert_allclose(shapes, [0.3, 0.7, 1.2], atol=0.45)


def test_pareto_k_of_more_samples_than_are_kept(log_weights):
    shapes = estimate_pareto_k(-np.sort(-np.tile(log_weights, 20), axis=1)[:, :256], 100_000)
    assert np.isfinite(shapes).all()


def test_pareto_k_without_a_tail():
    assert np.isnan(estimate_pareto_k(np.zeros((2, 256)), 24)).all()
    assert (estimate_pareto_k(np.full((2, 256), -90.0), 5000) == -np.inf).all()
    one = np.append(0.0, np.full(255, -800.0))  # all on one sample
    assert estimate_pareto_k(one[np.newaxis], 5000)[0] == np.inf
