"""The variational Renyi bound."""

import math

import keras
import tensorflow as tf

from iwae_tf.checks import check_backward_samples, check_count
from iwae_tf.objectives.base import Objective
from iwae_tf.options import BackwardSamples


@keras.saving.register_keras_serializable(package="iwae_tf")
class Renyi(Objective):
    """The variational Renyi bound (VR-alpha), log (1/k) sum_i w_i^(1 - alpha) / (1 - alpha).

    It falls as alpha rises: alpha = -inf is the largest log weight (VR-max), alpha = 0 IWAE, alpha = 1 the ELBO, and
    alpha = inf the smallest log weight. For alpha < 0 it is not a lower bound of log p(x).

    At the two infinities only the extreme sample is differentiated, one of several that are tied, so that the decoder
    needs a backward pass for one sample.

    Not to be confused with the parameter a of power EP, whose divergence has alpha = 1 - a here.

    Args:
      num_samples: k, samples per observation.
      alpha: order of the Renyi divergence: plus or minus infinity, or a number in [-1e6, 1e6].
      backward_samples: number of samples to differentiate; see `ImportanceWeighted`.

    Raises:
      ValueError: if `num_samples` is not a positive integer, or `alpha` is NaN or out of range.

    References:
      Li & Turner 2016, Renyi Divergence Variational Inference, arXiv:1602.02311.

    Example:
      ```python
      objective = objectives.Renyi(50, alpha=0.5)
      objective.bound(model.log_weights(x, 50)).shape  # [20]
      ```
    """

    def __init__(self, num_samples: int, alpha: float, backward_samples: BackwardSamples = None) -> None:
        self.num_samples = self.num_particles = check_count(num_samples, "num_samples")
        if not (math.isinf(alpha) or abs(alpha) <= 1e6):
            raise ValueError(f"Expected alpha to be infinite or a number in [-1e6, 1e6]. Received: alpha={alpha}")
        self.alpha = float(alpha)
        self.backward_samples = check_backward_samples(backward_samples, num_samples)

    @property
    def num_backward(self) -> int:
        return 1 if math.isinf(self.alpha) else super().num_backward

    def bound(self, log_weights: tf.Tensor) -> tf.Tensor:
        order = 1.0 - self.alpha
        if order == 0.0:
            return tf.reduce_mean(log_weights, axis=0)
        extreme = (tf.reduce_max if order > 0 else tf.reduce_min)(log_weights, axis=0)
        if math.isinf(order):
            return extreme
        # Differences are scaled to at most 0, so that none overflows. The logarithm is taken of 1 plus the mean expm1,
        # so that small differences are not rounded away: near alpha = 1 the result is divided by almost nothing.
        extreme = tf.stop_gradient(extreme)
        mean = tf.reduce_mean(tf.math.expm1(order * (log_weights - extreme)), axis=0)
        return extreme + tf.math.log1p(mean) / order
