"""Layers of counts: Poisson and negative binomial."""

import math
from collections.abc import Iterator
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.internal import prefer_static as ps

from iwae_tf import random
from iwae_tf.checks import check_choice
from iwae_tf.layers import rules
from iwae_tf.layers.count_densities import negative_binomial_log_prob, poisson_log_prob
from iwae_tf.layers.observation import ObservationLayer
from iwae_tf.layers.rules import Rule, Values
from iwae_tf.types import Sizes


def _draw_counts(distribution: tfd.Distribution, n: int | tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
    """Draws n counts by bisection of the distribution function, the same with and without compilation.

    Args:
      distribution: a `tfd.Distribution` of counts in float64, with a mean, a variance and a distribution function.
      n: number of draws.
      seed: `int32[2]`.

    Returns:
      `[n, *batch]`, float64.
    """
    mean, variance = distribution.mean(), distribution.variance()
    u = random.uniform(ps.concat([[n], ps.shape(mean)], axis=0), seed, tf.float64)
    # By Bernstein's inequality fewer than one in 2^52 draws lie above this; 2^-52 is the spacing of u.
    most = tf.math.ceil(mean + 9.0 * tf.sqrt(variance) + 40.0 * tf.math.divide_no_nan(variance, mean))

    def halve(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        middle = tf.floor((low + high) / 2.0)
        above = distribution.cdf(middle) > u
        return tf.where(above, low, middle), tf.where(above, middle, high)

    # The draw is the smallest count whose distribution function exceeds u; it lies in (low, high].
    bounds = tf.zeros_like(u) - 1.0, tf.zeros_like(u) + most
    return tf.while_loop(lambda low, high: tf.reduce_any(high - low > 1.0), halve, bounds, maximum_iterations=64)[1]


class Poisson(tfd.Poisson):
    """`tfd.Poisson` over log rates, accurate at any rate, which draws the same with and without compilation."""

    def _log_prob(self, value: tf.Tensor) -> tf.Tensor:
        return poisson_log_prob(value, tf.convert_to_tensor(self.log_rate))

    def _sample_n(self, n: int | tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        return tf.cast(_draw_counts(tfd.Poisson(log_rate=tf.cast(self.log_rate, tf.float64)), n, seed), self.dtype)


class NegativeBinomialDistribution(tfd.NegativeBinomial):
    """`tfd.NegativeBinomial` by mean and dispersion, accurate at any mean.

    It draws the same with and without compilation.
    """

    def __init__(self, log_mean: tf.Tensor, log_dispersion: tf.Tensor) -> None:
        self._log_mean, self._log_dispersion = log_mean, log_dispersion
        # The shape parameter is 1 / dispersion, and the odds are mean / shape.
        super().__init__(tf.exp(-log_dispersion), logits=log_mean + log_dispersion)

    def _log_prob(self, value: tf.Tensor) -> tf.Tensor:
        return negative_binomial_log_prob(value, self._log_mean, self._log_dispersion)

    def _sample_n(self, n: int | tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        shape = self._batch_shape_tensor()
        parameters = [tf.broadcast_to(tf.cast(p, tf.float64), shape) for p in (self.total_count, self.logits)]
        return tf.cast(_draw_counts(tfd.NegativeBinomial(*parameters), n, seed), self.dtype)


class _Counts(ObservationLayer):
    """Counts whose log mean is linear in the features of the network."""

    support = (0, math.inf)

    def apply_link(self, mean: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(mean, 1e-3))

    def rules(self, x: Values) -> Iterator[Rule]:
        yield from super().rules(x)
        yield rules.whole(x, f"data for the {type(self).__name__} likelihood")


@keras.saving.register_keras_serializable(package="iwae_tf")
class IndependentPoisson(_Counts):
    """Independent Poisson counts: their log rates are linear in the features of the network.

    Log probabilities are accurate at any rate (see `count_densities`), draws at rates of up to about a million. With
    `mean=` the output bias starts at the log of the mean, or of 0.001 if that is larger. For the arguments see
    `ObservationLayer`. Returns a `tfd.Independent(tfd.Poisson)` of event shape `event_shape`.

    Example:
      ```python
      p = layers.IndependentPoisson(3, hidden=(16,), mean=2.0)(tf.zeros([5, 2]))
      p.log_prob(tf.constant([[0.0, 2.0, 7.0]] * 5))  # [5], nats
      ```
    """

    parameters = ("log_rate",)

    def distribution(self, log_rate: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(Poisson(log_rate=log_rate), len(self.event_shape))


#: Where the dispersion comes from.
DISPERSIONS = ("shared", "exp")


@keras.saving.register_keras_serializable(package="iwae_tf")
class NegativeBinomial(_Counts):
    """Independent negative binomial counts, of variance mean + dispersion mean^2: log means linear in the features.

    They are Poisson counts whose rates are gamma variables, and so spread more than Poisson counts of the same mean.
    With a shared dispersion the gamma functions of the density are computed once per observation, not once per sample.
    Log probabilities are accurate at any mean (see `count_densities`). With `mean=` the output bias starts at the log
    of the mean, or of 0.001 if that is larger. Returns a `tfd.Independent(tfd.NegativeBinomial)` of event shape
    `event_shape`.

    Args:
      event_shape: as in `ObservationLayer`.
      *args: the next arguments of `StochasticLayer`.
      dispersion: `"shared"` learns one dispersion for each entry of the event (Lopez et al.); `"exp"` takes exp of a
        second linear head (Grønbech et al.).
      **kwargs: the other arguments of `ObservationLayer`.

    Raises:
      ValueError: if `dispersion` is neither.

    References:
      Lopez, Regier, Cole, Jordan & Yosef 2018, Deep generative modeling for single-cell transcriptomics, Nature
      Methods 15. Grønbech et al. 2020, scVAE: variational auto-encoders for single-cell gene expression data,
      Bioinformatics 36.

    Example:
      ```python
      p = layers.NegativeBinomial(3, hidden=(16,), mean=2.0)(tf.zeros([5, 2]))
      p.log_prob(tf.constant([[0.0, 2.0, 70.0]] * 5))  # [5], nats
      ```
    """

    def __init__(
        self, event_shape: Sizes, *args: Any, dispersion: Literal["shared", "exp"] = "shared", **kwargs: Any
    ) -> None:
        super().__init__(event_shape, *args, **kwargs)
        self.dispersion = check_choice(dispersion, "dispersion", DISPERSIONS)
        if dispersion == "shared":
            self.parameters, self.shared = ("log_mean",), ("log_dispersion",)
        else:
            self.parameters = ("log_mean", "log_dispersion")

    def distribution(self, log_mean: tf.Tensor, log_dispersion: tf.Tensor) -> tfd.Distribution:
        counts = NegativeBinomialDistribution(tf.convert_to_tensor(log_mean), tf.convert_to_tensor(log_dispersion))
        return tfd.Independent(counts, len(self.event_shape))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dispersion": self.dispersion}
