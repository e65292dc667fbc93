"""The mixture priors, and what a prior that is made of the encoder does to the gradients."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import iwae_tf
from iwae_tf import layers, objectives, random

from ..fixtures import assert_same_mean, gradient_draws, small_model
from .test_layers import inputs
from .test_mixtures import reference

DOUBLY = "doubly_reparameterized"
IWAE, MIWAE, RWS = objectives.ImportanceWeighted, objectives.MIWAE, objectives.ReweightedWakeSleep


def gaussian_mixture(event_shape=2, size=3):
    """One whose weights, means and scales have all moved."""
    layer = layers.GaussianMixture(event_shape, size, learned_weights=True, seed=0)
    layer.build(None)
    layer.logits.assign(np.log(np.arange(1.0, size + 1)))
    layer.log_scale.assign(0.5 * np.random.default_rng(0).normal(size=layer.log_scale.shape))
    return layer


def with_vamp_prior(num_layers=1, size=3, posterior=layers.IndependentNormal, **kwargs):
    """A model of vectors of 4, whose posterior for x of 0 or 1 would be found in (-1, 1)."""
    sizes = [3, 2][:num_layers]
    return iwae_tf.IWAE(
        encoder=[*(layers.IndependentNormal(n, hidden=(5,)) for n in sizes[:-1]), posterior(sizes[-1], hidden=(5,))],
        decoder=[layers.IndependentNormal(n, hidden=(5,)) for n in [*reversed(sizes[:-1]), 4]],
        prior=layers.VampPrior(size, **kwargs),
        objective=IWAE(5),
        seed=0,
    )


def terms_of(layer, z):
    """log weights + log densities of the components of a `GaussianMixture` in float64, [..., C]."""
    loc, scale = layer.loc.numpy().astype(np.float64), np.exp(layer.log_scale.numpy().astype(np.float64))
    logits = layer.logits.numpy().astype(np.float64)
    densities = -0.5 * (((z[..., None, :] - loc) / scale) ** 2 + np.log(2 * np.pi)) - np.log(scale)
    return logits - np.log(np.exp(logits).sum()) + densities.sum(-1)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_gaussian_mixture_density_and_responsibilities(jit_compile):
    layer, z = gaussian_mixture(), inputs(4, 5, 2)
    joint = np.exp(terms_of(layer, z.numpy()))
    log_prob = tf.function(lambda z: layer().log_prob(z), jit_compile=jit_compile)(z)
    np.testing.assert_allclose(log_prob, np.log(joint.sum(-1)), rtol=1e-5)
    given = tf.function(layer.responsibilities, jit_compile=jit_compile)(z)
    np.testing.assert_allclose(given, joint / joint.sum(-1, keepdims=True), rtol=1e-4, atol=1e-6)


def test_equal_weights_are_no_variables():
    layer = layers.GaussianMixture((2, 2), 3)
    assert layer().event_shape == (2, 2) and [v.name for v in layer.weights] == ["loc", "log_scale"]
    loc, scale = (tf.reshape(v, [3, 4]) for v in (layer.loc, tf.exp(layer.log_scale)))
    z = inputs(5, 2, 2)
    np.testing.assert_allclose(layer().log_prob(z), reference(tf.reshape(z, [5, 4]), loc, scale), rtol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_gaussian_mixture_samples(jit_compile):
    """4 comparisons at 5 standard errors: one fixed seed in 4e5 fails by chance."""
    layer, n = gaussian_mixture(), 40_000
    z = tf.function(lambda seed: layer().sample(n, seed=seed), jit_compile=jit_compile)(random.as_seed(0)).numpy()
    weights = np.arange(1.0, 4)[:, None] / 6
    mean = (weights * layer.loc.numpy()).sum(0)
    variance = (weights * (np.exp(2 * layer.log_scale.numpy()) + layer.loc.numpy() ** 2)).sum(0) - mean**2
    assert (abs(z.mean(0) - mean) < 5 * (variance / n) ** 0.5).all()
    fourth = ((z - mean) ** 4).mean(0)
    assert (abs(z.var(0) - variance) < 5 * ((fourth - variance**2) / n) ** 0.5).all()
    np.testing.assert_allclose(layer().sample(n, seed=random.as_seed(0)), z, atol=1e-4)


def test_components_start_apart_and_by_the_seed_of_the_model():
    def start(seed):
        model = small_model(seed=seed)
        prior = layers.GaussianMixture(8, 5)
        iwae_tf.IWAE(model.encoder, model.decoder, prior, seed=seed)
        return prior.loc.numpy()

    loc = start(0)
    np.testing.assert_array_equal(loc, start(0))
    assert (loc != start(1)).all()
    distances = np.linalg.norm(loc[:, None] - loc[None], axis=-1)
    assert distances[~np.eye(5, dtype=bool)].min() > 1


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("posterior", [layers.IndependentNormal, layers.MultivariateNormalTriL])
def test_vamp_prior_is_the_mixture_of_the_top_posteriors(num_layers, posterior):
    model = with_vamp_prior(num_layers, posterior=posterior)
    u = model.prior.pseudo_inputs
    assert u.shape == (3, 4 if num_layers == 1 else 3)
    z = inputs(6, 7, model.latent_shapes[-1][0])
    components = np.stack([model.encoder[-1](u[c : c + 1]).log_prob(z) for c in range(3)])
    np.testing.assert_allclose(model.prior().log_prob(z), np.log(np.exp(components).mean(0)), rtol=1e-4)
    expected = np.moveaxis(np.exp(components) / np.exp(components).sum(0), 0, -1)
    np.testing.assert_allclose(model.prior.responsibilities(z), expected, rtol=1e-3, atol=1e-6)


def test_vamp_prior_samples():
    """Over the mixture's own mean and variance; 6 comparisons at 5 standard errors: false alarm below 4e-6."""
    prior, n = with_vamp_prior().prior(), 40_000
    z = tf.function(lambda seed: prior.sample(n, seed=seed), jit_compile=True)(random.as_seed(0)).numpy()
    variance = prior.variance().numpy()
    assert (abs(z.mean(0) - prior.mean().numpy()) < 5 * (variance / n) ** 0.5).all()
    fourth = ((z - z.mean(0)) ** 4).mean(0)
    assert (abs(z.var(0) - variance) < 5 * ((fourth - variance**2) / n) ** 0.5).all()
    np.testing.assert_allclose(prior.sample(n, seed=random.as_seed(0)), z, atol=1e-4)


