"""Jackknife variational inference."""

import itertools
import math

import numpy as np
import tensorflow as tf

from iwae_tf.checks import check_count
from iwae_tf.log_weights import log_mean_exp
from iwae_tf.objectives.base import Objective, serializable

#: Most subsets over which an average is exact; beyond, about as many are taken.
MOST_SUBSETS = 200


def _kept(k, dropped):
    """Makes the subsets of k samples with so many dropped: `[subsets, k]`, true where a sample is kept."""
    if math.comb(k, dropped) <= MOST_SUBSETS:
        indices = np.array(list(itertools.combinations(range(k), dropped)), int)
    else:
        # Samples are exchangeable, so any fixed choice of subsets is unbiased. Each of these is turned through all k
        # positions: every sample is dropped equally often, as in the exact average, which leaves little of the noise.
        rng = np.random.default_rng([k, dropped])
        first = [
            [0, *rng.choice(np.arange(1, k), dropped - 1, replace=False)] for _ in range(max(1, MOST_SUBSETS // k))
        ]
        indices = (np.array(first, int)[:, np.newaxis] + np.arange(k)[:, np.newaxis]).reshape(-1, dropped) % k
    kept = np.ones([len(indices), k], bool)
    np.put_along_axis(kept, indices, False, axis=1)
    return kept


@serializable
class Jackknife(Objective):
    """Jackknife variational inference, JVI(k, m): L_k less the leading m terms of its bias, which falls as k^-(m + 1).

    The estimate is sum_j c_j mean L_{k-j} for j = 0, ..., m, the mean over the subsets with j of the k samples dropped
    and c_j = (-1)^j (k - j)^m / ((m - j)! j!). It is no lower bound, and its variance grows with the order.

    The mean is exact up to 200 subsets, and with one dropped; beyond it is that over a fixed, balanced choice of about
    200 of them (or k, if k is more), which is unbiased. A step takes k log weights for each of them.

    Args:
      num_samples: k, samples per observation.
      order: m, at least 0 (IWAE) and less than k. Rounding is multiplied by about k^m / m!: with float32 use 1 or 2.

    Raises:
      ValueError: if `num_samples` is no integer of at least 1, or `order` no integer in [0, num_samples).

    References:
      Nowozin 2018, Debiasing Evidence Approximations: On Importance-weighted Autoencoders and Jackknife Variational
      Inference, ICLR.
    """

    _arguments = ("num_samples", "order")

    def __init__(self, num_samples, order):
        self.num_samples = self.num_particles = check_count(num_samples, "num_samples")
        if isinstance(order, bool) or not isinstance(order, (int, np.integer)) or not 0 <= order < num_samples:
            raise ValueError(
                "Expected order to be an integer of at least 0 and less than num_samples. "
                f"Received: order={order!r}, num_samples={num_samples}"
            )
        self.order = int(order)

    def bound(self, log_weights):
        k, m = self.num_samples, self.order
        # The coefficients are large and add up to 1: to keep rounding small they multiply differences from L_k.
        top = tf.stop_gradient(tf.reduce_max(log_weights, axis=0))
        log_weights -= top
        bound = whole = log_mean_exp(log_weights)
        for j in range(1, m + 1):
            coefficient = (-1) ** j * (k - j) ** m / (math.factorial(m - j) * math.factorial(j))
            kept = _kept(k, j)[:, :, np.newaxis]
            left = tf.reduce_logsumexp(tf.where(kept, log_weights, -float("inf")), axis=1) - math.log(k - j)
            bound += coefficient * (tf.reduce_mean(left, axis=0) - whole)
        return top + bound
