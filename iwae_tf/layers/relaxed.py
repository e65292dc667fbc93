"""Layers of relaxed discrete variables, whose samples have a gradient."""

import math
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf.checks import check_count
from iwae_tf.layers.base import StochasticLayer
from iwae_tf.layers.bernoulli import BernoulliProduct
from iwae_tf.layers.categorical import OneHotCategoricalDistribution
from iwae_tf.layers.concrete import (
    RelaxedBernoulliDistribution,
    RelaxedOneHotCategoricalDistribution,
    StraightThrough,
)
from iwae_tf.types import Sizes


def add_temperature(layer: keras.layers.Layer, temperature: float) -> keras.Variable:
    """Adds the temperature of relaxed variables to a layer, a scalar that no gradient changes.

    Raises:
      ValueError: if `temperature` is not a positive number.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"Expected temperature to be a positive number. Received: temperature={temperature!r}")
    initializer = keras.initializers.Constant(temperature)
    return layer.add_weight(shape=(), initializer=initializer, trainable=False, autocast=False, name="temperature")


class _Relaxed(StochasticLayer):
    """Base of the layers of relaxed variables: their logits are linear in the features of the network."""

    parameters = ("logits",)

    def __init__(
        self, event_shape: Sizes, *args: Any, temperature: float = 0.5, straight_through: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(event_shape, *args, **kwargs)
        self.initial_temperature, self.straight_through = float(temperature), bool(straight_through)
        self.temperature = add_temperature(self, self.initial_temperature)

    def get_config(self) -> dict[str, Any]:
        own = {"temperature": self.initial_temperature, "straight_through": self.straight_through}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="iwae_tf")
class RelaxedBernoulli(_Relaxed):
    """Independent relaxed Bernoulli variables in (0, 1), whose samples have a gradient.

    The prior, and conditionals between layers, must be relaxed too: `BernoulliPrior(size, temperature=0.5)`. Bounds are
    then bounds for the relaxed model, not for one of bits.

    With `straight_through` samples are 0 or 1, and their density is the Bernoulli's: prior and conditionals are those
    of bits, and so are bounds. The gradient is that of the relaxed variables, and biased.

    The mean is the probability of 1.

    Args:
      event_shape: as in `StochasticLayer`.
      *args: the next arguments of `StochasticLayer`.
      temperature: initial temperature; `callbacks.Temperature` lowers it. Gradients are noisier at a lower one.
      straight_through: see above.
      **kwargs: the other arguments of `StochasticLayer`.

    Attributes:
      temperature: scalar variable, the temperature.

    Raises:
      ValueError: if `temperature` is not a positive number.

    References:
      Maddison et al. 2017, arXiv:1611.00712; Jang et al. 2017, arXiv:1611.01144; Bengio et al. 2013, arXiv:1308.3432
      (straight through).

    Example:
      ```python
      q = layers.RelaxedBernoulli(2, hidden=(16,))(tf.zeros([5, 8]))
      q.log_prob(q.sample(3)).shape  # [3, 5]
      ```
    """

    def distribution(self, logits: tf.Tensor) -> tfd.Distribution:
        ndims = len(self.event_shape)
        relaxed = tfd.Independent(RelaxedBernoulliDistribution(logits, self.temperature), ndims)
        if not self.straight_through:
            return relaxed
        return StraightThrough(BernoulliProduct(logits, ndims), relaxed, lambda z: tf.cast(z > 0.5, z.dtype))


@keras.saving.register_keras_serializable(package="iwae_tf")
class RelaxedOneHotCategorical(_Relaxed):
    """Independent relaxed categorical variables (Gumbel-softmax), whose samples have a gradient.

    A variable is `num_classes` positive numbers of sum 1. The prior is `CategoricalPrior(..., temperature=0.5)`; for
    this, and for `straight_through`, see `RelaxedBernoulli`. The mean is the probability of each class.

    Args:
      num_variables: number of variables.
      num_classes: number of classes of each.
      *args: the arguments of `StochasticLayer` after `event_shape`, which is `(num_variables, num_classes)`.
      **kwargs: the other arguments of `RelaxedBernoulli`.

    Attributes:
      temperature: scalar variable, the temperature.

    Raises:
      ValueError: if `num_variables` is not a positive integer, `num_classes` not one of 2 or more, or `temperature` not
        a positive number.

    References:
      Jang et al. 2017, arXiv:1611.01144; Maddison et al. 2017, arXiv:1611.00712.

    Example:
      ```python
      q = layers.RelaxedOneHotCategorical(2, num_classes=4, hidden=(16,))(tf.zeros([5, 8]))
      q.sample().shape  # [5, 2, 4]
      ```
    """

    def __init__(self, num_variables: int, num_classes: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(as_one_hot_shape(num_variables, num_classes), *args, **kwargs)

    def distribution(self, logits: tf.Tensor) -> tfd.Distribution:
        relaxed = tfd.Independent(RelaxedOneHotCategoricalDistribution(logits, self.temperature), 1)
        if not self.straight_through:
            return relaxed
        one_hot = tfd.Independent(OneHotCategoricalDistribution(logits=logits, dtype=logits.dtype), 1)
        return StraightThrough(one_hot, relaxed, lambda z: tf.one_hot(tf.argmax(z, -1), z.shape[-1], dtype=z.dtype))

    def get_config(self) -> dict[str, Any]:
        return with_numbers(super().get_config())


def as_one_hot_shape(num_variables: int, num_classes: int) -> tuple[int, int]:
    """Returns the event shape of one-hot variables.

    Raises:
      ValueError: if `num_variables` is not a positive integer, or `num_classes` is not one of 2 or more.
    """
    return check_count(num_variables, "num_variables"), check_count(num_classes, "num_classes", minimum=2)


def with_numbers(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a configuration with the numbers of variables and classes in place of their event shape."""
    num_variables, num_classes = config["event_shape"]
    numbers = {"num_variables": num_variables, "num_classes": num_classes}
    return {**numbers, **{name: value for name, value in config.items() if name != "event_shape"}}