def test_the_weights_of_the_encoder_are_counted_once():
    model = with_vamp_prior(2)
    assert len(model.trainable_variables) == len({id(v) for v in model.trainable_variables}) == 25
    assert [v.shape for v in model.prior.weights] == [(3, 3)]


def test_initial_inputs(x):
    images = (x[:5] / 255.0).astype(np.float32)
    model = small_model()

    def prior_of(activation):
        prior = layers.VampPrior(5, activation, images)
        iwae_tf.IWAE(model.encoder, model.decoder, prior, seed=0)
        return prior

    np.testing.assert_array_equal(prior_of("linear").pseudo_inputs, images)
    prior = prior_of("sigmoid")
    np.testing.assert_allclose(prior.pseudo_inputs, np.clip(images, 0.01, 0.99), atol=1e-6)
    again = layers.VampPrior.from_config(prior.get_config())
    np.testing.assert_array_equal(again.initial_inputs, images)


def test_bad_arguments(x):
    for bad in (0, 2.5, True):
        with pytest.raises(ValueError, match="num_components must be a positive integer"):
            layers.GaussianMixture(2, bad)
    with pytest.raises(ValueError, match="event_shape must be a positive integer"):
        layers.GaussianMixture(0, 2)
    with pytest.raises(ValueError, match="activation must be one of linear, sigmoid"):
        layers.VampPrior(3, "tanh")
    with pytest.raises(ValueError, match=r"initial_inputs of shape \[3"):
        layers.VampPrior(3, initial_inputs=np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"initial_inputs in \[0, 1\]"):
        layers.VampPrior(20, "sigmoid", x)
    with pytest.raises(ValueError, match="finite"):
        layers.VampPrior(1, initial_inputs=[[np.nan]])
    with pytest.raises(TypeError, match="numbers"):
        layers.VampPrior(1, initial_inputs=["a"])
    with pytest.raises(ValueError, match=r"initial_inputs of shape \[n, 4\]"):
        with_vamp_prior(initial_inputs=np.zeros((3, 5)))
    with pytest.raises(ValueError, match="to be the prior of a model"):
        layers.VampPrior(3)()


