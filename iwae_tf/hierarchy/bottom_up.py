"""The inference network: the order in which z_1, ..., z_L are drawn, and what each of them depends on."""

from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf.data.observation_model import ObservationModel
from iwae_tf.layers.base import StochasticLayer, emit


class BottomUp:
    """q(z|x) = q(z_1|x) q(z_2|z_1) ... q(z_L|z_{L-1}): each layer reads a draw of the layer below.

    Args:
      model: the model whose encoder this is.
    """

    def __init__(self, model: ObservationModel) -> None:
        self.model = model

    @property
    def order(self) -> Iterable[int]:
        """The layers in the order in which they are drawn, 0 for z_1."""
        return range(len(self.model.encoder))

    def build(self, event_shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Makes the weights for data of this shape, and returns the event shapes of z_1, ..., z_L."""
        shapes = [event_shape]
        for layer in self.model.encoder:
            shapes.append(build_layer(layer, shapes[-1]))
        return shapes[1:]

    def posterior(self, x: tf.Tensor, stop_weight_gradients: bool = False) -> Any:
        """Returns the part of q that depends on x alone, which `conditional` reads: q(z_1|x)."""
        return call_layer(self.model.encoder[0], x, len(self.model.event_shape), stop_weight_gradients)

    def conditional(
        self, i: int, posterior: Any, z: list[tf.Tensor], stop_weight_gradients: bool = False
    ) -> tfd.Distribution:
        """Returns the distribution from which layer i is drawn.

        Args:
          i: number of the layer, 0 for z_1.
          posterior: the result of `posterior`.
          z: list of z_1, ..., z_L; the method reads only those that come earlier in `order`.
          stop_weight_gradients: whether the layer's own weights get no gradient.
        """
        if i == 0:
            return posterior
        event_ndims = len(self.model.latent_shapes[i - 1])
        return call_layer(self.model.encoder[i], z[i - 1], event_ndims, stop_weight_gradients)


def build_layer(layer: keras.layers.Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Builds a layer for inputs `[..., *shape]` unless it is built, and returns the event shape of its distribution."""
    if not isinstance(layer, StochasticLayer):
        return tuple(emit(layer, tf.zeros([1, *shape]), len(shape)).event_shape)
    if not layer.built:
        layer.build((None, *shape))
    return layer.event_shape


def call_layer(
    layer: keras.layers.Layer, inputs: tf.Tensor, event_ndims: int, stop_weight_gradients: bool = False
) -> tfd.Distribution:
    """Calls a layer as `layers.base.emit` does, on request without gradients for its own weights."""

    def call_with_stopped_weights(inputs: tf.Tensor) -> tfd.Distribution:
        weights = [[tf.stop_gradient(v) for v in layer.trainable_variables], layer.non_trainable_variables]
        return layer.stateless_call(*weights, inputs)[0]

    return emit(layer, inputs, event_ndims, call=call_with_stopped_weights if stop_weight_gradients else None)
