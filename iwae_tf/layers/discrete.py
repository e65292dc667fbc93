"""Discrete latent variables: one-hot posteriors, and the priors of bits and classes.

`IndependentBernoulli` is the posterior of bits.
"""

from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf.checks import as_sizes
from iwae_tf.layers.base import StochasticLayer
from iwae_tf.layers.bernoulli import BernoulliProduct
from iwae_tf.layers.categorical import OneHotCategoricalDistribution
from iwae_tf.layers.concrete import RelaxedBernoulliDistribution, RelaxedOneHotCategoricalDistribution
from iwae_tf.layers.relaxed import add_temperature, as_one_hot_shape, with_numbers
from iwae_tf.types import Sizes


def is_discrete(distribution: tfd.Distribution) -> bool:
    """Returns whether a distribution is over discrete values, whatever arranges its axes."""
    while hasattr(distribution, "distribution"):
        distribution = distribution.distribution
    return isinstance(distribution, (tfd.Bernoulli, tfd.Categorical, tfd.OneHotCategorical, tfd.Poisson))


@keras.saving.register_keras_serializable(package="iwae_tf")
class OneHotCategorical(StochasticLayer):
    """Independent categorical variables as one-hot vectors: their logits are linear in the features of the network.

    The mean is the probability of each class.

    Not to be confused with `Categorical`, the likelihood of codes.

    Args:
      num_variables: number of variables.
      num_classes: number of classes of each.
      *args: the arguments of `StochasticLayer` after `event_shape`, which is `(num_variables, num_classes)`.
      **kwargs: the other arguments of `StochasticLayer`.

    Raises:
      ValueError: if `num_variables` is not a positive integer, or `num_classes` not one of 2 or more.

    Example:
      ```python
      q = layers.OneHotCategorical(2, num_classes=4, hidden=(16,))(tf.zeros([5, 8]))
      q.log_prob(q.sample(3)).shape  # [3, 5]
      ```
    """

    parameters = ("logits",)

    def __init__(self, num_variables: int, num_classes: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(as_one_hot_shape(num_variables, num_classes), *args, **kwargs)

    def distribution(self, logits: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(OneHotCategoricalDistribution(logits=logits, dtype=logits.dtype), 1)

    def get_config(self) -> dict[str, Any]:
        return with_numbers(super().get_config())


class _DiscretePrior(keras.layers.Layer):
    """Base of the priors of discrete variables: their logits start at 0, and are learned or stay there.

    With a temperature the variables are relaxed.
    """

    def __init__(
        self, event_shape: Sizes, learned: bool = True, temperature: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.event_shape, self.learned = as_sizes(event_shape), bool(learned)
        self.initial_temperature = temperature
        self.temperature = None if temperature is None else add_temperature(self, float(temperature))

    def make_distribution(self, logits: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution with these logits, `event_shape`."""
        raise NotImplementedError

    def build(self, input_shape: tuple[int | None, ...] | None = None) -> None:
        if self.learned:
            self.logits = self.add_weight(shape=self.event_shape, initializer="zeros", autocast=False, name="logits")

    def call(self, inputs: None = None) -> tfd.Distribution:
        dtype = self.dtype_policy.variable_dtype
        return self.make_distribution(
            tf.convert_to_tensor(self.logits) if self.learned else tf.zeros(self.event_shape, dtype)
        )

    def get_config(self) -> dict[str, Any]:
        own = {"event_shape": self.event_shape, "learned": self.learned, "temperature": self.initial_temperature}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="iwae_tf")
class BernoulliPrior(_DiscretePrior):
    """The prior of independent bits, which start as fair coins.

    Args:
      event_shape: shape of one latent variable, an integer or a sequence of integers.
      learned: whether the probabilities are learned; otherwise they stay 1/2.
      temperature: temperature of the relaxed variables of a model with `RelaxedBernoulli`; `None` for bits.
      **kwargs: as for any `keras.layers.Layer`.

    Attributes:
      temperature: scalar variable, the temperature, or `None`.

    Raises:
      ValueError: if `event_shape` holds anything but positive integers, or `temperature` is not a positive number.

    Example:
      ```python
      layers.BernoulliPrior(3)().log_prob(tf.ones([5, 3]))  # [5], each 3 log 1/2
      ```
    """

    def make_distribution(self, logits: tf.Tensor) -> tfd.Distribution:
        if self.temperature is None:
            return BernoulliProduct(logits, len(self.event_shape))
        return tfd.Independent(RelaxedBernoulliDistribution(logits, self.temperature), len(self.event_shape))


@keras.saving.register_keras_serializable(package="iwae_tf")
class CategoricalPrior(_DiscretePrior):
    """The prior of independent one-hot categorical variables, whose classes start alike.

    Args:
      num_variables: number of variables.
      num_classes: number of classes of each.
      **kwargs: `learned` and `temperature` as in `BernoulliPrior`, and the arguments of any `keras.layers.Layer`.

    Attributes:
      temperature: scalar variable, the temperature, or `None`.

    Raises:
      ValueError: if `num_variables` is not a positive integer, `num_classes` not one of 2 or more, or `temperature` not
        a positive number.

    Example:
      ```python
      layers.CategoricalPrior(3, num_classes=4)().sample(5)  # [5, 3, 4]
      ```
    """

    def __init__(self, num_variables: int, num_classes: int, **kwargs: Any) -> None:
        super().__init__(as_one_hot_shape(num_variables, num_classes), **kwargs)

    def make_distribution(self, logits: tf.Tensor) -> tfd.Distribution:
        if self.temperature is None:
            return tfd.Independent(OneHotCategoricalDistribution(logits=logits, dtype=logits.dtype), 1)
        return tfd.Independent(RelaxedOneHotCategoricalDistribution(logits, self.temperature), 1)

    def get_config(self) -> dict[str, Any]:
        return with_numbers(super().get_config())
