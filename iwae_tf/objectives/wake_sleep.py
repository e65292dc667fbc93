"""Reweighted wake-sleep."""

from iwae_tf.checks import check_choice, check_count, check_fraction
from iwae_tf.log_weights import log_mean_exp, normalized_weights
from iwae_tf.objectives.base import Objective, serializable


def _path_weights(log_weights, kl_weight=1.0):
    # The reparameterised form of w~ d log q is w~ (1 - w~) times the path, whatever the weight of the KL in w.
    return 1.0 - normalized_weights(log_weights)


@serializable
class ReweightedWakeSleep(Objective):
    """Reweighted wake-sleep: L_k for the generative network, KL(p(z|x) || q(z|x)) for the inference network.

    In the wake phase the inference network raises sum_i w~_i log q(z_i|x) at the samples that it has drawn, which
    brings it to the posterior from the inclusive side. No gradient passes through the samples, so the posterior need
    not be reparameterisable. In the sleep phase it raises log q(z|x) for x and z drawn from the generative model, one
    for each observation of the batch.

    Args:
      num_samples: k, samples per observation; at least 2 for the wake phase, since with 1 it would fit q to its own
        samples.
      gradient: estimator of the wake phase for the inference network. `"score"` is the definition.
        `"doubly_reparameterized"` (DReG) is unbiased for it and has less variance near the optimum; it needs a
        reparameterisable posterior.
      sleep: weight of the sleep phase, in [0, 1]; the wake phase has the rest. 0 is wake-wake, 1 wake-sleep.

    Raises:
      ValueError: if `num_samples` is no integer of at least 1, or is 1 with a wake phase, `gradient` is neither, or
        `sleep` leaves [0, 1].

    References:
      Bornschein & Bengio 2015, Reweighted Wake-Sleep, arXiv:1406.2751; Le et al. 2018, arXiv:1805.10469; Tucker et
      al. 2018, arXiv:1810.04152.
    """

    _arguments = ("num_samples", "gradient", "sleep")

    def __init__(self, num_samples, gradient="score", sleep=0.0):
        self.num_samples = self.num_particles = check_count(num_samples, "num_samples")
        self.gradient = check_choice(gradient, "gradient", ("score", "doubly_reparameterized"))
        self.sleep = check_fraction(sleep, "sleep")
        if self.num_samples == 1 and self.sleep < 1:
            raise ValueError(
                "Expected num_samples to be at least 2 for the wake phase, whose gradient for the inference network is "
                f"nothing but noise with 1. Received: num_samples=1, sleep={sleep}"
            )
        if gradient == "score":
            self.score_weights = normalized_weights
        else:
            self.path_weights = _path_weights

    def bound(self, log_weights):
        return log_mean_exp(log_weights)
