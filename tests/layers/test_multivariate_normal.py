import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf import layers, random
from iwae_tf.layers import multivariate_normal
from iwae_tf.layers.multivariate_normal import FullNormal, LowerTriangularOperator, invert_lower_triangular

from .test_layers import inputs


def away_from_the_start(layer, width, seed=0):
    """Builds a layer and moves all of its weights."""
    layer.build((None, width))
    rng = np.random.default_rng(seed)
    for v in layer.trainable_variables:
        v.assign(rng.normal(size=v.shape) * 0.5)
    return layer


@pytest.fixture(scope="module")
def q():
    """Gaussians of four variables, of batch shape [2, 3]."""
    return away_from_the_start(layers.MultivariateNormalTriL(4, hidden=(5,)), 6)(inputs(2, 3, 6))


def covariances(q):
    tril = q.scale.to_dense().numpy().astype(np.float64)
    assert (np.triu(tril, 1) == 0).all() and (np.diagonal(tril, axis1=-2, axis2=-1) > 0).all()
    return tril @ np.swapaxes(tril, -2, -1)


def reference(z, mean, covariance):
    d = np.asarray(z - mean, np.float64)
    quadratic = np.einsum("...i,...ij,...j->...", d, np.linalg.inv(covariance), d)
    return -0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * covariance)[1])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_density_of_own_samples_and_of_others(q, jit_compile):
    @tf.function(jit_compile=jit_compile)
    def draw(seed):
        z = q.sample(7, seed=seed)
        return z, q.log_prob(z), q.log_prob(tf.identity(z))

    z, remembered, solved = draw(random.as_seed(0))
    expected = reference(z, q.mean(), covariances(q))
    np.testing.assert_allclose(remembered, expected, rtol=1e-4)
    np.testing.assert_allclose(solved, expected, rtol=1e-4)


def test_density_of_own_samples_inverts_nothing(q, monkeypatch):
    z = q.sample(7, seed=random.as_seed(0))
    monkeypatch.setattr(multivariate_normal, "invert_lower_triangular", None)
    assert q.log_prob(z).shape == (7, 2, 3)
    with pytest.raises(TypeError, match="not callable"):
        q.log_prob(tf.identity(z))


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("size", [1, 2, 5, 8, 50])
def test_invert_lower_triangular(size, jit_compile):
    rng = np.random.default_rng(0)
    tril = np.tril(rng.normal(size=(3, 2, size, size)) / size**0.5, -1) + np.eye(size) * np.exp(rng.normal(size=size))
    invert = tf.function(invert_lower_triangular, jit_compile=jit_compile)
    expected = np.linalg.inv(tril)
    np.testing.assert_allclose(invert(tf.constant(tril, tf.float32)), expected, atol=1e-4 * abs(expected).max())


@pytest.mark.parametrize("jit_compile", [False, True])
def test_moments(q, jit_compile):
    """60 comparisons at 5 standard errors: one fixed seed in 3e4 fails by chance."""
    n = 40_000
    z = tf.function(lambda seed: q.sample(n, seed=seed), jit_compile=jit_compile)(random.as_seed(1)).numpy()
    expected = covariances(q)
    variance = np.diagonal(expected, axis1=-2, axis2=-1)
    assert (abs(z.mean(0) - q.mean().numpy()) < 5 * (variance / n) ** 0.5).all()
    centred = z - z.mean(0)
    found = np.einsum("nabi,nabj->abij", centred, centred) / n
    error = ((variance[..., None] * variance[..., None, :] + expected**2) / n) ** 0.5
    assert (abs(found - expected) < 5 * error).all()
    np.testing.assert_allclose(q.stddev(), variance**0.5, rtol=1e-5)


def test_divergence_from_a_diagonal_gaussian(q):
    loc, scale = inputs(4, seed=3), tf.exp(inputs(4, seed=4))
    expected = tfd.kl_divergence(q, tfd.MultivariateNormalTriL(loc, tf.linalg.diag(scale)))
    np.testing.assert_allclose(q.kl_divergence(tfd.Independent(tfd.Normal(loc, scale), 1)), expected, rtol=1e-4)


def test_starts_at_the_identity():
    q = layers.MultivariateNormalTriL(3, hidden=(4,))(inputs(5, 6))
    np.testing.assert_array_equal(q.scale.to_dense(), np.tile(np.eye(3), (5, 1, 1)))
    assert np.ptp(q.mean(), axis=0).min() > 0


def test_one_variable_is_a_normal():
    q = away_from_the_start(layers.MultivariateNormalTriL(1), 6)(inputs(5, 6))
    z = inputs(5, 1, seed=1)
    expected = tfd.Independent(tfd.Normal(q.mean(), q.stddev()), 1).log_prob(z)
    np.testing.assert_allclose(q.log_prob(z), expected, rtol=1e-5)


def test_the_gradient_of_a_sample_is_that_of_its_definition():
    loc, tril = inputs(3), tf.constant([[1.0, 0, 0], [0.5, 2, 0], [-1, 0.3, 0.7]])
    with tf.GradientTape() as tape:
        tape.watch([loc, tril])
        z = FullNormal(loc, LowerTriangularOperator(tril)).sample(5, seed=random.as_seed(0))
        total = tf.reduce_sum(z**2)
    by_loc, by_tril = tape.gradient(total, [loc, tril])
    noise = np.linalg.solve(tril, (z - loc).numpy().T).T
    np.testing.assert_allclose(by_loc, 2 * z.numpy().sum(0), rtol=1e-5)
    np.testing.assert_allclose(by_tril, np.tril(2 * z.numpy().T @ noise), rtol=1e-4)


def test_bad_arguments():
    with pytest.raises(ValueError, match="event_shape of one axis"):
        layers.MultivariateNormalTriL((2, 2))
