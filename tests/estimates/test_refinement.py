"""Refined proposals: against exact likelihoods, and what they must not change."""

import numpy as np
import pytest
import tensorflow as tf

import iwae_tf
from iwae_tf import evaluation, layers, objectives, random
from iwae_tf.estimates import likelihood

from ..fixtures import small_model


def score(model, x, k, refine, seed=0):
    estimate = likelihood.get_program(model, refine)(tf.constant(x), tf.constant(k), random.as_seed(seed))
    return {name: value.numpy() for name, value in estimate.scores().items()}


@pytest.mark.parametrize("ladder", [None, False, True])
def test_a_poor_q_becomes_the_posterior(linear_gaussian, gaussian_chain, ladder):
    """In one layer and in three, bottom up and top down; the samples of q itself are half of the mixture."""
    exact, options = (linear_gaussian, {}) if ladder is None else (gaussian_chain, {"ladder": ladder})
    model, x = exact.model(1.5, **options), exact.sample(6)
    before, after = score(model, x, 200, 0), score(model, x, 200, 300)
    assert (after["effective_sample_size"] > 65).all() and (before["effective_sample_size"] < 60).all()
    error = abs(after["log_likelihood"] - exact.log_prob(x))
    assert (error < 5 * after["standard_error"]).all() and error.max() < 0.3


@pytest.mark.parametrize("k", [1, 3])
def test_weights_have_the_mean_of_the_likelihood(linear_gaussian, k):
    """For odd numbers of samples too. 4 means at 5 standard errors in 2 cases: false alarm below 5e-6."""
    model, x = linear_gaussian.model(0.5), linear_gaussian.sample(4)
    likelihoods = np.exp([score(model, x, k, 10, seed)["log_likelihood"] for seed in range(200)])
    error = likelihoods.std(0, ddof=1) / len(likelihoods) ** 0.5
    assert (abs(likelihoods.mean(0) - np.exp(linear_gaussian.log_prob(x))) < 5 * error).all()


def test_scores_do_not_depend_on_the_batch(linear_gaussian):
    model, x = linear_gaussian.model(0.5), linear_gaussian.sample(5)
    whole, part = (score(model, rows, 30, 10)["log_likelihood"] for rows in (x, x[2:4]))
    np.testing.assert_array_equal(part, whole[2:4])


def test_compiled_and_not_are_the_same(linear_gaussian):
    scores = []
    for jit_compile in (False, True):
        model = linear_gaussian.model(0.5)
        model.compile("sgd", jit_compile=jit_compile)
        scores.append(score(model, linear_gaussian.sample(5), 30, 10)["log_likelihood"])
    np.testing.assert_allclose(*scores, rtol=1e-4)


def test_table_of_digits(trained, x, tmp_path):
    """Sharper than q alone at the same number of samples, which the table has beside it; and resumed from a file."""
    path = tmp_path / "scores.csv"
    table = evaluation.log_likelihood(trained, x, 100, refine=30, path=path)
    plain = evaluation.log_likelihood(trained, x, 100)
    for name in ("log_likelihood", "effective_sample_size", "pareto_k"):
        np.testing.assert_allclose(table[f"amortized_{name}"], plain[name], rtol=1e-6)
    assert table.log_likelihood.mean() > plain.log_likelihood.mean()
    assert table.effective_sample_size.mean() > plain.effective_sample_size.mean()
    summary = evaluation.summarize(table)
    assert summary["amortized"]["log_likelihood"] == pytest.approx(plain.log_likelihood.mean())
    assert "amortized" not in evaluation.summarize(plain)
    np.testing.assert_array_equal(evaluation.log_likelihood(trained, x, 100, refine=30, path=path), table)
    with pytest.raises(ValueError, match=r"to hold rows of .*'refine': 20.*Received: .*'refine': 30"):
        evaluation.log_likelihood(trained, x, 100, refine=20, path=path)


def test_incomplete_data():
    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    x[::2, 1] = x[5] = np.nan
    model = iwae_tf.IWAE(
        [layers.IndependentNormal(3, hidden=(8,))], [layers.IndependentNormal(4, hidden=(8,))],
        layers.StandardNormal(3), objectives.ImportanceWeighted(5), seed=0, incomplete=True,
    )  # fmt: skip
    table = evaluation.log_likelihood(model, x, 50, refine=20)
    assert table.log_likelihood[5] == pytest.approx(0, abs=0.3), "nothing is seen"
    assert np.isfinite(table.log_likelihood).all()


def test_bad_arguments(trained, x):
    with pytest.raises(ValueError, match=r"refine must be an integer of 0 or more. Received: refine=-1"):
        evaluation.log_likelihood(trained, x, 10, refine=-1)
    model = small_model(posterior="iaf")
    model.encode(x)
    with pytest.raises(ValueError, match=r"diagonal Gaussians, since refine=5.* Received: \w+"):
        evaluation.log_likelihood(model, x, 10, refine=5)
