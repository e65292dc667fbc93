"""Different objectives for the two networks."""

import keras
import tensorflow as tf

from iwae_tf.checks import check_backward_samples
from iwae_tf.objectives.base import Objective
from iwae_tf.objectives.importance_weighted import ImportanceWeighted
from iwae_tf.objectives.miwae import MIWAE, Gradient
from iwae_tf.options import BackwardSamples


@keras.saving.register_keras_serializable(package="iwae_tf")
class Combined(Objective):
    """One objective for the generative network and another for the inference network.

    The reported bound is the generative network's. Both use the same samples if they draw equally many: the log weights
    are then computed once and differentiated twice, a second backward pass through the decoder without the matrix
    products for the decoder's own weights. Objectives that draw different numbers of samples, or filter sequences in
    different ways, have samples of their own, as in the alternating algorithm of AESMC.

    Args:
      generative: objective of the generative network.
      inference: objective of the inference network.
      backward_samples: number of samples to differentiate; see `ImportanceWeighted`. The same samples serve both
        networks.

    Raises:
      TypeError: if one of them is not an `Objective`.
      ValueError: if only one has the KL in closed form; if one of them differentiates only some of the samples or is a
        combination itself; or if `backward_samples` comes with free bits, which depend on all samples, or with samples
        of their own.

    References:
      Rainforth et al. 2018, Tighter Variational Bounds are Not Necessarily Better, arXiv:1802.04537; Le et al. 2018,
      Auto-Encoding Sequential Monte Carlo, arXiv:1705.10306, section 4.

    Example:
      ```python
      objective = objectives.Combined(
          generative=objectives.ImportanceWeighted(40), inference=objectives.ELBO(num_samples=40)
      )
      objective.bound(model.log_weights(x, 40)).shape  # [20], L_40
      ```
    """

    inference: Objective

    def __init__(self, generative: Objective, inference: Objective, backward_samples: BackwardSamples = None) -> None:
        for name, objective in (("generative", generative), ("inference", inference)):
            if not isinstance(objective, Objective):
                raise TypeError(f"Expected {name} to be an iwae_tf.objectives.Objective. Received: {objective!r}")
            if objective.inference or objective.num_backward < objective.num_particles:
                raise ValueError(f"Expected {name} to differentiate one bound of all samples. Received: {objective!r}")
        if generative.analytic_kl != inference.analytic_kl:
            raise ValueError(
                f"Expected objectives with the same kind of KL. Received: analytic_kl={generative.analytic_kl} in "
                f"generative={generative!r} and {inference.analytic_kl} in inference={inference!r}"
            )
        self.generative, self.inference = generative, inference
        self.num_particles, self.analytic_kl = generative.num_particles, generative.analytic_kl
        self.kl_weight, self.free_bits = generative.kl_weight, generative.free_bits
        self.fewest_backward = max(generative.fewest_backward, inference.fewest_backward)
        self.backward_samples = check_backward_samples(backward_samples, self.num_particles)
        self.filters = generative.filters
        filters = generative.filters or inference.filters
        self.draws_apart = generative.num_particles != inference.num_particles or (filters and generative != inference)
        if self.draws_apart and backward_samples is not None:
            raise ValueError(f"Expected objectives of the same samples with backward_samples. Received: {self!r}")
        self.check_resampling()

    def bound(self, log_weights: tf.Tensor) -> tf.Tensor:
        return self.generative.bound(log_weights)


@keras.saving.register_keras_serializable(package="iwae_tf")
class PIWAE(Combined):
    """L_MK for the generative network and MIWAE(M, K) for the inference network, see `Combined`.

    The generative network gets the tightest bound that the samples allow, the inference network a gradient whose
    signal does not vanish in its noise. In `MIWAE` both networks follow the second bound.

    Args:
      num_groups: M.
      num_samples: K, samples per group.
      gradient: estimator of the inference network's gradient, as in `MIWAE`.
      backward_samples: number of samples to differentiate, as in `Combined`.

    Raises:
      ValueError: if a number is not a positive integer, or `gradient` is neither of the two.

    References:
      Rainforth et al. 2018, arXiv:1802.04537.

    Example:
      ```python
      objective = objectives.PIWAE(num_groups=8, num_samples=5)
      objective.bound(model.log_weights(x, 40)).shape  # [20], L_40
      ```
    """

    def __init__(
        self,
        num_groups: int,
        num_samples: int,
        gradient: Gradient = "reparameterized",
        backward_samples: BackwardSamples = None,
    ) -> None:
        inference = MIWAE(num_groups, num_samples, gradient)
        super().__init__(ImportanceWeighted(inference.num_particles), inference, backward_samples)
        self.num_groups, self.num_samples, self.gradient = inference.num_groups, inference.num_samples, gradient
