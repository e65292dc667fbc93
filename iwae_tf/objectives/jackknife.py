"""Jackknife variational inference."""

import itertools
import math

import keras
import numpy as np
import tensorflow as tf

from iwae_tf.checks import check_count
from iwae_tf.log_weights import log_mean_exp
from iwae_tf.objectives.base import Objective

#: Averages over subsets of samples are exact up to this many subsets; of more, about as many are used.
MOST_SUBSETS = 200


def _make_subsets(k: int, num_dropped: int) -> np.ndarray:
    """Makes subsets of k samples with `num_dropped` left out: `[subsets, k]`, true where a sample is kept."""
    if math.comb(k, num_dropped) <= MOST_SUBSETS:
        dropped = np.array(list(itertools.combinations(range(k), num_dropped)), int)
    else:
        # Samples are exchangeable, so any fixed choice of subsets is unbiased. Each of these is shifted cyclically by 0
        # to k - 1: every sample is dropped equally often, as in the exact average, which leaves little of the noise.
        rng = np.random.default_rng([k, num_dropped])
        first = [
            [0, *rng.choice(np.arange(1, k), num_dropped - 1, replace=False)] for _ in range(max(1, MOST_SUBSETS // k))
        ]
        dropped = (np.array(first, int)[:, np.newaxis] + np.arange(k)[:, np.newaxis]).reshape(-1, num_dropped) % k
    subsets = np.ones([len(dropped), k], bool)
    np.put_along_axis(subsets, dropped, False, axis=1)
    return subsets


@keras.saving.register_keras_serializable(package="iwae_tf")
class Jackknife(Objective):
    """Jackknife variational inference, JVI(k, m): L_k without the first m terms of its bias.

    The remaining bias falls as k^-(m + 1). The estimate is sum_j c_j mean L_{k-j} for j = 0, ..., m, where the mean is
    over the subsets with j of the k samples dropped and c_j = (-1)^j (k - j)^m / ((m - j)! j!). It is not a lower
    bound, and its variance grows with m.

    The mean is exact for up to 200 subsets, and for j = 1. Otherwise it is over a fixed, balanced choice of about 200
    subsets (k, if k is larger), and stays unbiased. A step computes k log weights for each subset.

    Not to be confused with the column `jackknife` of `evaluation.log_likelihood`, which corrects an estimate of
    log p(x) with many samples to the first order and is not trained.

    Args:
      num_samples: k, samples per observation.
      order: m, from 0 (IWAE) to k - 1. Rounding errors grow by about k^m / m!: use 1 or 2 with float32.

    Raises:
      ValueError: if `num_samples` is not a positive integer, or `order` is not an integer from 0 to `num_samples` - 1.

    References:
      Nowozin 2018, Debiasing Evidence Approximations: On Importance-weighted Autoencoders and Jackknife Variational
      Inference, ICLR.

    Example:
      ```python
      objective = objectives.Jackknife(50, order=1)
      objective.bound(model.log_weights(x, 50)).shape  # [20]
      ```
    """

    def __init__(self, num_samples: int, order: int) -> None:
        self.num_samples = self.num_particles = check_count(num_samples, "num_samples")
        if isinstance(order, bool) or not isinstance(order, (int, np.integer)) or not 0 <= order < num_samples:
            raise ValueError(
                "Expected order to be an integer from 0 to num_samples - 1. "
                f"Received: order={order!r}, num_samples={num_samples}"
            )
        self.order = int(order)

    def bound(self, log_weights: tf.Tensor) -> tf.Tensor:
        k, m = self.num_samples, self.order
        # The coefficients are large and sum to 1: they multiply differences from L_k, which keeps rounding small.
        top = tf.stop_gradient(tf.reduce_max(log_weights, axis=0))
        log_weights -= top
        bound = of_all = log_mean_exp(log_weights)
        for j in range(1, m + 1):
            coefficient = (-1) ** j * (k - j) ** m / (math.factorial(m - j) * math.factorial(j))
            subsets = _make_subsets(k, j)[:, :, np.newaxis]
            of_subsets = tf.reduce_logsumexp(tf.where(subsets, log_weights, -float("inf")), axis=1) - math.log(k - j)
            bound += coefficient * (tf.reduce_mean(of_subsets, axis=0) - of_all)
        return top + bound
