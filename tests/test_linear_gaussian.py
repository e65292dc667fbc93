"""The model whose log p(x) and posterior are known exactly."""

import numpy as np
import pytest
import tensorflow as tf

from iwae_tf import evaluation, objectives
from iwae_tf.estimates import likelihood


@pytest.fixture(scope="module")
def x(linear_gaussian):
    return linear_gaussian.sample(50)


def test_exact_posterior_gives_exact_weights(linear_gaussian, x):
    """With q the posterior every weight is p(x): bounds equal log p(x), whatever k, and the ESS is k."""
    model, exact = linear_gaussian.model(), linear_gaussian.log_prob(x)
    log_weights = model.log_weights(x, 7, seed=0)
    np.testing.assert_allclose(log_weights, np.tile(exact, (7, 1)), rtol=1e-4)
    for objective in (objectives.ELBO(7), objectives.ImportanceWeighted(7)):
        np.testing.assert_allclose(objective.bound(log_weights), exact, rtol=1e-4)
    estimate = likelihood.estimate(model, x, 1234, seed=0)
    np.testing.assert_allclose(estimate.log_likelihood, exact, rtol=1e-4)
    np.testing.assert_allclose(estimate.effective_sample_size, 1234, rtol=1e-2)
    assert (estimate.standard_error.numpy() < 0.01).all()


def test_encoder_is_the_posterior(linear_gaussian, x):
    q = linear_gaussian.model().encode(x)
    np.testing.assert_allclose(q.mean(), linear_gaussian.posterior_mean(x), atol=1e-5)
    np.testing.assert_allclose(q.variance(), np.tile(linear_gaussian.posterior_variance, (50, 1)), rtol=1e-5)


def test_elbo_gap_is_the_kl_divergence(linear_gaussian, x):
    """An error e in the posterior's mean costs the ELBO exactly e^2 / 2 var, summed over the units."""
    model = linear_gaussian.model(posterior_error=0.3)
    gap = (0.3**2 / 2 / linear_gaussian.posterior_variance).sum()
    log_weights = model.log_weights(x, 4000, seed=0).numpy()
    error = log_weights.std(0, ddof=1) / 4000**0.5
    expected = linear_gaussian.log_prob(x) - gap
    assert (abs(log_weights.mean(0) - expected) < 5 * error).all()  # 50 comparisons: false alarm below 3e-5


def test_bounds_rise_with_k_and_stay_below(linear_gaussian, x):
    model, exact = linear_gaussian.model(posterior_error=0.5), linear_gaussian.log_prob(x).mean()
    log_weights = model.log_weights(x, 64_000, seed=0)
    bounds = []
    for k in (1, 4, 16, 64):
        groups = tf.reshape(log_weights, [k, -1, 50])
        bounds.append(tf.reduce_mean(objectives.ImportanceWeighted(k).bound(groups)).numpy())
    assert (np.diff(bounds) > 0).all()
    assert bounds[-1] < exact and exact - bounds[-1] < 0.05 < exact - bounds[0]


def test_standard_error_covers(linear_gaussian, x):
    """The estimate is off by more than two standard errors as rarely as it should be."""
    model, exact = linear_gaussian.model(posterior_error=0.3), linear_gaussian.log_prob(x)
    estimate = likelihood.estimate(model, x, 3000, seed=3)
    z = (estimate.log_likelihood - exact) / estimate.standard_error
    # The 50 rows share their noise, so their errors go together; 4 at one fixed seed is beyond chance.
    assert np.abs(z).max() < 4
    spread = [float(likelihood.estimate(model, x[:1], 500, seed=s).log_likelihood[0]) for s in range(40)]
    stated = float(likelihood.estimate(model, x[:1], 500, seed=0).standard_error[0])
    assert 0.6 < np.std(spread, ddof=1) / stated < 1.6  # chi-square with 39 degrees: false alarm below 1e-4


def test_activity_is_the_variance_of_the_posterior_mean(linear_gaussian):
    x = linear_gaussian.sample(500)
    table = evaluation.active_units(linear_gaussian.model(), x)
    np.testing.assert_allclose(table.activity, linear_gaussian.posterior_mean(x).var(0, ddof=1), rtol=1e-4)
    assert table.active.all() and list(table.layer) == [1, 1]


def test_training_finds_the_posterior(linear_gaussian):
    """Only the inference network is trained; the bound ends at log p(x)."""
    model = linear_gaussian.model(posterior_error=0.5, objective=objectives.ImportanceWeighted(5))
    for layer in model.decoder:
        layer.trainable = False
    x = linear_gaussian.sample(2000)
    model.compile("adam", steps_per_execution=20)
    model.optimizer.learning_rate = 5e-3
    history = model.fit(x, batch_size=100, epochs=15, verbose=0).history
    assert (
        abs(-history["loss"][-1] - linear_gaussian.log_prob(x).mean())
        < 0.01
        < abs(-history["loss"][0] - linear_gaussian.log_prob(x).mean())
    )
