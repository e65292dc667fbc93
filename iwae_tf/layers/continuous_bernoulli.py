"""The continuous Bernoulli layer: the likelihood of values in [0, 1]."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.internal import prefer_static as ps

from iwae_tf import random
from iwae_tf.layers.observation import ObservationLayer


class ContinuousBernoulliDistribution(tfd.ContinuousBernoulli):
    """`tfd.ContinuousBernoulli` over logits with a cheaper density, which draws the same with and without compilation.

    As an exponential family on [0, 1] it has the density exp(logit x - A(logit)), a quarter of the work of TFP's.
    """

    def _log_prob(self, value: tf.Tensor) -> tf.Tensor:
        logits = tf.convert_to_tensor(self.logits)
        return logits * tf.cast(value, logits.dtype) - _log_normalizer(logits)

    def _sample_n(self, n: int | tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        logits = tf.convert_to_tensor(self.logits)
        shape = ps.concat([[n], ps.shape(logits)], axis=0)
        return self._quantile(random.uniform(shape, seed, logits.dtype), logits)


@tf.custom_gradient
def _log_normalizer(logits: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Computes A(l), the logarithm of the integral of exp(l x) over [0, 1], and its derivative, the mean.

    A(l) = max(l, 0) + log((1 - exp(-|l|)) / |l|) takes one logarithm, and one exponential that the derivative shares.
    """
    info = np.finfo(logits.dtype.as_numpy_dtype)
    size = tf.maximum(tf.abs(logits), info.tiny)  # the ratio is 1 there, as at 0
    integral = -tf.math.expm1(-size)

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        # Near 0 the mean is a difference of two large numbers. The next term of its series is l^5 / 30240.
        series = logits / 12.0 - logits**3 / 720.0
        excess = tf.sign(logits) * (1.0 / integral - 1.0 / size - 0.5)
        near = size < (30240.0 * info.eps) ** 0.2
        return upstream * (0.5 + tf.where(near, series, excess))

    return tf.nn.relu(logits) + tf.math.log(integral / size), gradient


@keras.saving.register_keras_serializable(package="iwae_tf")
class ContinuousBernoulli(ObservationLayer):
    """Independent continuous Bernoulli variables: their logits are linear in the features of the network.

    The density of a value x in [0, 1] is proportional to p^x (1 - p)^(1 - x) with p = sigmoid(logit). It integrates to
    1, so log p(x|z) may be positive. `layers.Grey()` scales uint8 images to [0, 1].

    Not to be confused with `IndependentBernoulli`, which often scores grey values although its density is not
    normalised over [0, 1].

    With `mean=` the output bias starts where the distribution has about this mean, clipped to [.01, .99]. For the
    arguments see `ObservationLayer`. Returns a `tfd.Independent` of event shape `event_shape`.

    References:
      Loaiza-Ganem & Cunningham 2019, The continuous Bernoulli: fixing a pervasive error in variational autoencoders,
      arXiv:1907.06845.

    Example:
      ```python
      p = layers.ContinuousBernoulli((8, 8, 1), hidden=(16,), mean=splits.mean)(tf.zeros([5, 2]))
      p.log_prob(tf.cast(x[:5], tf.float32) / 255)  # [5], nats
      ```
    """

    parameters = ("logits",)
    support = (0, 1)

    def apply_link(self, mean: np.ndarray) -> np.ndarray:
        # 2 mean - 1 is Langevin's function coth(y) - 1/y of half the logit. Cohen 1991 (Rheologica Acta 30) inverts it
        # to 5 %.
        m = 2.0 * np.clip(mean, 0.01, 0.99) - 1.0
        return 2.0 * m * (3.0 - m**2) / (1.0 - m**2)

    def distribution(self, logits: tf.Tensor) -> tfd.Distribution:
        bernoulli = ContinuousBernoulliDistribution(logits=logits, dtype=logits.dtype)
        return tfd.Independent(bernoulli, len(self.event_shape))
