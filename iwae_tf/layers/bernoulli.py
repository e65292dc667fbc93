"""Bernoulli layers: the likelihood of binary data."""

import math

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.internal import prefer_static as ps

from iwae_tf import random
from iwae_tf.layers.observation import ObservationLayer


class Bernoulli(tfd.Bernoulli):
    """`tfd.Bernoulli` over logits whose samples are the same compiled and not."""

    def _sample_n(self, n, seed=None):
        logits = tf.convert_to_tensor(self.logits)
        shape = ps.concat([[n], ps.shape(logits)], axis=0)
        return tf.cast(random.uniform(shape, seed, logits.dtype) < tf.sigmoid(logits), self.dtype)


class BernoulliProduct(tfd.Independent):
    """`tfd.Independent` of `tfd.Bernoulli` over logits, whose density and its gradient take less work.

    The same values as TFP's to rounding, at any logit: sum_d x_d l_d - softplus(l_d), where the softplus and the
    sigmoid of its gradient share one exp(-|l|), and the logarithms are taken of products of up to eight factors in
    (1, 2], rather than of every one.

    Args:
      logits: `[*batch, *event]`.
      event_ndims: number of axes of `event`.
    """

    def __init__(self, logits, event_ndims):
        super().__init__(Bernoulli(logits=logits, dtype=logits.dtype), event_ndims, name="BernoulliProduct")

    def _log_prob(self, value):
        logits = tf.convert_to_tensor(self.distribution.logits)
        value = tf.cast(value, logits.dtype)
        logits, value = logits + tf.zeros_like(value), value + tf.zeros_like(logits)
        ndims, size = len(self.event_shape), math.prod(self.event_shape)
        shape = tf.concat([tf.shape(logits)[:-ndims], [size]], 0)
        return _log_prob_of_sum(tf.reshape(value, shape), tf.reshape(logits, shape))


@tf.custom_gradient
def _log_prob_of_sum(x, logits):
    """Computes sum_d log p(x_d) over the last axis."""
    size = logits.shape[-1]
    small = tf.exp(-tf.abs(logits))
    factors = 1.0 + small
    together = next(n for n in range(8, 0, -1) if size % n == 0)
    products = tf.reduce_prod(
        tf.reshape(factors, tf.concat([tf.shape(logits)[:-1], [together, size // together]], 0)), axis=-2
    )
    value = tf.reduce_sum(x * logits - tf.nn.relu(logits), -1) - tf.reduce_sum(tf.math.log(products), -1)

    def gradient(upstream):
        sigmoid = tf.where(logits >= 0, tf.ones_like(small), small) / factors
        upstream = upstream[..., tf.newaxis]
        return upstream * logits, upstream * (x - sigmoid)

    return value, gradient


@keras.saving.register_keras_serializable(package="iwae_tf")
class IndependentBernoulli(ObservationLayer):
    """Independent Bernoulli variables: their logits are linear in the features of the network.

    With `mean=` the output bias starts at the logit of the mean, clipped to [.001, .999], as in Burda et al. 2015
    (arXiv:1509.00519). For the arguments see `ObservationLayer`; the data lie in [0, 1].
    """

    parameters = ("logits",)
    support = (0, 1)

    def apply_link(self, mean):
        mean = np.clip(mean, 0.001, 0.999)
        return np.log(mean) - np.log1p(-mean)

    def distribution(self, logits):
        return BernoulliProduct(logits, len(self.event_shape))
