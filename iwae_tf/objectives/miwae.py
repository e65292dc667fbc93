"""The multiply importance-weighted bound: a mean of bounds over groups of samples."""

from typing import Literal, TypeAlias, get_args

import keras
import tensorflow as tf

from iwae_tf.checks import check_backward_samples, check_choice, check_count
from iwae_tf.log_weights import log_mean_exp, normalized_weights
from iwae_tf.objectives.base import Objective
from iwae_tf.objectives.importance_weighted import compute_dreg_weights
from iwae_tf.options import BackwardSamples

#: The estimators of a gradient that other bounds than L_k have as well.
Gradient: TypeAlias = Literal["reparameterized", "doubly_reparameterized"]
GRADIENTS = get_args(Gradient)


@keras.saving.register_keras_serializable(package="iwae_tf")
class MIWAE(Objective):
    """The mean of M importance-weighted bounds L_K, whose gradient is less noisy than L_MK's, from M K samples.

    MIWAE(1, K) is IWAE with K samples, MIWAE(M, 1) the ELBO with M.

    Not to be confused with the MIWAE of Mattei & Frellsen 2019, arXiv:1812.02633, which is the bound of incomplete
    data: `ImportanceWeighted` with `IWAE(..., incomplete=True)`.

    Args:
      num_groups: M. Group m holds the samples m K to m K + K - 1.
      num_samples: K, samples per group.
      gradient: estimator of the inference network's gradient; see `ImportanceWeighted`.
      backward_samples: number of samples to differentiate; see `ImportanceWeighted`. `"auto"` is at least 2 M.

    Raises:
      ValueError: if a number is not a positive integer, or `gradient` is neither of the two.

    References:
      Rainforth et al. 2018, arXiv:1802.04537; Tucker et al. 2018, arXiv:1810.04152.

    Example:
      ```python
      objective = objectives.MIWAE(num_groups=8, num_samples=5)
      objective.bound(model.log_weights(x, 40)).shape  # [20]
      ```
    """

    def __init__(
        self,
        num_groups: int,
        num_samples: int,
        gradient: Gradient = "reparameterized",
        backward_samples: BackwardSamples = None,
    ) -> None:
        self.num_groups = check_count(num_groups, "num_groups")
        self.num_samples = check_count(num_samples, "num_samples")
        self.num_particles = self.num_groups * self.num_samples
        self.gradient = check_choice(gradient, "gradient", GRADIENTS)
        self.fewest_backward = max(self.fewest_backward, 2 * self.num_groups)  # each group has a largest weight
        self.backward_samples = check_backward_samples(backward_samples, self.num_particles)
        if gradient == "doubly_reparameterized":
            self.path_weights = self._path_weights

    def bound(self, log_weights: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(log_mean_exp(self._group(log_weights)), axis=0)

    def _path_weights(self, log_weights: tf.Tensor, kl_weight: float = 1.0) -> tf.Tensor:
        weights = tf.transpose(normalized_weights(self._group(log_weights)), [1, 0, 2])  # sum to 1 within each group
        return compute_dreg_weights(tf.reshape(weights, tf.shape(log_weights)), kl_weight)

    def _group(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns the log weights as `[num_samples, num_groups, batch]`."""
        return tf.transpose(tf.reshape(log_weights, [self.num_groups, self.num_samples, -1]), [1, 0, 2])
