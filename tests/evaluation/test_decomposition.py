"""Decompositions against the exact KLs of the linear-Gaussian model."""

import sys

import numpy as np
import pytest

from iwae_tf import evaluation

from ..fixtures import GaussianChain, small_model


@pytest.mark.parametrize("num_layers", [1, 3])
def test_exact_posteriors_lose_nothing(num_layers):
    chain = GaussianChain(num_layers)
    x = chain.sample(7)
    table = evaluation.decompose(chain.model(), x, 8, 50)
    for name in ("elbo", "bound", "log_likelihood"):
        np.testing.assert_allclose(table[name], chain.log_prob(x), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(table.negative_kl, 0, atol=1e-3)
    np.testing.assert_allclose(table.elbo, -table.distortion - table.rate, rtol=1e-5)
    assert not table.flagged.any()
    np.testing.assert_allclose(table.filter(like="kl_").drop(columns="negative_kl", errors="ignore").sum(axis=1),
                               table.rate, rtol=1e-4)  # fmt: skip


def test_kl_of_a_posterior_that_is_off(linear_gaussian):
    """q is off by 0.3 in both means: KL(q || p(z|x)) = sum_u 0.3^2 / (2 v_u), to 5 standard errors."""
    x = linear_gaussian.sample(10)
    table = evaluation.decompose(linear_gaussian.model(0.3), x, 2000, 5000)
    variances = linear_gaussian.posterior_variance
    kl = (0.3**2 / (2 * variances)).sum()
    error = (0.3**2 / variances).sum() ** 0.5 / 2000**0.5
    assert (abs(table.negative_kl + kl) < 5 * error + 0.02).all()
    assert (table.elbo < table.bound + 1e-3).all() and (table.bound < table.log_likelihood + 0.05).all()


def test_kl_of_units_is_that_of_gaussians(linear_gaussian):
    x = linear_gaussian.sample(20)
    table = evaluation.kl_of_units(linear_gaussian.model(), x, 2000)
    mean, variance = linear_gaussian.posterior_mean(x), linear_gaussian.posterior_variance
    expected = 0.5 * (variance + mean**2 - 1 - np.log(variance)).mean(0)
    assert list(table.layer) == [1, 1] and list(table.unit) == [0, 1]
    np.testing.assert_allclose(table.kl, expected, atol=0.05)


def test_units_of_every_layer(x):
    table = evaluation.kl_of_units(small_model(2), x, 4)
    assert table.groupby("layer").unit.count().to_dict() == {1: 8, 2: 7}


def test_bounds_above_the_likelihood_are_flagged(linear_gaussian, monkeypatch):
    """An estimate of log p(x) that is 3 nats too low, and looks trustworthy, is caught in every row."""
    x, model = linear_gaussian.sample(10), linear_gaussian.model(0.1)
    assert not evaluation.decompose(model, x, 64, 500).flagged.any()
    module = sys.modules["iwae_tf.evaluation.decomposition"]
    right = module.log_likelihood
    lower = lambda *args: right(*args).assign(log_likelihood=lambda table: table.log_likelihood - 3)  # noqa: E731
    monkeypatch.setattr(module, "log_likelihood", lower)
    assert evaluation.decompose(model, x, 64, 500).flagged.all()
    monkeypatch.setattr(module, "log_likelihood", lambda *args: lower(*args).assign(pareto_k=0.9))
    assert not evaluation.decompose(model, x, 64, 500).flagged.any()
