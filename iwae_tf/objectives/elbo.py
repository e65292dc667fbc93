"""The evidence lower bound."""

import math

import keras
import tensorflow as tf

from iwae_tf.checks import check_count
from iwae_tf.objectives.base import Objective


@keras.saving.register_keras_serializable(package="iwae_tf")
class ELBO(Objective):
    """The evidence lower bound, E log p(x|z) - beta KL(q(z|x) || p(z)), by Monte Carlo.

    With beta = 1 it is the objective of the VAE. Any other beta makes it the objective of the beta-VAE, a lower bound
    of log p(x) only for beta >= 1.

    With free bits each stochastic layer's KL, averaged over the batch and the samples, counts as max(free_bits, KL). A
    layer below that floor gets no gradient from its KL, and so has no reason to collapse. Kingma et al. apply the floor
    to groups of latent variables; here a group is a stochastic layer, and the unit is the nat.

    Not to be confused with the logged `elbo`, which is E log w without beta and free bits, whatever the objective.

    Args:
      num_samples: k, samples averaged per observation.
      beta: weight of the KL, at least 0.
      analytic_kl: whether to compute KL(q || p) of the top layer in closed form rather than from its samples. The
        layers below have no closed form, since z_2 depends on z_1, and stay Monte Carlo.
      free_bits: KL per stochastic layer, in nats and at least 0, that costs nothing. The reported bound includes the
        floor; the logged `kl` does not.

    Raises:
      ValueError: if `num_samples` is not a positive integer, or `beta` or `free_bits` is negative or not finite.

    References:
      Kingma & Welling 2014, arXiv:1312.6114; Higgins et al. 2017 (beta-VAE, ICLR); Kingma et al. 2016,
      arXiv:1606.04934 (free bits).

    Example:
      ```python
      objective = objectives.ELBO(beta=4.0, analytic_kl=True)
      objective.bound(model.log_weights(x, 1)).shape  # [20]
      ```
    """

    def __init__(
        self, num_samples: int = 1, beta: float = 1.0, analytic_kl: bool = False, free_bits: float = 0.0
    ) -> None:
        self.num_samples = self.num_particles = check_count(num_samples, "num_samples")
        for name, value in (("beta", beta), ("free_bits", free_bits)):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"Expected {name} to be finite and not negative. Received: {name}={value!r}")
        self.beta = self.kl_weight = float(beta)
        self.analytic_kl = bool(analytic_kl)
        self.free_bits = float(free_bits)

    def bound(self, log_weights: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(log_weights, axis=0)
