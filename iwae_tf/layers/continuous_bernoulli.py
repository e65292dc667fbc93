"""The continuous Bernoulli layer: the likelihood of values in [0, 1]."""

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.internal import prefer_static as ps

from iwae_tf import random
from iwae_tf.layers.observation import ObservationLayer


class ContinuousBernoulliDistribution(tfd.ContinuousBernoulli):
    """`tfd.ContinuousBernoulli` over logits, with a quarter of the work for the density and draws alike in every mode.

    As an exponential family on [0, 1] it has the density exp(logit x - A(logit)).
    """

    def _log_prob(self, value):
        logits = tf.convert_to_tensor(self.logits)
        return logits * tf.cast(value, logits.dtype) - _log_normalizer(logits)

    def _sample_n(self, n, seed=None):
        logits = tf.convert_to_tensor(self.logits)
        shape = ps.concat([[n], ps.shape(logits)], axis=0)
        return self._quantile(random.uniform(shape, seed, logits.dtype), logits)


@tf.custom_gradient
def _log_normalizer(logits):
    """Computes A(l), the logarithm of the integral of exp(l x) over [0, 1], whose derivative is the mean.

    A(l) = max(l, 0) + log((1 - exp(-|l|)) / |l|) takes one exponential, which the derivative shares, and one logarithm.
    """
    info = np.finfo(logits.dtype.as_numpy_dtype)
    size = tf.maximum(tf.abs(logits), info.tiny)  # at which the ratio is 1, as at 0
    integral = -tf.math.expm1(-size)

    def gradient(upstream):
        # Near 0 the difference of two large numbers; the next term of its series is l^5 / 30240.
        series = logits / 12.0 - logits**3 / 720.0
        excess = tf.sign(logits) * (1.0 / integral - 1.0 / size - 0.5)
        near = size < (30240.0 * info.eps) ** 0.2
        return upstream * (0.5 + tf.where(near, series, excess))

    return tf.nn.relu(logits) + tf.math.log(integral / size), gradient


@keras.saving.register_keras_serializable(package="iwae_tf")
class ContinuousBernoulli(ObservationLayer):
    """Independent continuous Bernoulli variables: their logits are linear in the features of the network.

    The density of a value x in [0, 1] is in proportion to p^x (1 - p)^(1 - x) for p = sigmoid(logit). Unlike that of
    `IndependentBernoulli`, which grey values are often scored with, it integrates to 1; so its log may be positive.
    `layers.StochasticBinarization("none")` scales uint8 images to [0, 1].

    With `mean=` the output bias starts where the distribution has about this mean, clipped to [.01, .99]. For the
    arguments see `ObservationLayer`. Emits a `tfd.Independent` of event shape `event_shape`.

    References:
      Loaiza-Ganem & Cunningham 2019, The continuous Bernoulli: fixing a pervasive error in variational autoencoders,
      arXiv:1907.06845.
    """

    parameters = ("logits",)
    support = (0, 1)

    def apply_link(self, mean):
        # 2 mean - 1 is Langevin's function coth(y) - 1/y of half the logit. Cohen 1991 (Rheologica Acta 30) inverts it
        # to 5 %.
        m = 2.0 * np.clip(mean, 0.01, 0.99) - 1.0
        return 2.0 * m * (3.0 - m**2) / (1.0 - m**2)

    def distribution(self, logits):
        return tfd.Independent(
            ContinuousBernoulliDistribution(logits=logits, dtype=logits.dtype), len(self.event_shape)
        )
