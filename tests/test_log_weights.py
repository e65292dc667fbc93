import numpy as np
import pytest
import tensorflow as tf

from iwae_tf import log_weights as lw

WEIGHTS = np.array([[1.0, 2.0], [3.0, 2.0], [4.0, 2.0]])


def test_hand_computed():
    logs = tf.constant(np.log(WEIGHTS), tf.float32)
    np.testing.assert_allclose(lw.log_mean_exp(logs), np.log([8 / 3, 2]), rtol=1e-6)
    np.testing.assert_allclose(lw.normalized_weights(logs)[:, 0], [1 / 8, 3 / 8, 4 / 8], rtol=1e-6)
    np.testing.assert_allclose(lw.effective_sample_size(logs), [64 / 26, 3], rtol=1e-6)


def test_standard_error_is_that_of_the_mean_over_the_mean():
    logs = tf.constant(np.log(WEIGHTS), tf.float32)
    expected = WEIGHTS.std(0, ddof=1) / WEIGHTS.mean(0) / 3**0.5
    np.testing.assert_allclose(lw.standard_error(lw.effective_sample_size(logs), 3), expected, atol=1e-4)
    assert np.isnan(lw.standard_error(tf.constant([1.0]), 1)[0])


def test_shares_of_others():
    """Also where one sample has all weight but 1e-20, and 1 - w~ would be 0."""
    logs = tf.constant(np.log(WEIGHTS), tf.float32)
    np.testing.assert_allclose(lw.log_share_of_others(logs)[:, 0], np.log([7 / 8, 5 / 8, 4 / 8]), rtol=1e-6)
    np.testing.assert_allclose(lw.log_share_of_others(logs)[:, 1], np.log([2 / 3] * 3), rtol=1e-6)
    extreme = tf.constant([[0.0], [-46.0], [-47.0]])
    expected = [np.log(np.exp(-46) + np.exp(-47)), -np.exp(-46.0), -np.exp(-47.0)]
    np.testing.assert_allclose(lw.log_share_of_others(extreme)[:, 0], expected, rtol=1e-5)
    assert lw.log_share_of_others(tf.zeros([1, 4])).numpy().max() == -np.inf


@pytest.mark.parametrize("shift", [-1e4, 1e4])
def test_far_from_zero(shift):
    logs = tf.constant(np.log(WEIGHTS) + shift, tf.float32)
    np.testing.assert_allclose(lw.log_mean_exp(logs), np.log([8 / 3, 2]) + shift, rtol=1e-6)
    np.testing.assert_allclose(lw.effective_sample_size(logs), [64 / 26, 3], rtol=1e-2)
