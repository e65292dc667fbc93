"""Relaxed discrete variables: densities against TFP's and against integrals, samples, gradients and temperatures."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate
from tensorflow_probability import distributions as tfd

import iwae_tf
from iwae_tf import builders, layers, objectives, random
from iwae_tf.layers.concrete import EDGE, RelaxedBernoulliDistribution, RelaxedOneHotCategoricalDistribution

from ..enumeration import X, bit_model, expected_bound
from ..fixtures import gradient_draws, small_model
from .test_layers import inputs

RELAXED = ["relaxed-bernoulli", "relaxed-categorical"]


@pytest.mark.parametrize("temperature", [0.3, 0.7, 2.0])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_densities_are_tfps(temperature, jit_compile):
    """In double precision, at the same float32 values."""
    logits = 2.0 * inputs(5, 3, 4)
    cases = (
        (RelaxedBernoulliDistribution, tfd.RelaxedBernoulli),
        (RelaxedOneHotCategoricalDistribution, tfd.RelaxedOneHotCategorical),
    )
    for ours, theirs in cases:
        q = ours(logits, temperature)
        z = q.sample(6, seed=random.as_seed(0))
        log_prob = tf.function(q.log_prob, jit_compile=jit_compile)(z)
        exact = theirs(tf.constant(temperature, tf.float64), logits=tf.cast(logits, tf.float64))
        inside = (z > EDGE) & (z < 1 - EDGE)
        inside = inside if ours is RelaxedBernoulliDistribution else tf.reduce_all(z > 1e-20, -1)
        z = tf.cast(z, tf.float64)
        z = z if ours is RelaxedBernoulliDistribution else z / tf.reduce_sum(z, -1, keepdims=True)
        np.testing.assert_allclose(log_prob[inside], exact.log_prob(z)[inside], rtol=1e-4, atol=1e-4)
        assert inside.numpy().mean() > 0.8


@pytest.mark.parametrize("temperature", [1.0, 0.3, 0.1, 0.01])
@pytest.mark.parametrize("logit", [-3.0, 0.5])
def test_mass_of_a_relaxed_bit_is_one_at_any_temperature(logit, temperature):
    """The density between the ends, and the mass at them. At a low temperature that is all of it."""
    q = RelaxedBernoulliDistribution(tf.constant(logit, tf.float64), tf.constant(temperature, tf.float64))
    # Over y = logit(z), where the density is smooth.
    width = np.log(1 / EDGE - 1)
    inside = integrate.quad(
        lambda y: np.exp(q.log_prob(1 / (1 + np.exp(-y)))) / ((1 + np.exp(-y)) * (1 + np.exp(y))),
        -width * (1 - 1e-9), width * (1 - 1e-9), points=[np.clip(logit / temperature, -10, 10)], limit=200,
    )[0]  # fmt: skip
    low, high = np.exp(q.log_prob(np.array([0.0, 1.0])))
    np.testing.assert_allclose(inside + low + high, 1, rtol=1e-4)
    if temperature == 0.01:
        np.testing.assert_allclose(high, 1 / (1 + np.exp(-logit)), atol=0.07)


def test_samples_are_finite_and_above_one_half_as_often_as_the_bit_is_one():
    """20 frequencies at 5 standard deviations: false alarm below 2e-5. Classes: the largest, as often as its mean."""
    logits = 3.0 * inputs(20)
    for temperature in (0.05, 0.5, 5.0):
        q = RelaxedBernoulliDistribution(logits, temperature)
        z = q.sample(4000, seed=random.as_seed(1)).numpy()
        p = q.mean().numpy()
        assert (abs((z > 0.5).mean(0) - p) < 5 * (p * (1 - p) / 4000) ** 0.5).all()
        assert np.isfinite(q.log_prob(z)).all()
        q = RelaxedOneHotCategoricalDistribution(tf.reshape(logits, [5, 4]), temperature)
        z = q.sample(4000, seed=random.as_seed(1)).numpy()
        p = q.mean().numpy()
        largest = np.eye(4)[z.argmax(-1)].mean(0)
        assert (abs(largest - p) < 5 * (p * (1 - p) / 4000) ** 0.5 + 1e-3).all()
        assert np.isfinite(q.log_prob(z)).all()
        np.testing.assert_allclose(z.sum(-1), 1, rtol=1e-5)


def test_weights_are_right_at_a_low_temperature():
    """E p / q = 1 over samples of q; 8 means at 5 standard errors: false alarm below 5e-6."""
    for temperature in (0.02, 0.1, 0.5, 1.0):
        q, p = (RelaxedBernoulliDistribution(tf.constant([a, -a]), temperature) for a in (1.5, 0.5))
        z = q.sample(20_000, seed=random.as_seed(0))
        w = np.exp(p.log_prob(z) - q.log_prob(z))
        assert (abs(w.mean(0) - 1) < 5 * w.std(0) / 20_000**0.5).all()


@pytest.mark.parametrize("name", RELAXED)
def test_gradients_are_those_of_the_bound(name):
    """Reparameterised and doubly reparameterised have one mean; 5 standard errors, 60 parameters at most: 4e-5."""
    draws = []
    for gradient in ("reparameterized", "doubly_reparameterized"):
        objective = objectives.ImportanceWeighted(4, gradient)
        model = iwae_tf.mlp((3,), (2,), [(2,)], posterior=name, objective=objective, seed=0)
        model.compile("sgd")
        draws.append(gradient_draws(model, tf.constant([[0.0, 1.0, 1.0]]), 1000))
    error = np.sqrt(sum(d.var(0, ddof=1) for d in draws) / 1000)
    assert (abs(draws[0].mean(0) - draws[1].mean(0)) <= 5 * error + 1e-6).all()


# --------------------------------------------------------------------------- straight through


@pytest.mark.parametrize(
    "layer",
    [
        layers.RelaxedBernoulli((2, 3), straight_through=True, seed=0),
        layers.RelaxedOneHotCategorical(2, 3, straight_through=True, seed=0),
    ],
    ids=["bits", "classes"],
)
def test_straight_through_samples_are_discrete_and_have_the_relaxed_gradient(layer):
    x, seed = inputs(4, 5), random.as_seed(0)
    relaxed = type(layer).from_config({**layer.get_config(), "straight_through": False, "name": "relaxed"})
    found = []
    for each in (layer, relaxed):
        each.build((None, 5))
        with tf.GradientTape() as tape:
            z = each(x).sample(6, seed=seed)
            total = tf.reduce_sum(z * inputs(4, 2, 3))
        found.append((z, tape.gradient(total, each.trainable_variables)))
    (hard, gradients), (soft, expected) = found
    assert set(np.unique(hard)) == {0, 1} and len(np.unique(soft)) > 50
    for one, other in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    q = layer(x)
    kind = (
        layers.IndependentBernoulli((2, 3))
        if isinstance(layer, layers.RelaxedBernoulli)
        else layers.OneHotCategorical(2, 3)
    )
    np.testing.assert_allclose(
        q.log_prob(hard), kind.distribution(q.relaxed.distribution.logits).log_prob(hard), rtol=1e-6
    )
    assert q.reparameterization_type == tfd.FULLY_REPARAMETERIZED


def test_straight_through_bounds_are_those_of_bits():
    """Against the sum over all states; false alarm 6e-7."""

    def posterior(size, **kwargs):
        return layers.RelaxedBernoulli(size, straight_through=True, **kwargs)

    objective = objectives.ImportanceWeighted(2)
    model = bit_model(objective, posterior=posterior, prior=layers.BernoulliPrior(3))
    x = np.tile(X, (4000, 1))
    bounds = objective.bound(model.log_weights(x, 2, seed=0)).numpy()
    exact = float(expected_bound(model, objective, x[:1]))
    assert abs(bounds.mean() - exact) < 5 * bounds.std() / 4000**0.5
    model.compile(keras.optimizers.Adam(1e-2))
    assert np.isfinite(model.fit(x[:20], batch_size=20, verbose=0).history["loss"]).all()


# --------------------------------------------------------------------------- in models


@pytest.mark.parametrize("name", RELAXED)
def test_models_of_relaxed_variables(x, name, tmp_path):
    """Of two layers: the temperature changes no weight's gradient, is no state of a network, and is saved."""
    model = small_model(2, objectives.ImportanceWeighted(6, backward_samples=2), posterior=name)
    assert len(model.temperatures) == 4 and not model.state() and not model.is_discrete
    model.compile(keras.optimizers.Adam(1e-2))
    losses = model.fit(x, batch_size=10, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    for variable in model.temperatures:
        variable.assign(0.3)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    assert [float(t) for t in again.temperatures] == pytest.approx([0.3] * 4)
    np.testing.assert_array_equal(again.log_weights(x, 3, seed=0), model.log_weights(x, 3, seed=0))
    probabilities = model.encode(x).mean().numpy()
    assert (probabilities > 0).all() and (probabilities < 1).all()


def test_every_discrete_name_has_a_prior():
    assert set(builders.DISCRETE) <= set(builders.POSTERIORS) & set(builders.PRIORS)


@pytest.mark.parametrize("policy", ["float64", "mixed_bfloat16"])
@pytest.mark.parametrize("name", builders.DISCRETE)
def test_other_precisions(x, name, policy):
    keras.config.set_dtype_policy(policy)
    try:
        make = objectives.ImportanceWeighted if "relaxed" in name else objectives.VIMCO
        model = small_model(2, make(4), posterior=name)
        model.compile("sgd")
        found = model._gradients(tf.constant(x))
    finally:
        keras.config.set_dtype_policy("float32")
    assert all(np.isfinite(g).all() and g.dtype == ("float64" if policy == "float64" else "float32") for g in found)
