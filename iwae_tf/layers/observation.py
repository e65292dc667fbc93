"""What layers that model data have in common."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from iwae_tf.layers import rules
from iwae_tf.layers.base import StochasticLayer


class ObservationLayer(StochasticLayer):
    """Base of the layers that model data: they know which, can start at their mean, and can share parameters.

    A subclass gives `support`, the smallest and the largest value of the data, and `apply_link`. Its `shared` parameters do
    not depend on the input: they are weights of the layer, and have no head.

    Args:
      event_shape: as in `StochasticLayer`.
      *args: the next arguments of `StochasticLayer`.
      mean: training mean of the data, a number or an array of `event_shape`; the bias of the first head starts where
        the distribution has this mean. `None` starts it at 0.
      **kwargs: the other arguments of `StochasticLayer`.

    Raises:
      ValueError: if `mean` has another shape, is not finite or leaves the support.
    """

    support = (-math.inf, math.inf)
    shared: tuple[str, ...] = ()

    def __init__(self, event_shape, *args, mean=None, **kwargs):
        super().__init__(event_shape, *args, **kwargs)
        if mean is not None:
            mean = np.asarray(mean, np.float32)
            if mean.shape not in ((), self.event_shape):
                raise ValueError(
                    f"Expected mean to be a number or of shape {self.event_shape}. Received: shape {mean.shape}"
                )
            rules.check([rules.between(mean, "mean", *self.support)])
        self.mean = mean

    def apply_link(self, mean):
        """Returns the value of the first parameter at which the distribution has this mean, an array of its shape."""
        return mean

    def bias_initializer(self, parameter):
        if self.mean is None or parameter != self.parameters[0]:
            return super().bias_initializer(parameter)
        start = np.broadcast_to(self.apply_link(self.mean), self.event_shape).ravel()
        start = np.repeat(start, math.prod(self.parameter_shape(parameter)) // start.size)
        # A function, not an Initializer: the layer's own config holds the mean.
        return lambda shape, dtype=None: tf.constant(start, dtype, shape)

    def rules(self, x):
        yield rules.between(x, f"data for the {type(self).__name__} likelihood", *self.support)

    def build(self, input_shape):
        super().build(input_shape)
        # In full precision whatever the policy, as all that densities are computed from.
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

    def compute_parameters(self, features, leading):
        shared = map(tf.convert_to_tensor, self.shared_values)
        return {**super().compute_parameters(features, leading), **dict(zip(self.shared, shared, strict=True))}

    def get_config(self):
        return {**super().get_config(), "mean": None if self.mean is None else self.mean.tolist()}


def accepts_range(layer: Any, support: tuple[float, float]) -> bool:
    """Returns whether every number in `support` is a valid observation of a layer."""
    if getattr(type(layer), "rules", None) is not ObservationLayer.rules:  # others may ask for more than the support
        return False
    return layer.support[0] <= support[0] and support[1] <= layer.support[1]
