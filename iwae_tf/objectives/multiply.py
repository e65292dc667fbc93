"""Bounds between the ELBO and L_k, and different ones for the two networks."""

import tensorflow as tf

from iwae_tf.checks import check_choice, check_count, check_fraction
from iwae_tf.log_weights import log_mean_exp, normalized_weights
from iwae_tf.objectives.base import Objective, serializable
from iwae_tf.objectives.importance_weighted import ImportanceWeighted, doubly_reparameterized

_GRADIENTS = ("reparameterized", "doubly_reparameterized")


@serializable
class MIWAE(Objective):
    """The mean of M importance-weighted bounds L_K, for a less noisy gradient at the same number of samples, M K.

    MIWAE(1, K) is IWAE with K samples, MIWAE(M, 1) the ELBO with M.

    Args:
      num_groups: M. Group m holds the samples m K to m K + K - 1.
      num_samples: K, samples per group.
      gradient: estimator of the gradient for the inference network, `"reparameterized"` or
        `"doubly_reparameterized"`; see `ImportanceWeighted`.

    Raises:
      ValueError: if a number is no integer of at least 1, or `gradient` is neither.

    References:
      Rainforth et al. 2018, arXiv:1802.04537; Tucker et al. 2018, arXiv:1810.04152.
    """

    _arguments = ("num_groups", "num_samples", "gradient")

    def __init__(self, num_groups, num_samples, gradient="reparameterized"):
        self.num_groups = check_count(num_groups, "num_groups")
        self.num_samples = check_count(num_samples, "num_samples")
        self.num_particles = self.num_groups * self.num_samples
        self.gradient = check_choice(gradient, "gradient", _GRADIENTS)
        if gradient == "doubly_reparameterized":
            self.path_weights = self._path_weights

    def bound(self, log_weights):
        return tf.reduce_mean(log_mean_exp(self._groups(log_weights)), axis=0)

    def _path_weights(self, log_weights, kl_weight=1.0):
        within = tf.transpose(normalized_weights(self._groups(log_weights)), [1, 0, 2])
        return doubly_reparameterized(tf.reshape(within, tf.shape(log_weights)), kl_weight)

    def _groups(self, log_weights):
        """Returns the log weights as `[num_samples, num_groups, batch]`."""
        return tf.transpose(tf.reshape(log_weights, [self.num_groups, self.num_samples, -1]), [1, 0, 2])


@serializable
class CIWAE(Objective):
    """A convex combination of the ELBO and L_k: beta ELBO + (1 - beta) L_k.

    Args:
      num_samples: k, samples per observation.
      beta: weight of the ELBO, in [0, 1]: 0 is IWAE, 1 the ELBO.
      gradient: estimator of the gradient for the inference network, `"reparameterized"` or
        `"doubly_reparameterized"`; the ELBO's part then sticks the landing, which is its doubly reparameterised form.

    Raises:
      ValueError: if `num_samples` is no integer of at least 1, `beta` leaves [0, 1], or `gradient` is neither.

    References:
      Rainforth et al. 2018, arXiv:1802.04537; Tucker et al. 2018, arXiv:1810.04152.
    """

    _arguments = ("num_samples", "beta", "gradient")

    def __init__(self, num_samples, beta, gradient="reparameterized"):
        self.num_samples = self.num_particles = check_count(num_samples, "num_samples")
        self.beta = check_fraction(beta, "beta")
        self.gradient = check_choice(gradient, "gradient", _GRADIENTS)
        if gradient == "doubly_reparameterized":
            self.path_weights = self._path_weights

    def bound(self, log_weights):
        return self.beta * tf.reduce_mean(log_weights, axis=0) + (1.0 - self.beta) * log_mean_exp(log_weights)

    def _path_weights(self, log_weights, kl_weight=1.0):
        # Only the share of the weight that is L_k's loses anything to the score: 1 - w~ of it.
        weights = normalized_weights(log_weights)
        importance_weighted = (1.0 - self.beta) * weights
        share = tf.math.divide_no_nan(importance_weighted, self.beta / self.num_samples + importance_weighted)
        return (1.0 - share) + share * doubly_reparameterized(weights, kl_weight)


@serializable
class Combined(Objective):
    """One objective for the generative network and another for the inference network, on the same samples.

    The reported bound is the generative network's. The log weights are computed once and differentiated twice, which
    costs a second backward pass through the decoder, but not its matrix products for the decoder's own weights.

    Args:
      generative: objective of the generative network.
      inference: objective of the inference network, of as many samples.

    Raises:
      TypeError: if either is not an `Objective`.
      ValueError: if they draw different numbers of samples, or only one has the KL in closed form, or one of them
        differentiates a part of the samples or is itself such a combination.

    References:
      Rainforth et al. 2018, Tighter Variational Bounds are Not Necessarily Better, arXiv:1802.04537.
    """

    _arguments: tuple[str, ...] = ("generative", "inference")
    inference: Objective

    def __init__(self, generative, inference):
        for name, objective in (("generative", generative), ("inference", inference)):
            if not isinstance(objective, Objective):
                raise TypeError(f"Expected {name} to be an iwae_tf.objectives.Objective. Received: {objective!r}")
            if objective.inference or objective.choose:
                raise ValueError(f"Expected {name} to differentiate one bound of all samples. Received: {objective!r}")
        for what, name in (("numbers of samples", "num_particles"), ("kinds of KL", "analytic_kl")):
            if getattr(generative, name) != getattr(inference, name):
                raise ValueError(
                    f"Expected objectives with the same {what}. Received: {name}={getattr(generative, name)} "
                    f"of generative={generative!r} and {getattr(inference, name)} of inference={inference!r}"
                )
        self.generative, self.inference = generative, inference
        self.num_particles, self.analytic_kl = generative.num_particles, generative.analytic_kl
        self.kl_weight, self.free_bits = generative.kl_weight, generative.free_bits

    def bound(self, log_weights):
        return self.generative.bound(log_weights)


@serializable
class PIWAE(Combined):
    """L_MK for the generative network, MIWAE(M, K) for the inference network: `Combined` of the two.

    The generative network gets the tightest bound that the samples allow, the inference network a gradient whose
    signal does not vanish in its noise.

    Args:
      num_groups: M.
      num_samples: K, samples per group.
      gradient: as for `MIWAE`.

    Raises:
      ValueError: if a number is no integer of at least 1, or `gradient` is none of `MIWAE`'s.

    References:
      Rainforth et al. 2018, arXiv:1802.04537.
    """

    _arguments = ("num_groups", "num_samples", "gradient")

    def __init__(self, num_groups, num_samples, gradient="reparameterized"):
        inference = MIWAE(num_groups, num_samples, gradient)
        super().__init__(ImportanceWeighted(inference.num_particles), inference)
        self.num_groups, self.num_samples, self.gradient = inference.num_groups, inference.num_samples, gradient
