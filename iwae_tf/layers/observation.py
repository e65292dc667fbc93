"""The base of the layers that model data."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf.layers import rules
from iwae_tf.layers.base import StochasticLayer
from iwae_tf.layers.rules import Rule, Values
from iwae_tf.types import Sizes


class Observed(NamedTuple):
    """Data, and what a likelihood computes from them alone, whatever z is.

    Attributes:
      x: `[*leading, *event_shape]`.
      features: what `observe(x)` of the layer returned.
    """

    x: tf.Tensor
    features: Any


def log_prob_of(distribution: tfd.Distribution, x: tf.Tensor | Observed) -> tf.Tensor:
    """Computes the log density of data, `[*batch]`."""
    return distribution.log_prob_given(*x) if isinstance(x, Observed) else distribution.log_prob(x)


class ObservationLayer(StochasticLayer):
    """Base class of the layers that model data: they check its range, and can start at its mean.

    A subclass must give what `StochasticLayer` asks for. A subclass may also give

    - `support`: the smallest and the largest value of the data, by default any finite number;
    - `apply_link(mean)`: the value of the first parameter at which the distribution has this mean, by default the mean
      itself;
    - `observe(x)`: what the density of x takes from x alone, which is costly. It is computed once for any number of z,
      and the distribution has a method `log_prob_given(x, observed)`;
    - `shows_draws`: `True` if the mean takes many draws, so that pictures and exports show a draw in its place;
    - `shared`: the names of parameters that do not depend on the input. They are weights of the layer without a head,
      and `distribution` receives them as `parameter_shape(name)`, without leading axes.

    Args:
      event_shape: as in `StochasticLayer`.
      *args: the next arguments of `StochasticLayer`.
      mean: training mean of the data, a number or an array of `event_shape`. The bias of the first head starts where
        the distribution has this mean; with `None` it starts at 0.
      **kwargs: the other arguments of `StochasticLayer`.

    Raises:
      ValueError: if `mean` has the wrong shape, is not finite or lies outside the support.

    Example:
      ```python
      class IndependentExponential(layers.ObservationLayer):
          parameters = ("log_rate",)
          support = (0, np.inf)

          def apply_link(self, mean):
              return -np.log(mean)

          def distribution(self, log_rate):
              return tfd.Independent(tfd.Exponential(tf.exp(log_rate)), len(self.event_shape))

      IndependentExponential(3, mean=2.0)(tf.zeros([5, 8])).mean()  # 2 everywhere
      ```
    """

    #: The smallest and the largest value of the data.
    support: tuple[float, float] = (-math.inf, math.inf)
    #: Whether a draw stands for the mean.
    shows_draws = False
    #: The names of the parameters that do not depend on the input.
    shared: tuple[str, ...] = ()

    def __init__(self, event_shape: Sizes, *args: Any, mean: npt.ArrayLike | None = None, **kwargs: Any) -> None:
        super().__init__(event_shape, *args, **kwargs)
        self.mean: np.ndarray | None = None
        if mean is not None:
            self.mean = np.asarray(mean, np.float32)
            if self.mean.shape not in ((), self.event_shape):
                raise ValueError(
                    f"Expected mean to be a number or of shape {self.event_shape}. Received: shape {self.mean.shape}"
                )
            rules.check([rules.between(self.mean, "mean", *self.support)])

    def apply_link(self, mean: np.ndarray) -> np.ndarray:
        """Returns the value of the first parameter at which the distribution has this mean, in the mean's shape."""
        return mean

    def bias_initializer(self, parameter: str) -> str | keras.initializers.Initializer | Callable[..., tf.Tensor]:
        if self.mean is None or parameter != self.parameters[0]:
            return super().bias_initializer(parameter)
        start = np.broadcast_to(self.apply_link(self.mean), self.event_shape).ravel()
        start = np.repeat(start, math.prod(self.parameter_shape(parameter)) // start.size)
        # A function, not an Initializer: the layer's own config holds the mean.
        return lambda shape, dtype=None: tf.constant(start, dtype, shape)

    def rules(self, x: Values) -> Iterator[Rule]:
        yield rules.between(x, f"data for the {type(self).__name__} likelihood", *self.support)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        # In full precision under any policy, like everything that densities are computed from.
        self.shared_values = [
            self.add_weight(
                shape=self.parameter_shape(name),
                initializer=self.bias_initializer(name),
                dtype=self.dtype_policy.variable_dtype,
                autocast=False,
                name=name,
            )
            for name in self.shared
        ]

    def compute_parameters(self, features: tf.Tensor, leading: list[int | tf.Tensor]) -> dict[str, tf.Tensor]:
        shared = map(tf.convert_to_tensor, self.shared_values)
        return {**super().compute_parameters(features, leading), **dict(zip(self.shared, shared, strict=True))}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": None if self.mean is None else self.mean.tolist()}


def accepts_range(layer: keras.layers.Layer, support: tuple[float, float]) -> bool:
    """Returns whether every number in `support` is a valid observation of a layer."""
    if getattr(type(layer), "rules", None) is not ObservationLayer.rules:  # other rules may ask for more
        return False
    return layer.support[0] <= support[0] and support[1] <= layer.support[1]
