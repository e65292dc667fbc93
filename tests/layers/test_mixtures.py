"""The mixture posterior: density, stratification, and a posterior of two modes that is known by quadrature."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate

import iwae_tf
from iwae_tf import layers, objectives, random
from iwae_tf.layers.mixtures import mix_normals

from ..fixtures import assert_same_mean, gradient_draws
from .test_layers import inputs


def reference(z, loc, scale):
    """log (1/C) sum_c N(z; loc_c, scale_c) in float64; z is [..., d], the parameters are [..., C, d]."""
    z, loc, scale = (np.asarray(a, np.float64) for a in (z, loc, scale))
    terms = -0.5 * (((z[..., None, :] - loc) / scale) ** 2 + np.log(2 * np.pi)) - np.log(scale)
    return np.log(np.exp(terms.sum(-1)).mean(-1))


def mixture(*batch, size=3, stratified=True, apart=1.0):
    loc, scale = apart * inputs(*batch, size, 2), tf.exp(inputs(*batch, size, 2, seed=1))
    return mix_normals(loc, scale, 1, stratified), loc, scale


def far_apart(batch, size=4, stratified=True):
    """Components at 0, 100, 200, ..., so that z tells the component."""
    loc = tf.tile(100.0 * tf.reshape(tf.range(size, dtype=tf.float32), [1, size, 1]), [batch, 1, 1])
    return mix_normals(loc, tf.ones_like(loc), 1, stratified)


def components(q, n, seed=0):
    """Components of n samples, [n, batch]."""
    return np.rint(q.sample(n, seed=random.as_seed(seed)).numpy()[..., 0] / 100).astype(int)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("batch", [(), (4,), (5, 4)])
def test_density_is_that_of_the_whole_mixture(batch, jit_compile):
    q, loc, scale = mixture(*batch)
    z = inputs(6, *batch, 2, seed=2)
    actual = tf.function(q.log_prob, jit_compile=jit_compile)(z)
    np.testing.assert_allclose(actual, reference(z, loc, scale), rtol=1e-4, atol=1e-5)


def test_one_component_is_a_normal():
    layer = layers.NormalMixture(3, 1, hidden=(4,))
    q, z = layer(inputs(5, 6)), inputs(5, 3, seed=1)
    loc, log_scale = (head(layer.compute_features(inputs(5, 6))) for head in layer.heads)
    np.testing.assert_allclose(q.log_prob(z), reference(z, loc[:, None], np.exp(log_scale)[:, None]), rtol=1e-4)
    np.testing.assert_allclose(q.stddev(), np.exp(log_scale), rtol=1e-4)


@pytest.mark.parametrize("n", [1, 3, 4, 8, 10])
def test_samples_take_turns(n):
    chosen = components(far_apart(50), n)
    counts = np.stack([(chosen == c).sum(0) for c in range(4)])
    assert (counts.max(0) - counts.min(0) == (n % 4 > 0)).all()
    assert len(set(chosen[0])) == 4, "every observation must have a start of its own"


@pytest.mark.parametrize("place", [0, 1, 4])
def test_each_sample_alone_is_of_the_mixture(place):
    """Chi-square of 40000 draws with 3 degrees of freedom: above 30 with probability below 2e-6."""
    chosen = components(far_apart(40_000), 5)[place]
    counts = np.bincount(chosen, minlength=4)
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 30


def test_independent_samples_do_not_take_turns():
    """Counts of 100 draws have variance 100/4 * 3/4; over 1000 observations the estimate is off by 4.5 % (1 sd)."""
    chosen = components(far_apart(1000, stratified=False), 100)
    assert abs((chosen == 0).sum(0).var() / 18.75 - 1) < 0.25


@pytest.mark.parametrize("stratified", [True, False])
def test_moments(stratified):
    """80 comparisons at 5 standard errors: one fixed seed in 2e4 fails by chance."""
    q, loc, scale = mixture(5, 4, stratified=stratified)
    n = 30_000
    z = q.sample(n, seed=random.as_seed(3)).numpy()
    mean = loc.numpy().mean(-2)
    variance = (scale.numpy() ** 2 + loc.numpy() ** 2).mean(-2) - mean**2
    np.testing.assert_allclose(q.mean(), mean, atol=1e-5)
    np.testing.assert_allclose(q.stddev(), variance**0.5, rtol=1e-4)
    assert (abs(z.mean(0) - mean) < 5 * (variance / n) ** 0.5).all()
    fourth = ((z - mean) ** 4).mean(0)
    assert (abs(z.var(0) - variance) < 5 * ((fourth - variance**2) / n) ** 0.5).all()


def test_samples_are_reparameterized():
    """With one sample of each component the derivative of their mean is 1/C for each loc, its noise / C for a scale."""
    loc, scale = inputs(4, 3, 2), tf.exp(inputs(4, 3, 2, seed=1))
    with tf.GradientTape() as tape:
        tape.watch([loc, scale])
        z = mix_normals(loc, scale, 1).sample(3, seed=random.as_seed(0))
        total = tf.reduce_sum(tf.reduce_mean(z, 0))
    by_loc, by_scale = tape.gradient(total, [loc, scale])
    np.testing.assert_allclose(by_loc, tf.fill([4, 3, 2], 1 / 3), rtol=1e-6)
    np.testing.assert_allclose(tf.reduce_sum(by_loc * loc + by_scale * scale), total, rtol=1e-5)


@pytest.mark.parametrize("num_samples", [(), 5])
def test_compiled_and_eager_draws_are_the_same(num_samples):
    layer = layers.NormalMixture((2, 2), 3, seed=0)
    layer.build((None, 6))

    def draw(x, seed):
        return layer(x).sample(num_samples, seed=seed)

    specs = [tf.TensorSpec([2, None, 6]), tf.TensorSpec([2], tf.int32)]
    arguments = inputs(2, 4, 6), random.as_seed(0)
    eager = draw(*arguments)
    assert eager.shape == ((5,) if num_samples else ()) + (2, 4, 2, 2)
    for jit_compile in (False, True):
        compiled = tf.function(draw, input_signature=specs, jit_compile=jit_compile)(*arguments)
        np.testing.assert_allclose(compiled, eager, atol=1e-5)


def test_components_start_apart_whatever_the_features():
    layer = layers.NormalMixture(3, 4, hidden=(4,), seed=0)
    loc = layer(tf.zeros([1, 6])).components_distribution.mean().numpy()[0]  # of the biases alone
    distances = np.linalg.norm(loc[:, None] - loc[None], axis=-1)
    assert distances[~np.eye(4, dtype=bool)].min() > 0.5


def test_bad_arguments():
    for bad in (0, 2.5, True, (2,)):
        with pytest.raises(ValueError, match="num_components must be a positive integer"):
            layers.NormalMixture(2, bad)


# --------------------------------------------------------------------------- a posterior of two modes


SCALE = 0.3


def folded(posterior, objective=None):
    """z ~ N(0, 1), x | z ~ N(z^2, 0.3^2): for x above 0.5 or so z may be either root."""
    likelihood = layers.IndependentNormal(1, network=keras.layers.Activation(tf.square))
    objective = objective or objectives.ImportanceWeighted(8)
    model = iwae_tf.IWAE([posterior], [likelihood], layers.StandardNormal(1), objective, seed=0)
    loc, log_scale = model.decoder[0].heads
    for variable, value in zip((*loc.weights, *log_scale.weights), (1, 0, 0, np.log(SCALE)), strict=True):
        variable.assign(tf.fill(variable.shape, float(value)))
    model.decoder[0].trainable = False
    return model


def folded_log_prob(x):
    """log p(x) by the trapezoidal rule."""
    z = np.linspace(-8, 8, 20_001)
    log_joint = -0.5 * (z**2 + ((x - z**2) / SCALE) ** 2) - np.log(2 * np.pi * SCALE)
    return np.log(integrate.trapezoid(np.exp(log_joint), z, axis=-1))


def folded_sample(n, seed=1):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, 1)) ** 2 + SCALE * rng.normal(size=(n, 1))).astype(np.float32)


@functools.cache
def fitted(size):
    model = folded(layers.NormalMixture(1, size, hidden=(16,)))
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(folded_sample(4000), batch_size=100, epochs=12, verbose=0)
    return model


def test_two_components_beat_one_on_a_posterior_of_two_modes():
    """By more of the gap between L_8 and log p(x) than half, and each mode has a component of its own."""
    x = folded_sample(500, seed=2)
    exact = folded_log_prob(x)
    one, two = (
        tf.reduce_mean(objectives.ImportanceWeighted(8).bound(fitted(c).log_weights(x, 8, seed=0))) for c in (1, 2)
    )
    assert exact.mean() - two < 0.5 * (exact.mean() - one)
    loc = fitted(2).encode(np.array([[2.0]], np.float32)).components_distribution.mean().numpy()
    np.testing.assert_allclose(np.sort(loc.ravel()), [-(2**0.5), 2**0.5], atol=0.3)


@pytest.mark.parametrize("num_samples", [1, 3, 4])
def test_the_estimate_of_the_likelihood_is_unbiased(num_samples):
    """Of an untrained posterior, so that errors of the weights would show; 4 z-scores above 5 have odds of 2e-6."""
    x = np.repeat(np.array([[0.0], [0.5], [2.0], [4.0]], np.float32), 20_000, axis=0)
    model = folded(layers.NormalMixture(1, 4))
    for v in model.encoder[0].trainable_variables:
        v.assign(np.random.default_rng(5).normal(size=v.shape) * 0.3)
    weights = np.exp(model.log_weights(x, num_samples, seed=0).numpy().astype(np.float64)).mean(0).reshape(4, -1)
    error = weights.std(1, ddof=1) / weights.shape[1] ** 0.5
    assert (abs(weights.mean(1) - np.exp(folded_log_prob(x[::20_000]))) < 5 * error).all()
    assert (error < 0.1 * weights.mean(1)).all(), "or the test would see nothing"


@functools.cache
def draws(objective, stratified, n=1500):
    """Gradients of n steps from the same weights, [n, parameters]."""
    model = folded(layers.NormalMixture(1, 2, stratified=stratified, hidden=()), objective)
    model.compile("sgd")
    return gradient_draws(model, tf.constant(folded_sample(16)), n)


def test_doubly_reparameterized_gradients_are_unbiased_for_independent_samples():
    """8 comparisons at 5 standard deviations: false alarm below 1e-5."""
    plain, doubly = (objectives.ImportanceWeighted(4, g) for g in ("reparameterized", "doubly_reparameterized"))
    assert_same_mean(draws(plain, False), draws(doubly, False))


def test_stratification_takes_variance_off_the_bound():
    model, apart = (folded(layers.NormalMixture(1, 4, stratified=s)) for s in (True, False))
    x = np.full((4000, 1), 2.0, np.float32)
    bound = objectives.ImportanceWeighted(4).bound
    stratified, independent = (bound(m.log_weights(x, 4, seed=0)).numpy() for m in (model, apart))
    assert stratified.var() < 0.8 * independent.var()
