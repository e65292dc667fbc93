"""The importance-weighted bound."""

import tensorflow as tf

from iwae_tf.log_weights import log_mean_exp, normalized_weights
from iwae_tf.objectives.base import Objective, check_count, serializable

# What multiplies the pathwise gradient of each sample while the parameters of q are held fixed.
_PATH_WEIGHTS = {
    "reparameterized": None,
    "path": tf.ones_like,
    "doubly_reparameterized": normalized_weights,
}


@serializable
class ImportanceWeighted(Objective):
    """The importance-weighted bound, L_k = E log (1/k) sum_i w_i.

    Args:
      num_samples: k, importance samples per observation; k = 1 is the ELBO.
      gradient: estimator of the gradient for the inference network. The generative network's is the same for all.
        `"reparameterized"` differentiates the bound. `"path"` (sticking the landing) drops the score of q; it is
        biased for k > 1. `"doubly_reparameterized"` (DReG) replaces that score by its reparameterised form:
        unbiased, of less variance, and its signal-to-noise ratio grows with k.

    Raises:
      ValueError: if `num_samples` is no integer of at least 1, or `gradient` is none of the three.

    References:
      Burda, Grosse & Salakhutdinov 2015, arXiv:1509.00519; Roeder, Wu & Duvenaud 2017, arXiv:1703.09194;
      Tucker et al. 2018, arXiv:1810.04152.
    """

    _arguments = ("num_samples", "gradient")

    def __init__(self, num_samples, gradient="reparameterized"):
        self.num_samples = self.num_particles = check_count(num_samples, "num_samples")
        if gradient not in _PATH_WEIGHTS:
            raise ValueError(f"Expected gradient to be one of {', '.join(_PATH_WEIGHTS)}. Received: {gradient!r}")
        self.gradient = gradient
        self.path_weights = _PATH_WEIGHTS[gradient]

    def bound(self, log_weights):
        return log_mean_exp(log_weights)
