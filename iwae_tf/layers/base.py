"""The stochastic layer: it takes a tensor and returns a TFP distribution."""

import math
import string
from collections.abc import Callable, Iterator
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf import random
from iwae_tf.checks import as_sizes
from iwae_tf.layers import rules
from iwae_tf.layers.axes import ReshapedBatch, merge_leading_axes
from iwae_tf.layers.rules import Rule, Values
from iwae_tf.types import Activation, Sizes


def emit(
    layer: keras.layers.Layer,
    inputs: tf.Tensor,
    event_ndims: int,
    call: Callable[[tf.Tensor], tfd.Distribution] | None = None,
) -> tfd.Distribution:
    """Calls a layer on `[*leading, *event]` and returns its distribution, whose batch shape is `leading`.

    A `StochasticLayer` merges and restores the leading axes itself. Any other layer is called on `[n, *event]`, as
    Keras layers expect, and the leading axes of its distribution are restored.

    Args:
      layer: a Keras layer that returns a `tfd.Distribution`.
      inputs: `[*leading, *event]`.
      event_ndims: number of axes of `event`.
      call: function to call in place of `layer` itself.

    Raises:
      TypeError: if the layer does not return a distribution.
    """
    call = call or layer
    if isinstance(layer, StochasticLayer):
        return call(inputs)
    flat, leading = merge_leading_axes(inputs, event_ndims)
    distribution = call(flat)
    if not isinstance(distribution, tfd.Distribution):
        raise TypeError(f"Expected {layer.name} to return a tfd.Distribution. Received: {type(distribution).__name__}")
    return distribution if len(leading) == 1 else ReshapedBatch(distribution, leading)


