import math

import numpy as np
import pytest

import iwae_tf
from iwae_tf import evaluation, layers


def test_information_criteria():
    """Two latent variables, hidden layers of 3, 4 pixels: p has 2 x 3 + 3 and 3 x 4 + 4 weights, a fixed prior none."""
    model = iwae_tf.mlp((2, 2, 1), (2,), ((3,),), seed=0)
    x = (np.random.default_rng(0).random([20, 2, 2, 1]) < 0.5).astype(np.float32)
    (row,) = evaluation.information_criteria(model, x, num_samples=10).itertuples()
    total = evaluation.log_likelihood(model, x, 10).log_likelihood.sum()
    assert (row.num_parameters, row.num_observations) == (25, 20)
    assert row.log_likelihood == pytest.approx(total)
    assert row.aic == pytest.approx(50 - 2 * total) and row.bic == pytest.approx(25 * math.log(20) - 2 * total)


def test_a_learned_prior_counts():
    prior = layers.GaussianMixture(2, num_components=3)  # 3 means and 3 scales of 2
    model = iwae_tf.mlp((2, 2, 1), (2,), ((3,),), prior=prior, seed=0)
    x = np.zeros([5, 2, 2, 1], np.float32)
    assert evaluation.information_criteria(model, x, num_samples=5).num_parameters[0] == 25 + 12
