import numpy as np
import pandas as pd
import pytest

from iwae_tf.evaluation.jackknife import apply_jackknife


@pytest.mark.parametrize("k", [2, 10, 256, 5000])
def test_jackknife_is_that_of_leaving_each_sample_out(k):
    """Log weights whose tails have the shapes 0.3, 0.7 and 1.2."""
    log_weights = np.random.default_rng(0).exponential(size=(3, 5000)) * [[0.3], [0.7], [1.2]]
    w = np.exp(log_weights[:, :k])
    estimate = np.log(w.mean(1))
    without = np.log((w.sum(1, keepdims=True) - w) / (k - 1)).mean(1)
    table = pd.DataFrame({"log_likelihood": estimate - 90, "effective_sample_size": w.sum(1) ** 2 / (w**2).sum(1)})
    largest = -np.sort(-log_weights[:, :k], axis=1)[:, :256] - 90
    np.testing.assert_allclose(apply_jackknife(table, largest, k) + 90, k * estimate - (k - 1) * without, atol=1e-3)


def test_jackknife_of_one_sample():
    table = pd.DataFrame({"log_likelihood": [-1.0], "effective_sample_size": [1.0]})
    assert np.isnan(apply_jackknife(table, np.zeros((1, 256)), 1)).all()
