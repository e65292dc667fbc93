"""The importance-weighted bound."""

from collections.abc import Callable
from typing import Literal

import keras
import tensorflow as tf

from iwae_tf.checks import check_backward_samples, check_choice, check_count
from iwae_tf.log_weights import log_mean_exp, normalized_weights
from iwae_tf.objectives.base import Objective
from iwae_tf.options import BackwardSamples


def compute_dreg_weights(weights: tf.Tensor, kl_weight: float) -> tf.Tensor:
    """Computes the path weights of DReG for a sum of log w with the normalised weights w~.

    The score of q has the coefficient -kl_weight w~; its reparameterised form is -kl_weight w~ (1 - w~) times the path.
    Together with the path's own w~ that is w~^2 for a KL weight of 1, and more during warm-up.
    """
    return (1.0 - kl_weight) + kl_weight * weights


def _path_weights(log_weights: tf.Tensor, kl_weight: float = 1.0) -> tf.Tensor:
    return tf.ones_like(log_weights)


def _dreg_weights(log_weights: tf.Tensor, kl_weight: float = 1.0) -> tf.Tensor:
    return compute_dreg_weights(normalized_weights(log_weights), kl_weight)


# Factors of each sample's pathwise gradient, while the parameters of q are held fixed.
_PATH_WEIGHTS: dict[str, Callable[..., tf.Tensor] | None] = {
    "reparameterized": None,
    "path": _path_weights,
    "doubly_reparameterized": _dreg_weights,
}


@keras.saving.register_keras_serializable(package="iwae_tf")
class ImportanceWeighted(Objective):
    """The importance-weighted bound, L_k = E log (1/k) sum_i w_i.

    Args:
      num_samples: k, importance samples per observation; k = 1 is the ELBO.
      gradient: estimator of the inference network's gradient; the generative network's is the same for all.
        `"reparameterized"` differentiates the bound. `"path"` (sticking the landing) drops the score of q, which is
        biased for k > 1. `"doubly_reparameterized"` (DReG) replaces the score by its reparameterised form: it is
        unbiased, has less variance, and its signal-to-noise ratio grows with k.
      backward_samples: m, the number of samples to differentiate. All k are scored; the samples of large weight are
        kept, and a systematic draw from the others stands for the rest. The gradient keeps its mean, and a step takes
        less time. `"auto"` is max(8, k // 10), or k below 20; `None` is k.

    Raises:
      ValueError: if `num_samples` is not a positive integer, `gradient` is not one of the three, or
        `backward_samples` is none of the above.

    References:
      Burda, Grosse & Salakhutdinov 2015, arXiv:1509.00519 (section 3 for one sample in the backward pass); Roeder, Wu &
      Duvenaud 2017, arXiv:1703.09194; Tucker et al. 2018, arXiv:1810.04152; Fearnhead & Clifford 2003, J. R. Stat. Soc.
      B 65 (the choice of samples).

    Example:
      ```python
      objective = objectives.ImportanceWeighted(50, gradient="doubly_reparameterized")
      objective.bound(model.log_weights(x, 50)).shape  # [20]
      ```
    """

    def __init__(
        self,
        num_samples: int,
        gradient: Literal["reparameterized", "path", "doubly_reparameterized"] = "reparameterized",
        backward_samples: BackwardSamples = None,
    ) -> None:
        self.num_samples = self.num_particles = check_count(num_samples, "num_samples")
        self.gradient = check_choice(gradient, "gradient", _PATH_WEIGHTS)
        self.path_weights = _PATH_WEIGHTS[gradient]
        self.backward_samples = check_backward_samples(backward_samples, num_samples)

    def bound(self, log_weights: tf.Tensor) -> tf.Tensor:
        return log_mean_exp(log_weights)