class StochasticLayer(keras.layers.Layer):
    """Base class of the layers that map a tensor to a `tfd.Distribution`.

    The features of a network feed one linear head for each parameter of the distribution. The leading axes of the input
    (`[k, batch]`, say) are merged before the network and restored after it, so one matrix product serves all samples.

    A subclass must give

    - `parameters`: the names of the distribution's parameters;
    - `distribution(**parameters)`: returns the distribution, of batch shape `leading` and event shape `event_shape`,
      given each parameter as `[*leading, *parameter_shape(name)]`.

    A subclass may give

    - `parameter_shape(parameter)`: another shape for a parameter than `event_shape`;
    - `kernel_initializer(parameter, seed)` and `bias_initializer(parameter)`: another start for a head than Glorot's
      uniform kernel and a bias of zeros;
    - `rules(x)`: the rules that observations must satisfy, by default that they are finite numbers;
    - `allows_missing`: `True` if the density leaves out NaN, which `check_data` then lets pass;
    - `get_config()`: its own constructor arguments, added to `super().get_config()`. To save models with the layer,
      register the class by `keras.saving.register_keras_serializable`.

    The distribution needs `log_prob`. A likelihood also needs `mean`, a layer of latent variables `sample`, and
    `stddev` for exports.

    A head is a dense layer, unless the network ends in feature maps of the size of the parameter, such as
    `[n, 28, 28, c]` for `[28, 28, 1]`: then it is a 1x1 convolution with a bias for every pixel.

    A model that builds the layer tells it the event of its input. Called on its own, the layer takes the last axis as
    the event, or the last three axes of an input of rank four or more (images).

    Args:
      event_shape: shape of one draw, an integer or a sequence of integers.
      hidden: widths of the hidden layers of a multi-layer perceptron.
      activation: activation of the hidden layers.
      network: a Keras layer or model from `[n, *event]` to features `[n, ...]`, in place of the perceptron; see
        `iwae_tf.networks`.
      seed: integer seed of the initial weights of the perceptron, the heads and a network whose own `seed` is `None`.
        `None` takes a seed from the model.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if `event_shape` or `hidden` holds anything but positive integers, or both `hidden` and `network` are
        given; when called, if the trailing axes of the input differ from the event that the layer was built for.
      TypeError: if `network` is not a Keras layer.

    Example:
      ```python
      class IndependentLaplace(layers.StochasticLayer):
          parameters = ("loc", "log_scale")

          def distribution(self, loc, log_scale):
              return tfd.Independent(tfd.Laplace(loc, tf.exp(log_scale)), len(self.event_shape))

      IndependentLaplace(2, hidden=(16,))(tf.zeros([3, 5, 8])).mean().shape  # [3, 5, 2]
      ```
    """

    #: The names of the distribution's parameters, in the order of the heads.
    parameters: tuple[str, ...] = ()
    #: Whether the density leaves out NaN, and `check_data` lets it pass.
    allows_missing = False

    def __init__(
        self,
        event_shape: Sizes,
        hidden: Sizes = (),
        activation: Activation = "tanh",
        network: keras.layers.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.event_shape = as_sizes(event_shape)
        self.hidden = as_sizes(hidden, "hidden")
        self.activation = keras.activations.get(activation)
        self.network = network
        self.seed = seed
        if not self.event_shape:
            raise ValueError("Expected an event_shape of at least one axis. Received: ()")
        if network is not None and not isinstance(network, keras.layers.Layer):
            raise TypeError(f"Expected network= to be a Keras layer or model. Received: {type(network).__name__}")
        if network is not None and self.hidden:
            raise ValueError(f"Expected hidden= or network=, not both. Received: hidden={hidden!r}, network={network}")
        if network is not None:
            self.autocast = False  # the network casts its input itself: it may need the data as they are

    def distribution(self, *args: Any, **parameters: Any) -> tfd.Distribution:
        """Returns the distribution with these parameters, each `[*leading, *parameter_shape(name)]`."""
        raise NotImplementedError

    def parameter_shape(self, parameter: str) -> tuple[int, ...]:
        """Returns the shape of a parameter, for one draw."""
        return self.event_shape

    def kernel_initializer(self, parameter: str, seed: int | None) -> str | keras.initializers.Initializer:
        """Returns the initializer for the kernel of a parameter's head."""
        return keras.initializers.GlorotUniform(seed)

    def bias_initializer(self, parameter: str) -> str | keras.initializers.Initializer | Callable[..., tf.Tensor]:
        """Returns the initializer for the bias of a parameter's head."""
        return "zeros"

    def rules(self, x: Values) -> Iterator[Rule]:
        """Yields the rules that observations must satisfy, of `fit`'s data and of every row that an export reads.

        Args:
          x: `[n, *event_shape]`, an array or a tensor.
        """
        yield rules.finite(x)

    def check_data(self, x: np.ndarray) -> None:
        """Raises an error unless the array `x`, `[n, *event_shape]`, holds valid observations of this layer.

        Raises:
          TypeError: if `x` is not numeric.
          ValueError: if `x` breaks one of the `rules`.
        """
        rules.check_numeric(x)
        rules.check(self.rules(x))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        # A symbolic shape is [None, *event]; the shape of a tensor may hold sample axes too.
        symbolic = input_shape[0] is None
        event = input_shape[1:] if symbolic else input_shape[-3 if len(input_shape) > 3 else -1 :]
        self._input_event = cast(tuple[int, ...], tuple(event))
        self.perceptron = [
            keras.layers.Dense(
                width,
                self.activation,
                kernel_initializer=keras.initializers.GlorotUniform(random.derive(self.seed, i)),
                dtype=self.dtype_policy,
            )
            for i, width in enumerate(self.hidden)
        ]
        if self.network is None:
            self.feature_shape = (math.prod(self._input_event),)
        else:
            if getattr(self.network, "seed", 0) is None:
                self.network.seed = random.derive(self.seed, len(self.hidden) + len(self.parameters))
            if not self.network.built:
                self.network.build((None, *self._input_event))
            inputs = keras.KerasTensor((None, *self._input_event))
            self.feature_shape = tuple(self.network.compute_output_spec(inputs).shape[1:])
        for layer in self.perceptron:
            layer.build((None, *self.feature_shape))
            self.feature_shape = (layer.units,)
        self.heads = [self._make_head(name, i) for i, name in enumerate(self.parameters, start=len(self.hidden))]

    def _make_head(self, parameter: str, i: int) -> keras.layers.Layer:
        """Makes and builds the i-th linear layer, from the features to a parameter."""
        features, shape = self.feature_shape, self.parameter_shape(parameter)
        options = {
            "kernel_initializer": self.kernel_initializer(parameter, random.derive(self.seed, i)),
            "bias_initializer": self.bias_initializer(parameter),
            "dtype": self.dtype_policy,
        }
        if len(features) > 1 and features[:-1] == shape[:-1]:
            axes = string.ascii_lowercase[: len(shape) - 1]
            head = keras.layers.EinsumDense(f"N{axes}Y,YZ->N{axes}Z", shape, bias_axes=f"{axes}Z", **options)
            head.build((None, *features))
        else:
            head = keras.layers.Dense(math.prod(shape), **options)
            head.build((None, math.prod(features)))
        return head

    def call(self, inputs: tf.Tensor) -> tfd.Distribution:
        event_ndims = len(self._input_event)
        if tuple(inputs.shape[-event_ndims:]) != self._input_event:
            raise ValueError(
                f"Expected {self.name} to receive [..., {', '.join(map(str, self._input_event))}]. "
                f"Received: shape {tuple(inputs.shape)}"
            )
        inputs, leading = merge_leading_axes(inputs, event_ndims)
        return self.distribution(**self.compute_parameters(self.compute_features(inputs), leading))

    def compute_features(self, inputs: tf.Tensor) -> tf.Tensor:
        """Computes the features that the heads read, `[n, *feature_shape]`, from inputs `[n, *event]`."""
        features = inputs if self.network is None else self.network(inputs)
        if self.perceptron:
            features = tf.reshape(features, [-1, math.prod(self._input_event)])
        for layer in self.perceptron:
            features = layer(features)
        return tf.reshape(features, [-1, *self.feature_shape])

    def compute_parameters(self, features: tf.Tensor, leading: list[int | tf.Tensor]) -> dict[str, tf.Tensor]:
        """Computes the parameters, each `[*leading, *parameter_shape(name)]`, from `features`."""
        flat = tf.reshape(features, [-1, math.prod(self.feature_shape)])
        heads = [head(features if isinstance(head, keras.layers.EinsumDense) else flat) for head in self.heads]
        # Products may be in a low precision; densities are in the precision of the variables.
        heads = [tf.cast(head, self.dtype_policy.variable_dtype) for head in heads]
        return {
            name: tf.reshape(head, [*leading, *self.parameter_shape(name)])
            for name, head in zip(self.parameters, heads, strict=True)
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, event_shape={self.event_shape}, built={self.built}>"

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "event_shape": self.event_shape,
            "hidden": self.hidden,
            "activation": keras.activations.serialize(self.activation),
            "network": keras.saving.serialize_keras_object(self.network),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "StochasticLayer":
        return cls(**{**config, "network": keras.saving.deserialize_keras_object(config["network"])})
