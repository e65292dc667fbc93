"""Filtering variational objectives: the bound of a particle filter."""

from typing import Literal

import keras
import tensorflow as tf

from iwae_tf.checks import check_choice, check_count, check_fraction
from iwae_tf.log_weights import log_mean_exp
from iwae_tf.objectives.base import Objective

#: How the ancestors of the particles are drawn, and when.
SCHEMES = ("multinomial", "systematic", "stratified")
OCCASIONS = ("ess", "always", "never")


@keras.saving.register_keras_serializable(package="iwae_tf")
class Filtering(Objective):
    """FIVO: the log of a particle filter's estimate of p(x), for models of sequences.

    The particles are weighted step by step, and resampled on the way. The estimate of p(x) is unbiased, so that its log
    is a lower bound of log p(x) in the mean. The bound is differentiated as if the ancestors were fixed, as in the
    papers: the gradient lacks the part that comes from their choice. With one particle this is the ELBO; without
    resampling it is `ImportanceWeighted`.

    Args:
      num_samples: number of particles.
      resampling: how ancestors are drawn: `"multinomial"`, as in the papers; `"systematic"` and `"stratified"` have
        less variance.
      when: `"ess"` resamples a sequence where its effective sample size is at most `threshold` times `num_samples`;
        `"always"` resamples after every step but the last, as in AESMC; `"never"` does not.
      threshold: see `when`; in [0, 1].

    Raises:
      ValueError: if `num_samples` is not a positive integer, a name is unknown, or `threshold` is outside [0, 1].

    References:
      Maddison et al. 2017, Filtering Variational Objectives, arXiv:1705.09279; Le et al. 2018, Auto-Encoding Sequential
      Monte Carlo, arXiv:1705.10306; Naesseth et al. 2018, Variational Sequential Monte Carlo, arXiv:1705.11140.

    Example:
      ```python
      objectives.Filtering(4, resampling="systematic")  # a filter of four particles
      ```
    """

    def __init__(
        self,
        num_samples: int,
        resampling: Literal["multinomial", "systematic", "stratified"] = "multinomial",
        when: Literal["ess", "always", "never"] = "ess",
        threshold: float = 0.5,
    ) -> None:
        self.num_samples = self.num_particles = check_count(num_samples, "num_samples")
        self.resampling = check_choice(resampling, "resampling", SCHEMES)
        self.when = check_choice(when, "when", OCCASIONS)
        self.threshold = check_fraction(threshold, "threshold")
        self.filters = when != "never" and num_samples > 1

    def bound(self, log_weights: tf.Tensor) -> tf.Tensor:
        return log_mean_exp(log_weights)
