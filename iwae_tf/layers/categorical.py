"""The categorical layer: the likelihood of codes."""

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf import random
from iwae_tf.checks import check_count
from iwae_tf.layers import rules
from iwae_tf.layers.base import StochasticLayer
from iwae_tf.layers.rules import Rule, Values
from iwae_tf.types import Sizes


def draw_classes(logits: tf.Tensor, n: int | tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
    """Draws n classes `[n, *batch]` (int32) in proportion to exp(logits), `[*batch, num_classes]`."""
    axes = range(logits.shape.rank)
    return random.categorical(tf.transpose(logits, [axes[-1], *axes[:-1]]), seed, n)


class CategoricalDistribution(tfd.Categorical):
    """`tfd.Categorical` over logits that draws the same with and without compilation, and whose mean is the mode."""

    def _sample_n(self, n: int | tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        return tf.cast(draw_classes(tf.convert_to_tensor(self.logits), n, seed), self.dtype)

    def _mean(self) -> tf.Tensor:
        return self.mode()


class OneHotCategoricalDistribution(tfd.OneHotCategorical):
    """`tfd.OneHotCategorical` over logits that draws the same with and without compilation.

    Its density has a gradient for the value too.
    """

    def _sample_n(self, n: int | tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        logits = tf.convert_to_tensor(self.logits)
        return tf.one_hot(draw_classes(logits, n, seed), logits.shape[-1], dtype=self.dtype)

    def _log_prob(self, value: tf.Tensor) -> tf.Tensor:
        log_probs = tf.nn.log_softmax(tf.convert_to_tensor(self.logits))
        return tf.reduce_sum(tf.cast(value, log_probs.dtype) * log_probs, axis=-1)


@keras.saving.register_keras_serializable(package="iwae_tf")
class Categorical(StochasticLayer):
    """Independent categorical variables: the logits of their classes are linear in the features of the network.

    The data are codes 0, ..., num_classes - 1, integers or floats. Classes have no mean: the distribution gives its
    most probable code as its mean, and so do reconstructions and samples of the model. Returns a
    `tfd.Independent(tfd.Categorical)` of event shape `event_shape`.

    Args:
      event_shape: as in `StochasticLayer`.
      num_classes: number of classes, the same for each entry of the event.
      *args: the next arguments of `StochasticLayer`.
      **kwargs: the other arguments of `StochasticLayer`.

    Raises:
      ValueError: if `num_classes` is not an integer of 2 or more.

    Example:
      ```python
      p = layers.Categorical(3, num_classes=4, hidden=(16,))(tf.zeros([5, 2]))
      p.log_prob(tf.constant([[0.0, 3.0, 1.0]] * 5))  # [5], nats
      ```
    """

    parameters = ("logits",)

    def __init__(self, event_shape: Sizes, num_classes: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(event_shape, *args, **kwargs)
        self.num_classes = check_count(num_classes, "num_classes", minimum=2)

    def parameter_shape(self, parameter: str) -> tuple[int, ...]:
        return (*self.event_shape, self.num_classes)

    def distribution(self, logits: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(CategoricalDistribution(logits=logits, dtype=logits.dtype), len(self.event_shape))

    def rules(self, x: Values) -> Iterator[Rule]:
        yield rules.whole(x, "codes for the Categorical likelihood")
        yield rules.between(x, "codes for the Categorical likelihood", 0, self.num_classes - 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes}