# --------------------------------------------------------------------------- the encoder's two roles


@functools.cache
def draws(objective, kl_weight=1.0, n=1000):
    """Gradients of n steps from the same weights, [n, parameters]."""
    model = with_vamp_prior()
    model.objective = objective
    model.kl_weight.assign(kl_weight)
    model.compile("sgd")
    return gradient_draws(model, inputs(6, 4), n)


@pytest.mark.parametrize(
    ("one", "other", "kl_weight"),
    [
        (IWAE(4), IWAE(4, DOUBLY), 1.0),
        (RWS(4), RWS(4, DOUBLY), 1.0),
        (RWS(4), RWS(4, DOUBLY), 0.5),
        (objectives.PIWAE(2, 2), objectives.PIWAE(2, 2, DOUBLY), 1.0),
    ],
    ids=repr,
)
def test_estimators_of_one_gradient_have_one_mean(one, other, kl_weight):
    """Some 120 comparisons at 5 standard deviations in each of 4 cases: false alarm of all below 3e-4."""
    assert_same_mean(draws(one, kl_weight), draws(other, kl_weight))


@pytest.mark.parametrize("gradient", ["reparameterized", DOUBLY])
def test_the_encoder_follows_its_own_objective_in_the_prior_too(gradient):
    """PIWAE's encoder gets all of MIWAE's gradient; its decoder and its pseudo-inputs IWAE's."""
    found = []
    for objective in (objectives.PIWAE(2, 3, gradient), MIWAE(2, 3, gradient), IWAE(6)):
        model = with_vamp_prior()
        model.objective = objective
        model.compile("sgd")
        found.append(model._gradients(inputs(5, 4)))
    inference = len(model.encoder[0].trainable_variables)
    for i, (a, b, c) in enumerate(zip(*found, strict=True)):
        np.testing.assert_allclose(a, b if i < inference else c, rtol=1e-4, atol=1e-6)
    assert any(abs(a - c).numpy().max() > 1e-3 for a, c in zip(found[0][:inference], found[2], strict=False))


def test_the_prior_moves_the_encoder():
    """And it is the encoder as it is now that the prior is made of."""
    model = with_vamp_prior()
    z = inputs(6, 3)
    with tf.GradientTape() as tape:
        before = tf.reduce_sum(model.prior().log_prob(z))
    assert all(np.any(g) for g in tape.gradient(before, model.encoder[0].trainable_variables))
    model.encoder[0].heads[0].bias.assign_add([1.0, 0.0, 0.0])
    assert abs(before - tf.reduce_sum(model.prior().log_prob(z))) > 0.1


def test_a_loaded_prior_is_made_of_the_loaded_encoder(tmp_path):
    model = with_vamp_prior(2)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    z = inputs(6, 2)
    np.testing.assert_allclose(again.prior().log_prob(z), model.prior().log_prob(z), rtol=1e-6)
    again.encoder[-1].heads[0].bias.assign_add([1.0, 0.0])
    assert (abs(again.prior().log_prob(z) - model.prior().log_prob(z)).numpy() > 1e-4).any()
