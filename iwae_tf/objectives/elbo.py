"""The evidence lower bound."""

import math

import tensorflow as tf

from iwae_tf.checks import check_count
from iwae_tf.objectives.base import Objective, serializable


@serializable
class ELBO(Objective):
    """The evidence lower bound, E log p(x|z) - beta KL(q(z|x) || p(z)), by Monte Carlo.

    With beta = 1 it is the VAE's objective; with another beta that of the beta-VAE, which bounds log p(x) only for
    beta >= 1.

    With free bits the KL of each stochastic layer, averaged over the batch and the samples, is max(free_bits, KL): a
    layer below the floor costs that much, and gets no gradient from its KL, so that it has no reason to collapse.
    These are the free bits of Kingma et al., whose groups of latent variables are here the stochastic layers, and
    whose unit is the nat.

    Args:
      num_samples: samples averaged per observation.
      beta: weight of the KL term, >= 0.
      analytic_kl: take KL(q || p) of the top layer in closed form rather than from its sample. The layers below
        have none, since z_2 depends on z_1, and stay Monte Carlo.
      free_bits: nats per stochastic layer, >= 0, that its KL may take at no cost. The reported bound has the floor
        in it; the logged `elbo` and `kl` do not.

    Raises:
      ValueError: if `num_samples` is no integer of at least 1, or `beta` or `free_bits` is negative or not finite.

    References:
      Kingma & Welling 2014, arXiv:1312.6114; Higgins et al. 2017 (beta-VAE, ICLR); Kingma et al. 2016,
      arXiv:1606.04934 (free bits).
    """

    _arguments = ("num_samples", "beta", "analytic_kl", "free_bits")

    def __init__(self, num_samples=1, beta=1.0, analytic_kl=False, free_bits=0.0):
        self.num_samples = self.num_particles = check_count(num_samples, "num_samples")
        for name, value in (("beta", beta), ("free_bits", free_bits)):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"Expected {name} to be a finite number of at least 0. Received: {name}={value!r}")
        self.beta = self.kl_weight = float(beta)
        self.analytic_kl = bool(analytic_kl)
        self.free_bits = float(free_bits)

    def bound(self, log_weights):
        return tf.reduce_mean(log_weights, axis=0)
