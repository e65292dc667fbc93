import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import iwae_tf
from iwae_tf import layers
from iwae_tf.layers.axes import ReshapedBatch
from iwae_tf.layers.bernoulli import BernoulliProduct
from iwae_tf.layers.missing import IndependentWithMissing, ignore_missing

LOGITS = tf.constant(np.random.default_rng(0).normal(size=(4, 3, 5)), tf.float32)
DISTRIBUTIONS = {
    "normal": lambda a: tfd.Independent(tfd.Normal(a, tf.exp(a)), 1),
    "bernoulli": lambda a: BernoulliProduct(a, 1),
    "poisson": lambda a: tfd.Independent(tfd.Poisson(log_rate=a), 1),
    "log-normal": lambda a: tfd.Independent(tfd.LogNormal(a, 1.0), 1),
}
# In the support of all of them; of the three rows one is whole, one has holes and one is missing.
X = np.ones((3, 5), np.float32)
X[1, [0, 3]] = X[2] = np.nan


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_density_is_that_of_what_is_there(name, jit_compile):
    def value_and_gradient(logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = ignore_missing(DISTRIBUTIONS[name](logits)).log_prob(X)
        return value, tape.gradient(value, logits)

    value, gradient = tf.function(value_and_gradient, jit_compile=jit_compile)(LOGITS)
    there = ~np.isnan(X)
    entries = DISTRIBUTIONS[name](LOGITS).distribution.log_prob(np.ones_like(X))
    np.testing.assert_allclose(value, (entries * there).numpy().sum(-1), rtol=1e-5, atol=1e-6)
    assert np.isfinite(gradient).all() and (gradient.numpy()[:, ~there] == 0).all()
    assert (gradient.numpy()[:, 1, [1, 2, 4]] != 0).any()


def test_everything_else_is_as_in_the_distribution():
    plain = DISTRIBUTIONS["bernoulli"](LOGITS)
    observed = ignore_missing(plain)
    np.testing.assert_array_equal(observed.mean(), plain.mean())
    np.testing.assert_array_equal(observed.sample(2, seed=(0, 1)), plain.sample(2, seed=(0, 1)))
    assert observed.batch_shape == (4, 3) and observed.event_shape == (5,)


def test_leading_axes_of_a_users_own_layer():
    flat = tf.reshape(LOGITS, [12, 5])
    unmerged = ignore_missing(ReshapedBatch(DISTRIBUTIONS["normal"](flat), [4, 3]))
    np.testing.assert_allclose(
        unmerged.log_prob(X), IndependentWithMissing(DISTRIBUTIONS["normal"](LOGITS)).log_prob(X), rtol=1e-5
    )


class Plain(tfd.Distribution):
    """A distribution that is no composite tensor, of which `tfd.Independent` makes another class."""

    def __init__(self, loc):
        self.loc = loc
        super().__init__(loc.dtype, tfd.NOT_REPARAMETERIZED, False, True, parameters={"loc": loc})

    def _batch_shape(self):
        return self.loc.shape

    def _event_shape(self):
        return tf.TensorShape([])

    def _log_prob(self, value):
        return -tf.abs(value - self.loc)


def test_distributions_of_ones_own():
    observed = ignore_missing(tfd.Independent(Plain(LOGITS), 1))
    expected = -np.nansum(abs(X - LOGITS.numpy()), -1)
    np.testing.assert_allclose(observed.log_prob(X), expected, rtol=1e-5)


def test_entries_that_depend_on_each_other():
    for distribution in (tfd.MultivariateNormalDiag(LOGITS), tfd.Independent(tfd.MultivariateNormalDiag(LOGITS), 1)):
        with pytest.raises(TypeError, match="independent entries"):
            ignore_missing(distribution)


@keras.saving.register_keras_serializable(package="tests")
class Joint(layers.StochasticLayer):
    parameters = ("loc",)

    def distribution(self, loc):
        return tfd.MultivariateNormalDiag(loc)


def test_models_of_such_are_rejected_at_construction():
    def model(**kwargs):
        return iwae_tf.IWAE([layers.IndependentNormal(2)], [Joint(3)], layers.StandardNormal(2), **kwargs)

    assert model().built
    with pytest.raises(TypeError, match=r"incomplete=True. Received: MultivariateNormalDiag"):
        model(incomplete=True)
