"""The evidence lower bound."""

import math

import tensorflow as tf

from iwae_tf.objectives.base import Objective, check_count, serializable


@serializable
class ELBO(Objective):
    """The evidence lower bound, E log p(x|z) - beta KL(q(z|x) || p(z)), by Monte Carlo.

    With beta = 1 it is the VAE's objective; with another beta that of the beta-VAE, which bounds log p(x) only for
    beta >= 1.

    Args:
      num_samples: samples averaged per observation.
      beta: weight of the KL term, >= 0.
      analytic_kl: take KL(q || p) of the top layer in closed form rather than from its sample. The layers below
        have none, since z_2 depends on z_1, and stay Monte Carlo.

    Raises:
      ValueError: if `num_samples` is no integer of at least 1, or `beta` is negative or not finite.

    References:
      Kingma & Welling 2014, arXiv:1312.6114; Higgins et al. 2017 (beta-VAE, ICLR).
    """

    _arguments = ("num_samples", "beta", "analytic_kl")

    def __init__(self, num_samples=1, beta=1.0, analytic_kl=False):
        self.num_samples = self.num_particles = check_count(num_samples, "num_samples")
        if not (math.isfinite(beta) and beta >= 0):
            raise ValueError(f"Expected beta to be a finite number of at least 0. Received: beta={beta!r}")
        self.beta = self.kl_weight = float(beta)
        self.analytic_kl = bool(analytic_kl)

    def bound(self, log_weights):
        return tf.reduce_mean(log_weights, axis=0)
