"""The discretised logistic layer: the likelihood of 8-bit pixels."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.internal import prefer_static as ps

from iwae_tf import random
from iwae_tf.checks import check_count
from iwae_tf.layers import rules
from iwae_tf.layers.categorical import draw_classes
from iwae_tf.layers.observation import ObservationLayer
from iwae_tf.layers.rules import Rule, Values
from iwae_tf.types import Sizes

#: The log scale at the start: a standard deviation of a quarter of the range.
INITIAL_LOG_SCALE = -2.0


class DiscretizedLogisticDistribution(tfd.Distribution):
    """A logistic variable, or a mixture, rounded to the nearest of `num_levels` equidistant numbers in [0, 1].

    Args:
      loc: `[*batch]`, or for a mixture `[*batch, num_components]`.
      log_scale: log scale, in the shape of `loc`.
      logits: logits of the components, in the shape of `loc`; `None` for a single variable.
      num_levels: number of values.
    """

    def __init__(
        self, loc: tf.Tensor, log_scale: tf.Tensor, logits: tf.Tensor | None = None, num_levels: int = 256
    ) -> None:
        parameters = dict(locals())
        self.loc, self.log_scale = tf.convert_to_tensor(loc), tf.convert_to_tensor(log_scale)
        self.logits = None if logits is None else tf.convert_to_tensor(logits)
        self.spacing = 1.0 / (num_levels - 1)
        super().__init__(
            dtype=self.loc.dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name="DiscretizedLogistic",
        )

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant([], tf.int32)

    def _batch_shape(self) -> tf.TensorShape:
        return self.loc.shape if self.logits is None else self.loc.shape[:-1]

    def _batch_shape_tensor(self) -> tf.Tensor:
        return ps.shape(self.loc) if self.logits is None else ps.shape(self.loc)[:-1]

    def _log_prob(self, value: tf.Tensor) -> tf.Tensor:
        value = tf.cast(value, self.dtype)
        if self.logits is None:
            return self._log_prob_of_components(value)
        joint = self.logits + self._log_prob_of_components(value[..., tf.newaxis])
        return tf.reduce_logsumexp(joint, axis=-1) - tf.reduce_logsumexp(self.logits, axis=-1)

    def _log_prob_of_components(self, x: tf.Tensor) -> tf.Tensor:
        """Computes log(sigmoid(b) - sigmoid(a)), where (a, b) is the bin of x in units of the scale from loc.

        The difference equals sigmoid(b) sigmoid(-a) (1 - exp(a - b)), in which nothing cancels in the tails: three
        exponentials, one logarithm. The bins of 0 and 1 reach to infinity.
        """
        precision = tf.exp(-self.log_scale)
        first, last = x < self.spacing / 2, x > 1.0 - self.spacing / 2
        infinity = tf.constant(np.inf, self.dtype)
        a = tf.where(first, -infinity, (x - self.spacing / 2 - self.loc) * precision)
        b = tf.where(last, infinity, (x + self.spacing / 2 - self.loc) * precision)
        inside = tf.where(first | last, tf.ones([], self.dtype), -tf.math.expm1(-self.spacing * precision))
        product = inside / ((1.0 + tf.exp(-tf.abs(a))) * (1.0 + tf.exp(-tf.abs(b))))
        return tf.math.log(product) - tf.nn.relu(a) - tf.nn.relu(-b)

    def _sample_n(self, n: int | tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        loc, scale = self.loc, tf.exp(self.log_scale)
        if self.logits is not None:
            classes = draw_classes(self.logits, n, random.fold_in(seed, 0))
            mask = tf.one_hot(classes, self.logits.shape[-1], dtype=self.dtype)
            loc, scale = tf.reduce_sum(mask * loc, axis=-1), tf.reduce_sum(mask * scale, axis=-1)
        shape = ps.concat([[n], self._batch_shape_tensor()], axis=0)
        u = random.uniform(shape, random.fold_in(seed, 1), self.dtype)
        x = loc + scale * (tf.math.log(u) - tf.math.log1p(-u))
        return tf.round(tf.clip_by_value(x, 0.0, 1.0) / self.spacing) * self.spacing

    def _mean(self) -> tf.Tensor:
        # The integral over t in [0, 1] of P(x > t), which for rounded x is a sum over the levels. The error is below
        # half a level, and much smaller unless the scale is smaller than a level.
        scale = tf.exp(self.log_scale)
        mean = scale * (tf.nn.softplus(self.loc / scale) - tf.nn.softplus((self.loc - 1.0) / scale))
        return mean if self.logits is None else tf.reduce_sum(tf.nn.softmax(self.logits) * mean, axis=-1)


@keras.saving.register_keras_serializable(package="iwae_tf")
class DiscretizedLogistic(ObservationLayer):
    """Independent logistic variables rounded to the levels of a pixel: loc and log scale are linear in the features.

    The data are the numbers k / 255 for k = 0, ..., 255; `preprocessing=layers.Grey()` computes them from uint8
    images, and the encoder reads the same numbers. The probability of a level is the probability of the
    bin around it; the first and the last bin include the tails. So log p(x|z) is a probability of discrete data, and
    -log2 p / number of pixels is the bits per dimension.

    With `mean=` the output bias starts where the distribution has this mean, clipped to [.001, .999]. Returns a
    `tfd.Independent` of event shape `event_shape`, whose mean is exact to half a level.

    Args:
      event_shape: as in `ObservationLayer`.
      *args: the next arguments of `StochasticLayer`.
      num_components: components of a mixture for each pixel, whose logits are linear in the features too.
      num_levels: number of levels; the data are multiples of 1 / (num_levels - 1).
      **kwargs: the other arguments of `ObservationLayer`.

    Raises:
      ValueError: if `num_components` is not a positive integer, or `num_levels` not an integer of 2 or more.

    References:
      Kingma et al. 2016, Improving variational inference with inverse autoregressive flow, arXiv:1606.04934.
      Salimans, Karpathy, Chen & Kingma 2017, PixelCNN++, arXiv:1701.05517 (the mixture).

    Example:
      ```python
      p = layers.DiscretizedLogistic((8, 8, 1), hidden=(16,), num_components=2)(tf.zeros([5, 2]))
      p.log_prob(tf.cast(x[:5], tf.float32) / 255)  # [5], nats
      ```
    """

    support = (0, 1)

    def __init__(
        self, event_shape: Sizes, *args: Any, num_components: int = 1, num_levels: int = 256, **kwargs: Any
    ) -> None:
        super().__init__(event_shape, *args, **kwargs)
        self.num_components = check_count(num_components, "num_components")
        self.num_levels = check_count(num_levels, "num_levels", minimum=2)
        self.parameters = ("loc", "log_scale") if self.num_components == 1 else ("loc", "log_scale", "logits")

    def parameter_shape(self, parameter: str) -> tuple[int, ...]:
        return self.event_shape if self.num_components == 1 else (*self.event_shape, self.num_components)

    def apply_link(self, mean: np.ndarray) -> np.ndarray:
        # Solves the formula of the distribution's mean for loc, at the initial scale.
        mean, scale = np.clip(mean, 0.001, 0.999), math.exp(INITIAL_LOG_SCALE)
        return scale * np.log(np.expm1(mean / scale) / -np.expm1((mean - 1.0) / scale))

    def bias_initializer(self, parameter: str) -> str | keras.initializers.Initializer | Callable[..., tf.Tensor]:
        if parameter == "log_scale":
            return keras.initializers.Constant(INITIAL_LOG_SCALE)
        return super().bias_initializer(parameter)

    def distribution(self, **parameters: tf.Tensor) -> tfd.Distribution:
        logistic = DiscretizedLogisticDistribution(**parameters, num_levels=self.num_levels)
        return tfd.Independent(logistic, len(self.event_shape))

    def rules(self, x: Values) -> Iterator[Rule]:
        yield from super().rules(x)
        x = rules.as_comparable(x)
        rest = x * float(self.num_levels - 1) % 1
        expected = f"data for the DiscretizedLogistic likelihood to be multiples of 1/{self.num_levels - 1}"
        yield Rule(expected, x, (rest <= 0.01) | (rest >= 0.99))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_components": self.num_components, "num_levels": self.num_levels}
