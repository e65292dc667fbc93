"""Objectives whose gradient for q follows its score alone, so that latent variables may be discrete.

For a bound L of k samples, with z_i held fixed in the right-hand side,

    d E L / d phi = E [ d L / d phi + sum_i (L - c_i) d log q(z_i|x) / d phi ]

for any c_i that does not depend on z_i. The estimators differ in c_i, the control variate, and so in their variance.
`advantages` are the factors L - c_i.
"""

import math
from typing import Literal

import keras
import tensorflow as tf

from iwae_tf.checks import check_backward_samples, check_choice, check_count, check_fraction
from iwae_tf.log_weights import log_mean_exp, log_share_of_others
from iwae_tf.objectives.base import Objective
from iwae_tf.options import BackwardSamples


@keras.saving.register_keras_serializable(package="iwae_tf")
class VIMCO(Objective):
    """L_k with a control variate for each sample: L_k where a mean of the other weights takes the place of its own.

    The gradient is unbiased, and q need not be reparameterisable.

    Args:
      num_samples: k, samples per observation, 2 or more.
      mean: `"geometric"` or `"arithmetic"`, the mean of the other weights.
      backward_samples: number of samples to differentiate; see `ImportanceWeighted`.

    Raises:
      ValueError: if `num_samples` is not an integer of 2 or more, or `mean` is neither of the two.

    References:
      Mnih & Rezende 2016, Variational Inference for Monte Carlo Objectives, arXiv:1602.06725.

    Example:
      ```python
      objective = objectives.VIMCO(10)
      objective.advantages(model.log_weights(x, 10)).shape  # [10, 20]
      ```
    """

    def __init__(
        self,
        num_samples: int,
        mean: Literal["geometric", "arithmetic"] = "geometric",
        backward_samples: BackwardSamples = None,
    ) -> None:
        self.num_samples = self.num_particles = check_count(num_samples, "num_samples", minimum=2)
        self.mean = check_choice(mean, "mean", ("geometric", "arithmetic"))
        self.backward_samples = check_backward_samples(backward_samples, self.num_particles)

    def bound(self, log_weights: tf.Tensor) -> tf.Tensor:
        return log_mean_exp(log_weights)

    def advantages(self, log_weights: tf.Tensor) -> tf.Tensor:
        # All logarithms are relative to sum w, so that the advantages keep their digits.
        others = log_share_of_others(log_weights)
        if self.mean == "arithmetic":
            mean = others - math.log(self.num_samples - 1)
        else:
            log_shares = log_weights - tf.reduce_logsumexp(log_weights, axis=0)
            mean = (tf.reduce_sum(log_shares, axis=0) - log_shares) / (self.num_samples - 1)
        return -tf.reduce_logsumexp(tf.stack([others, mean]), axis=0)


@keras.saving.register_keras_serializable(package="iwae_tf")
class OVIS(Objective):
    """L_k with the control variate of least variance in the limit of many samples.

    With gamma = 0 the control variate is L_k without the weight of the sample, c_i = log (1/k) sum_{j != i} w_j. The
    gradient is unbiased; where weights are even, the coefficient of d log q(z_i|x) is -log (1 - w~_i) - w~_i, about
    w~_i^2 / 2, and the signal-to-noise ratio grows as sqrt(k).

    With gamma = 1 it is best where one sample has nearly all weight. It then depends on z_i and so has a bias: gamma
    times the wake phase of `ReweightedWakeSleep`, sum_i w~_i d log q(z_i|x), is added to the gradient's mean.

    Args:
      num_samples: k, samples per observation, 2 or more.
      gamma: in [0, 1], see above.
      backward_samples: number of samples to differentiate; see `ImportanceWeighted`.

    Raises:
      ValueError: if `num_samples` is not an integer of 2 or more, or `gamma` is not in [0, 1].

    References:
      Liévin, Dittadi, Christensen & Winther 2020, Optimal Variance Control of the Score Function Gradient Estimator for
      Importance Weighted Bounds, arXiv:2010.15037, equation 17.

    Example:
      ```python
      objective = objectives.OVIS(10, gamma=1.0)
      objective.advantages(model.log_weights(x, 10)).shape  # [10, 20]
      ```
    """

    def __init__(self, num_samples: int, gamma: float = 0.0, backward_samples: BackwardSamples = None) -> None:
        self.num_samples = self.num_particles = check_count(num_samples, "num_samples", minimum=2)
        self.gamma = check_fraction(gamma, "gamma")
        self.backward_samples = check_backward_samples(backward_samples, self.num_particles)

    def bound(self, log_weights: tf.Tensor) -> tf.Tensor:
        return log_mean_exp(log_weights)

    def advantages(self, log_weights: tf.Tensor) -> tf.Tensor:
        advantages = -log_share_of_others(log_weights)
        if self.gamma:
            advantages += self.gamma * (tf.nn.softmax(log_weights, axis=0) + math.log1p(-1.0 / self.num_samples))
        return advantages


@keras.saving.register_keras_serializable(package="iwae_tf")
class REINFORCE(Objective):
    """The ELBO by the score of q: the mean of (log w_i - baseline) d log q(z_i|x).

    The gradient is unbiased, and q need not be reparameterisable. For L_k, whose leave-one-out form is `VIMCO` with the
    arithmetic mean, see there.

    Args:
      num_samples: k, samples averaged per observation.
      baseline: what is subtracted from log w_i. `"leave-one-out"` is the mean of the other samples', which takes 2 or
        more. `"learned"` (NVIL) is the mean of the other observations of the batch plus the prediction of a network of
        x, which is trained to predict the rest; see `IWAE(baseline=)`. `None` subtracts nothing.

    Raises:
      ValueError: if `num_samples` is not a positive integer, or is 1 with `"leave-one-out"`; or `baseline` is none of
        the three.

    References:
      Williams 1992; Mnih & Gregor 2014, Neural Variational Inference and Learning in Belief Networks, arXiv:1402.0030
      (learned); Kool, van Hoof & Welling 2019, Buy 4 REINFORCE Samples, Get a Baseline for Free (leave-one-out).

    Example:
      ```python
      objective = objectives.REINFORCE(10)
      objective.advantages(model.log_weights(x, 10)).shape  # [10, 20]
      ```
    """

    def __init__(
        self, num_samples: int, baseline: Literal["leave-one-out", "learned"] | None = "leave-one-out"
    ) -> None:
        minimum = 2 if baseline == "leave-one-out" else 1
        self.num_samples = self.num_particles = check_count(num_samples, "num_samples", minimum=minimum)
        self.baseline = check_choice(baseline, "baseline", ("leave-one-out", "learned", None))
        self.learns_baseline = baseline == "learned"

    def bound(self, log_weights: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(log_weights, axis=0)

    def advantages(self, log_weights: tf.Tensor) -> tf.Tensor:
        if self.baseline == "leave-one-out":  # log w_i less the mean of the others is k / (k - 1) of this
            return (log_weights - tf.reduce_mean(log_weights, axis=0)) / (self.num_samples - 1)
        return log_weights / self.num_samples
