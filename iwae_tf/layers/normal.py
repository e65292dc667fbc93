"""Diagonal Gaussian layers."""

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.internal import prefer_static as ps

from iwae_tf import random
from iwae_tf.layers.base import StochasticLayer


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

    parameters = ("loc", "log_scale")

    def distribution(self, loc, log_scale):
        return tfd.Independent(Normal(loc, tf.exp(log_scale)), len(self.event_shape))
