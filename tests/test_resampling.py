"""The choice of samples: its mean against the sum over all, and the weights that are kept."""

import numpy as np
import pytest
import tensorflow as tf

from iwae_tf import random, resampling

#: Offsets of the systematic draw, one for each column.
GRID = 2000


def resample(weights, num_samples, monkeypatch):
    """Resamples the same weights `[k]` once for each offset of the draw on a grid."""
    offsets = (np.arange(GRID) + 0.5) / GRID
    monkeypatch.setattr(random, "uniform", lambda shape, seed, dtype: tf.constant(offsets[:, np.newaxis], dtype))
    columns = tf.constant(np.repeat(np.asarray(weights, np.float64)[:, np.newaxis], GRID, 1))
    return tuple(map(np.asarray, resampling.resample(columns, num_samples, random.as_seed(0))))


def sum_of_chosen(weights, indices, factors):
    """What each sample contributes, `[k, GRID]`."""
    contributions = np.zeros([len(weights), GRID])
    for index, factor in zip(indices, factors, strict=True):
        np.add.at(contributions, (index, np.arange(GRID)), factor * np.asarray(weights)[index])
    return contributions


WEIGHTS = {
    "spread": np.random.default_rng(0).dirichlet(np.full(10, 0.3)),
    "even": np.full(10, 0.1),
    "ties": np.repeat([0.3, 0.1], [2, 8]),
    "one above all": np.array([1.0] + [1e-3] * 9),
    "a tail of 1e-9": np.array([0.5, 0.5] + [1e-9] * 8),
    "not normalised": np.arange(1.0, 11.0),
    "some zero": np.array([0.4, 0.3, 0.2, 0.1] + [0.0] * 6),
}


@pytest.mark.parametrize("num_samples", [1, 2, 3, 5, 9, 10])
@pytest.mark.parametrize("name", WEIGHTS)
def test_unbiased(name, num_samples, monkeypatch):
    """On the grid a mean is exact up to c / GRID, the weight of a sample that is drawn or not at one more offset."""
    weights = WEIGHTS[name]
    contributions = sum_of_chosen(weights, *resample(weights, num_samples, monkeypatch))
    np.testing.assert_allclose(contributions.mean(1), weights, atol=2 * contributions.max() / GRID)
    # The sum of all that is chosen is the sum of all, whatever the draw: each part of the rest has the same weight.
    np.testing.assert_allclose(contributions.sum(0), weights.sum(), rtol=1e-6)


def find_threshold(weights, num_samples):
    """Finds c, for which the probabilities sum to m, by bisection."""
    low, high = 0.0, weights.sum()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(weights / middle, 1).sum() > num_samples else (low, middle)
    return high


@pytest.mark.parametrize("num_samples", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("name", WEIGHTS)
def test_what_is_above_the_threshold_is_kept_with_its_weight(name, num_samples, monkeypatch):
    weights = WEIGHTS[name]
    if num_samples > np.count_nonzero(weights):
        pytest.skip("there is no threshold: all of them are kept")
    contributions = sum_of_chosen(weights, *resample(weights, num_samples, monkeypatch))
    c = find_threshold(weights, num_samples)
    kept = weights > c * (1 + 1e-9)
    np.testing.assert_array_equal(contributions[kept], np.repeat(weights[kept, np.newaxis], GRID, 1))
    others = contributions[~kept & (weights < c * (1 - 1e-9))]
    np.testing.assert_allclose(others[others > 0], c, rtol=1e-6)


def test_less_variance_than_drawing_by_weight(monkeypatch):
    """Of a sum over 50 samples by 10 of them, with an effective sample size of 4 as on MNIST: a tenth at most."""
    rng = np.random.default_rng(4)
    log_weights, values = 2.5 * rng.normal(size=50), rng.normal(size=50)
    weights = np.exp(log_weights) / np.exp(log_weights).sum()
    assert 3 < 1 / (weights**2).sum() < 5
    expected = weights @ values
    sums = values @ sum_of_chosen(weights, *resample(weights, 10, monkeypatch))
    drawn_by_weight = weights @ (values - expected) ** 2 / 10
    assert sums.var() < 0.1 * drawn_by_weight


@pytest.mark.parametrize("weights", [[1.0, 0, 0, 0], [0.5, 0, 0.5, 0]])
def test_no_weight_is_left_to_draw(weights, monkeypatch):
    indices, factors = resample(weights, 3, monkeypatch)
    positive = np.flatnonzero(weights)
    assert np.isin(indices, positive).all(), "a sample of weight 0 may have a log weight of -inf"
    assert (np.sort(factors, 0)[::-1][: len(positive)] == 1).all() and (
        np.sort(factors, 0)[: -len(positive)] == 0
    ).all()


def test_take():
    values = tf.reshape(tf.range(24), [4, 3, 2])
    indices = tf.constant([[3, 0, 1], [2, 2, 0]])
    expected = np.take_along_axis(values.numpy(), indices.numpy()[..., np.newaxis], 0)
    np.testing.assert_array_equal(resampling.take(values, indices), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("num_samples", [1, 4, 20])
def test_compiled_and_not_are_the_same(num_samples, dtype):
    weights = tf.constant(np.random.default_rng(1).dirichlet(np.full(20, 0.2), 7).T, dtype)
    seed = random.as_seed((3, -4))
    expected = resampling.resample(weights, num_samples, seed)
    assert expected[0].shape == expected[1].shape == (num_samples, 7) and expected[1].dtype == dtype
    for jit_compile in (False, True):
        compiled = tf.function(resampling.resample, jit_compile=jit_compile, autograph=False)
        for own, other in zip(compiled(weights, num_samples, seed), expected, strict=True):
            np.testing.assert_allclose(own, other, rtol=1e-5)
