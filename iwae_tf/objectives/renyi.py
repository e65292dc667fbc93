"""The variational Renyi bound."""

import functools
import math

import tensorflow as tf

from iwae_tf.checks import check_count
from iwae_tf.objectives.base import Objective, serializable


def _index(log_weights, seed, extreme):
    return tf.cast(extreme(log_weights, axis=0), tf.int32)[tf.newaxis]


@serializable
class Renyi(Objective):
    """The variational Renyi bound (VR-alpha), log (1/k) sum_i w_i^(1 - alpha) / (1 - alpha).

    It falls as alpha rises: alpha = -inf is the largest log weight (VR-max), alpha = 0 IWAE, alpha = 1 the ELBO, and
    alpha = inf the smallest log weight. For alpha < 0 it does not bound log p(x) from below. The divergence of power
    EP with parameter a is the same with alpha = 1 - a.

    At the two infinities only the extreme sample is differentiated, so that the decoder has one backward pass for one
    sample; with tied extremes it is the first.

    Args:
      num_samples: k, samples per observation.
      alpha: order of the Renyi divergence: +-inf, or a number of at most 1e6 in size.

    Raises:
      ValueError: if `num_samples` is no integer of at least 1, or `alpha` is out of range or NaN.

    References:
      Li & Turner 2016, Renyi Divergence Variational Inference, arXiv:1602.02311.
    """

    _arguments = ("num_samples", "alpha")

    def __init__(self, num_samples, alpha):
        self.num_samples = self.num_particles = check_count(num_samples, "num_samples")
        if not (math.isinf(alpha) or abs(alpha) <= 1e6):
            raise ValueError(f"Expected alpha to be +-inf or a number of at most 1e6 in size. Received: alpha={alpha}")
        self.alpha = float(alpha)
        if math.isinf(alpha):
            self.choose = functools.partial(_index, extreme=tf.argmax if alpha < 0 else tf.argmin)

    def bound(self, log_weights):
        order = 1.0 - self.alpha
        if order == 0.0:
            return tf.reduce_mean(log_weights, axis=0)
        extreme = (tf.reduce_max if order > 0 else tf.reduce_min)(log_weights, axis=0)
        if math.isinf(order):
            return extreme
        # Differences are scaled to at most 0, and the logarithm is that of 1 plus their mean expm1: neither do large
        # ones overflow, nor are small ones lost to rounding, which near alpha = 1 would be divided by almost nothing.
        extreme = tf.stop_gradient(extreme)
        mean = tf.reduce_mean(tf.math.expm1(order * (log_weights - extreme)), axis=0)
        return extreme + tf.math.log1p(mean) / order
