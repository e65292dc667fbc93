"""Diagonal Gaussian layers and the standard normal prior."""

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.internal import prefer_static as ps

from iwae_tf import random
from iwae_tf.layers.base import StochasticLayer, as_sizes


class Normal(tfd.Normal):
    """`tfd.Normal` whose samples are drawn with the generator that is fast under XLA on every device."""

    def _sample_n(self, n, seed=None):
        loc, scale = tf.convert_to_tensor(self.loc), tf.convert_to_tensor(self.scale)
        shape = ps.concat([[n], self._batch_shape_tensor(loc=loc, scale=scale)], axis=0)
        return loc + scale * random.normal(shape, seed, self.dtype)


@keras.saving.register_keras_serializable(package="iwae_tf")
class IndependentNormal(StochasticLayer):
    """A Gaussian with diagonal covariance: loc and log scale are linear in the features of the network.

    The scale is exp of its head, as in Burda, Grosse & Salakhutdinov 2015 (arXiv:1509.00519).
    For the arguments see `StochasticLayer`. Emits a `tfd.Independent(Normal)` of event shape `event_shape`.
    """

    parameters: tuple[str, ...] = ("loc", "log_scale")

    def distribution(self, loc, log_scale):
        return tfd.Independent(Normal(loc, tf.exp(log_scale)), len(self.event_shape))


@keras.saving.register_keras_serializable(package="iwae_tf")
class StandardNormal(keras.layers.Layer):
    """The prior N(0, I): called without an input, it returns a `tfd.Distribution` with no batch axes.

    Args:
      event_shape: shape of one latent variable, an integer or a tuple of integers.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if `event_shape` holds anything but positive integers.
    """

    def __init__(self, event_shape, **kwargs):
        super().__init__(**kwargs)
        self.event_shape = as_sizes(event_shape)
        self.built = True

    def call(self, inputs=None):
        loc = tf.zeros(self.event_shape, self.dtype_policy.variable_dtype)
        return tfd.Independent(Normal(loc, tf.ones_like(loc)), len(self.event_shape))

    def get_config(self):
        return {**super().get_config(), "event_shape": self.event_shape}
