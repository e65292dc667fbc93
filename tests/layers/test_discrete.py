"""Discrete latent variables: densities and samples of one-hot variables, and the priors of bits and classes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf import layers, random
from iwae_tf.layers.discrete import is_discrete

from .test_layers import inputs


@pytest.mark.parametrize("jit_compile", [False, True])
def test_one_hot_density_and_gradient_are_exact(jit_compile):
    """Against TFP's in double precision, also where a class is all but certain."""
    layer = layers.OneHotCategorical(3, 4, hidden=(5,), seed=0)
    q = layer(inputs(6, 8))
    logits = tf.concat([q.distribution.logits[:4], 60.0 * q.distribution.logits[4:]], 0)
    z = q.sample(7, seed=random.as_seed(1))

    def compute(logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            log_prob = layer.distribution(logits).log_prob(z)
        return log_prob, tape.gradient(log_prob, logits)

    log_prob, gradient = tf.function(compute, jit_compile=jit_compile)(logits)
    exact = tf.cast(logits, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(exact)
        expected = tfd.Independent(tfd.OneHotCategorical(logits=exact), 1).log_prob(tf.cast(z, tf.float64))
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradient, tape.gradient(expected, exact), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [layers.OneHotCategorical(2, 4, seed=0), layers.IndependentBernoulli((2, 4), seed=0)],
    ids=["classes", "bits"],
)
def test_samples_have_the_frequencies_of_the_mean(layer):
    """Compiled the same samples. 24 frequencies at 5 standard deviations: false alarm below 2e-5."""
    q = layer(inputs(3, 5))
    z = q.sample(4000, seed=random.as_seed(0)).numpy()
    assert z.dtype == np.float32 and set(np.unique(z)) == {0, 1} and z.shape == (4000, 3, 2, 4)
    p = q.mean().numpy()
    assert (abs(z.mean(0) - p) < 5 * (p * (1 - p) / 4000) ** 0.5).all()
    np.testing.assert_allclose(q.stddev(), (p * (1 - p)) ** 0.5, rtol=1e-5)
    compiled = tf.function(lambda: layer(inputs(3, 5)).sample(4000, seed=random.as_seed(0)), jit_compile=True)()
    assert (compiled == z).numpy().mean() > 0.9999
    if isinstance(layer, layers.OneHotCategorical):
        np.testing.assert_array_equal(z.sum(-1), np.ones((4000, 3, 2)))


def test_priors_start_even_and_learn():
    bits, classes = layers.BernoulliPrior((2, 3)), layers.CategoricalPrior(2, 3)
    np.testing.assert_allclose(bits().log_prob(tf.ones([4, 2, 3])), [6 * np.log(0.5)] * 4, rtol=1e-6)
    np.testing.assert_allclose(classes().log_prob(tf.one_hot([[0, 2]], 3)), [2 * np.log(1 / 3)], rtol=1e-6)
    for prior in (bits, classes):
        assert [v.shape for v in prior.trainable_variables] == [(2, 3)]
        prior.logits.assign(np.random.default_rng(0).normal(size=(2, 3)))
        assert is_discrete(prior())
    z = bits().sample(5, seed=random.as_seed(0))
    expected = tfd.Independent(tfd.Bernoulli(logits=bits.logits.value), 2).log_prob(z)
    np.testing.assert_allclose(bits().log_prob(z), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "make", [lambda **k: layers.BernoulliPrior(3, **k), lambda **k: layers.CategoricalPrior(3, 4, **k)]
)
def test_fixed_and_relaxed_priors(make):
    fixed, relaxed = make(learned=False), make(temperature=0.7)
    assert not fixed.variables and fixed().sample(5).shape == make()().sample(5).shape
    relaxed()
    assert float(relaxed.temperature) == pytest.approx(0.7) and len(relaxed.trainable_variables) == 1
    assert not is_discrete(relaxed()) and relaxed().reparameterization_type == tfd.FULLY_REPARAMETERIZED


@pytest.mark.parametrize(
    "layer",
    [
        layers.OneHotCategorical(3, 4, hidden=(5,)),
        layers.RelaxedOneHotCategorical(3, 4, (5,), temperature=0.3, straight_through=True),
        layers.RelaxedBernoulli((3, 2), (5,), temperature=0.3),
        layers.BernoulliPrior((3, 2), learned=False),
        layers.BernoulliPrior(3, temperature=0.4),
        layers.CategoricalPrior(3, 4, temperature=0.4),
    ],
    ids=lambda layer: layer.name,
)
def test_config_round_trip(layer):
    config = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(layer) and keras.saving.serialize_keras_object(again) == config
    assert again.event_shape == layer.event_shape


def test_bad_arguments():
    for make in (layers.OneHotCategorical, layers.RelaxedOneHotCategorical, layers.CategoricalPrior):
        with pytest.raises(ValueError, match="num_variables must be a positive integer"):
            make(0, 3)
        with pytest.raises(ValueError, match="num_classes must be an integer of 2 or more"):
            make(3, 1)
    for make in (layers.RelaxedBernoulli, layers.BernoulliPrior):
        with pytest.raises(ValueError, match=r"Expected temperature to be a positive number. Received: temperature=0"):
            make(3, temperature=0.0)
