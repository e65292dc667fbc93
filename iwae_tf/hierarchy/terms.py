"""The parts of a log weight."""

from typing import NamedTuple

import tensorflow as tf

from iwae_tf.log_weights import batch_mean


class OverTime(NamedTuple):
    """What a filter says of its pass over sequences, each `[batch]`.

    Attributes:
      num_steps: number of steps.
      effective_sample_size: its mean over the steps, in [1, k], before the samples are resampled.
      resampled: share of the steps after which the samples were resampled.
    """

    num_steps: tf.Tensor
    effective_sample_size: tf.Tensor
    resampled: tf.Tensor


class Terms(NamedTuple):
    """The parts of log w, each `[k, batch]`, in nats.

    Attributes:
      reconstruction: log p(x|z_1).
      kl_of_layers: log q(z_l|z_{l-1}) - log p(z_l|z_{l+1}), for l = 1, ..., L.
      log_posterior: log q(z|x).
      filtered: log weights of samples that were resampled on the way, whose mean is the filter's estimate of p(x):
        those since the last resampling, plus the log of the mean weights before; `None` without resampling. They have
        the weight of the KL with which they were resampled.
      over_time: statistics of the steps of sequences; `None` for other data.
    """

    reconstruction: tf.Tensor
    kl_of_layers: list[tf.Tensor]
    log_posterior: tf.Tensor
    filtered: tf.Tensor | None = None
    over_time: OverTime | None = None

    @property
    def kl(self) -> tf.Tensor:
        """log q(z|x) - log p(z), whose mean under q is KL(q || p)."""
        return tf.add_n(self.kl_of_layers)

    def log_weights(self, kl_weight: float | tf.Tensor = 1.0, free_bits: float = 0.0) -> tf.Tensor:
        """Returns log w, `[k, batch]`.

        Args:
          kl_weight: multiplies log q - log p inside log w.
          free_bits: nats. A layer whose KL, averaged over samples and batch, is below this number counts as this many
            nats, and gets no gradient from its KL.
        """
        if self.filtered is not None:
            return self.filtered
        kl = self.kl_of_layers
        if free_bits:
            kl = [tf.where(batch_mean(part) > free_bits, part, free_bits) for part in kl]
        return self.reconstruction - kl_weight * tf.add_n(kl)
