"""Annealed importance sampling against the exact likelihood of the linear-Gaussian model."""

import numpy as np
import pytest

import iwae_tf
from iwae_tf import evaluation, layers

from ..fixtures import GaussianChain


@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_ais_finds_the_likelihood(linear_gaussian, start):
    x = linear_gaussian.sample(8)
    model = linear_gaussian.model(posterior_error=0.8)
    table = evaluation.ais(model, x, num_steps=300, num_chains=32, num_leapfrog_steps=5, start=start)
    error = table.log_likelihood - linear_gaussian.log_prob(x)
    assert abs(error.mean()) < 0.05
    assert (abs(error) < 5 * table.standard_error + 0.02).all()
    assert table.acceptance.between(0.4, 0.95).all()
    assert table.effective_sample_size.between(1, 32.01).all()


def test_ais_of_two_layers():
    chain = GaussianChain(2)
    x = chain.sample(6)
    table = evaluation.ais(chain.model(posterior_error=0.5), x, num_steps=300, num_chains=32, num_leapfrog_steps=5)
    assert abs(np.mean(table.log_likelihood - chain.log_prob(x))) < 0.05


def test_bdmc_bounds_from_both_sides(linear_gaussian):
    """With few steps there is a gap, with many there is none to speak of."""
    model = linear_gaussian.model(posterior_error=0.8)
    settings = {"num_observations": 30, "num_chains": 16, "num_leapfrog_steps": 5}
    coarse, fine = (evaluation.bdmc(model, num_steps=n, **settings) for n in (3, 1000))
    for table in (coarse, fine):
        np.testing.assert_allclose(table.gap, table.upper - table.lower, atol=1e-5)
    assert coarse.gap.mean() > 0.1 and -0.02 < fine.gap.mean() < 0.05


def test_density_of_q_is_not_asked_for_from_the_prior(x):
    """An inverse autoregressive flow knows that of its own samples only."""
    model = iwae_tf.mlp(
        (8, 8, 1), (3,), ((8,),), posterior="iaf", preprocessing=layers.StochasticBinarization(), seed=0
    )
    table = evaluation.ais(model, x[:4], num_steps=5, num_chains=2, num_leapfrog_steps=2)
    assert np.isfinite(table.log_likelihood).all()


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"num_steps": 0}, "num_steps"),
        ({"num_chains": 1}, "num_chains must be an integer of 2 or more"),
        ({"num_leapfrog_steps": 1.5}, "num_leapfrog_steps"),
        ({"start": "q"}, "start must be one of prior, posterior"),
    ],
)
def test_bad_arguments(linear_gaussian, bad, message):
    with pytest.raises(ValueError, match=message):
        evaluation.ais(linear_gaussian.model(), linear_gaussian.sample(2), **bad)
    with pytest.raises(ValueError, match=message):
        evaluation.bdmc(linear_gaussian.model(), **bad)
