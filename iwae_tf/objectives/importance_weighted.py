"""The importance-weighted bound."""

import functools

import tensorflow as tf

from iwae_tf import random
from iwae_tf.checks import check_choice, check_count
from iwae_tf.log_weights import log_mean_exp, normalized_weights
from iwae_tf.objectives.base import Objective, serializable


def doubly_reparameterized(weights, kl_weight):
    """Computes the path weights of DReG for a mean of log w over normalised weights w~.

    The score of q has the coefficient -kl_weight w~, and its reparameterised form is -kl_weight w~ (1 - w~) times the
    path. With the path's own w~ this makes w~^2 at a weight of 1, and more while the KL is being warmed up.
    """
    return (1.0 - kl_weight) + kl_weight * weights


def _path(log_weights, kl_weight=1.0):
    return tf.ones_like(log_weights)


def _doubly(log_weights, kl_weight=1.0):
    return doubly_reparameterized(normalized_weights(log_weights), kl_weight)


# What multiplies the pathwise gradient of each sample while the parameters of q are held fixed.
_PATH_WEIGHTS = {"reparameterized": None, "path": _path, "doubly_reparameterized": _doubly}


@serializable
class ImportanceWeighted(Objective):
    """The importance-weighted bound, L_k = E log (1/k) sum_i w_i.

    Args:
      num_samples: k, importance samples per observation; k = 1 is the ELBO.
      gradient: estimator of the gradient for the inference network. The generative network's is the same for all.
        `"reparameterized"` differentiates the bound. `"path"` (sticking the landing) drops the score of q; it is
        biased for k > 1. `"doubly_reparameterized"` (DReG) replaces that score by its reparameterised form:
        unbiased, of less variance, and its signal-to-noise ratio grows with k.
      backward_samples: samples to differentiate. They are drawn with replacement, sample i with probability w~_i, and
        the mean of their log w is differentiated: an unbiased estimate of the gradient, of more variance, without
        the backward pass through the decoder for all the others. `None` differentiates all.

    Raises:
      ValueError: if `num_samples` or `backward_samples` is no integer of at least 1, `gradient` is none of the three,
        or `backward_samples` is given with another gradient than `"reparameterized"`.

    References:
      Burda, Grosse & Salakhutdinov 2015, arXiv:1509.00519 (section 3 for `backward_samples`); Roeder, Wu &
      Duvenaud 2017, arXiv:1703.09194; Tucker et al. 2018, arXiv:1810.04152.
    """

    _arguments = ("num_samples", "gradient", "backward_samples")

    def __init__(self, num_samples, gradient="reparameterized", backward_samples=None):
        self.num_samples = self.num_particles = check_count(num_samples, "num_samples")
        self.gradient = check_choice(gradient, "gradient", _PATH_WEIGHTS)
        self.path_weights = _PATH_WEIGHTS[gradient]
        self.backward_samples = backward_samples
        if backward_samples is not None:
            check_count(backward_samples, "backward_samples")
            if self.path_weights:
                raise ValueError(
                    f"Expected gradient='reparameterized' with backward_samples. Received: gradient={gradient!r}, "
                    f"backward_samples={backward_samples}"
                )
            self.choose = functools.partial(random.categorical, num_samples=backward_samples)

    def bound(self, log_weights):
        return log_mean_exp(log_weights)
