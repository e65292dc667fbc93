"""Reweighted wake-sleep."""

from typing import Literal

import keras
import tensorflow as tf

from iwae_tf.checks import check_backward_samples, check_choice, check_count, check_fraction
from iwae_tf.log_weights import log_mean_exp, normalized_weights
from iwae_tf.objectives.base import Objective
from iwae_tf.options import BackwardSamples


def _dreg_weights(log_weights: tf.Tensor, kl_weight: float = 1.0) -> tf.Tensor:
    # The reparameterised form of w~ d log q is w~ (1 - w~) times the path, whatever the weight of the KL in w.
    return 1.0 - normalized_weights(log_weights)


@keras.saving.register_keras_serializable(package="iwae_tf")
class ReweightedWakeSleep(Objective):
    """Reweighted wake-sleep: L_k for the generative network, KL(p(z|x) || q(z|x)) for the inference network.

    In its wake phase the inference network maximises sum_i w~_i log q(z_i|x) at its own samples, and so covers the
    posterior rather than one mode of it. No gradient passes through the samples, so q need not be reparameterisable. In
    its sleep phase it maximises log q(z|x) for x and z drawn from the generative model, one pair for each observation
    of the batch.

    The two phases are the inference network's (wake-phi and sleep-phi in the literature). Not to be confused with the
    wake phase of the original wake-sleep algorithm, which trains the generative network: here that network follows L_k
    in every step.

    Args:
      num_samples: k, samples per observation; 2 or more with a wake phase, which with one sample would fit q to
        whatever it drew.
      gradient: estimator of the wake phase for the inference network. `"score"` is its definition.
        `"doubly_reparameterized"` (DReG) has the same mean, and less variance near the optimum; it needs a
        reparameterisable posterior.
      sleep: weight of the sleep phase, in [0, 1]; the wake phase has the rest. 0 is wake-wake, 1 wake-sleep.
      backward_samples: number of samples to differentiate; see `ImportanceWeighted`.

    Raises:
      ValueError: if `num_samples` is not a positive integer, or is 1 with a wake phase; if `gradient` is neither of the
        two; or if `sleep` is not in [0, 1].

    References:
      Bornschein & Bengio 2015, Reweighted Wake-Sleep, arXiv:1406.2751; Le et al. 2018, arXiv:1805.10469; Tucker et
      al. 2018, arXiv:1810.04152.

    Example:
      ```python
      objective = objectives.ReweightedWakeSleep(10)
      objective.score_weights(model.log_weights(x, 10)).shape  # [10, 20]
      ```
    """

    def __init__(
        self,
        num_samples: int,
        gradient: Literal["score", "doubly_reparameterized"] = "score",
        sleep: float = 0.0,
        backward_samples: BackwardSamples = None,
    ) -> None:
        self.num_samples = self.num_particles = check_count(num_samples, "num_samples")
        self.gradient = check_choice(gradient, "gradient", ("score", "doubly_reparameterized"))
        self.sleep = check_fraction(sleep, "sleep")
        self.backward_samples = check_backward_samples(backward_samples, num_samples)
        if self.num_samples == 1 and self.sleep < 1:
            raise ValueError(
                "Expected num_samples to be at least 2 with a wake phase, whose gradient is pure noise with 1. "
                f"Received: num_samples=1, sleep={sleep}"
            )
        if gradient == "score":
            self.score_weights = normalized_weights
        else:
            self.path_weights = _dreg_weights

    def bound(self, log_weights: tf.Tensor) -> tf.Tensor:
        return log_mean_exp(log_weights)
