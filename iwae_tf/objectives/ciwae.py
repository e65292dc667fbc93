"""Combination importance-weighted bounds: between the ELBO and L_k."""

import keras
import tensorflow as tf

from iwae_tf.checks import check_backward_samples, check_choice, check_count, check_fraction
from iwae_tf.log_weights import log_mean_exp, normalized_weights
from iwae_tf.objectives.base import Objective
from iwae_tf.objectives.importance_weighted import compute_dreg_weights
from iwae_tf.objectives.miwae import GRADIENTS, Gradient
from iwae_tf.options import BackwardSamples


@keras.saving.register_keras_serializable(package="iwae_tf")
class CIWAE(Objective):
    """A convex combination of the ELBO and L_k: beta ELBO + (1 - beta) L_k.

    Not to be confused with the beta-VAE, `ELBO(beta=...)`, whose beta is the weight of the KL.

    Args:
      num_samples: k, samples per observation.
      beta: weight of the ELBO, in [0, 1]: 0 is IWAE, 1 the ELBO.
      gradient: estimator of the inference network's gradient; see `ImportanceWeighted`. The doubly reparameterised
        form of the ELBO is sticking the landing.
      backward_samples: number of samples to differentiate; see `ImportanceWeighted`.

    Raises:
      ValueError: if `num_samples` is not a positive integer, `beta` is not in [0, 1], or `gradient` is neither of the
        two.

    References:
      Rainforth et al. 2018, arXiv:1802.04537; Tucker et al. 2018, arXiv:1810.04152.

    Example:
      ```python
      objective = objectives.CIWAE(50, beta=0.5)
      objective.bound(model.log_weights(x, 50)).shape  # [20]
      ```
    """

    def __init__(
        self,
        num_samples: int,
        beta: float,
        gradient: Gradient = "reparameterized",
        backward_samples: BackwardSamples = None,
    ) -> None:
        self.num_samples = self.num_particles = check_count(num_samples, "num_samples")
        self.beta = check_fraction(beta, "beta")
        self.gradient = check_choice(gradient, "gradient", GRADIENTS)
        self.backward_samples = check_backward_samples(backward_samples, self.num_particles)
        if gradient == "doubly_reparameterized":
            self.path_weights = self._path_weights

    def bound(self, log_weights: tf.Tensor) -> tf.Tensor:
        return self.beta * tf.reduce_mean(log_weights, axis=0) + (1.0 - self.beta) * log_mean_exp(log_weights)

    def _path_weights(self, log_weights: tf.Tensor, kl_weight: float = 1.0) -> tf.Tensor:
        # The score takes 1 - w~ of L_k's part of the weight, and nothing of the ELBO's.
        weights = normalized_weights(log_weights)
        importance_weighted = (1.0 - self.beta) * weights
        share = tf.math.divide_no_nan(importance_weighted, self.beta / self.num_samples + importance_weighted)
        return (1.0 - share) + share * compute_dreg_weights(weights, kl_weight)
