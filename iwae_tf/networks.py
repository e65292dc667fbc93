"""Networks for the `network=` of a stochastic layer: perceptrons, and convolutions for images.

They are Keras layers like any other. None uses batch normalisation, which would make the z and the likelihood of an
observation depend on the rest of its batch. A network whose `seed` is `None` takes one from its stochastic layer, which
takes its own from the model.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from iwae_tf import compiling, random
from iwae_tf.checks import as_sizes
from iwae_tf.types import Activation, Sizes

__all__ = ["MLP", "Baseline", "ConvDecoder", "ConvEncoder", "ResidualMLP"]


class _Network(keras.layers.Layer):
    """A sequence of layers, made when the shape of the input is known.

    A subclass gives `make_layers`.
    """

    def __init__(self, activation: Activation = "relu", seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)
        self.seed = seed

    def make_layers(self, input_shape: tuple[int | None, ...]) -> Sequence[keras.layers.Layer]:
        """Returns the layers for inputs of shape `(None, ...)`."""
        raise NotImplementedError

    def make_options(self, i: int) -> dict[str, Any]:
        """Returns the arguments that the i-th layer with weights shares with the others."""
        initializer = keras.initializers.GlorotUniform(random.derive(self.seed, i))
        return {"activation": self.activation, "kernel_initializer": initializer, "dtype": self.dtype_policy}

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.chain = self.make_layers(input_shape)
        for layer in self.chain:
            layer.build(input_shape)
            input_shape = layer.compute_output_shape(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        for layer in self.chain:
            inputs = layer(inputs)
        return inputs

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        for layer in self.chain:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def get_config(self) -> dict[str, Any]:
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "activation": activation, "seed": self.seed}


@keras.saving.register_keras_serializable(package="iwae_tf")
class MLP(_Network):
    """A perceptron behind a layer that reads the input, such as `layers.TableFeatures`.

    For a perceptron that reads the input itself, give `hidden=` to the stochastic layer instead.

    Args:
      hidden: widths of the layers.
      activation: activation of the layers.
      first: the layer that reads the input.
      seed: integer seed of the initial weights. `None` takes a seed from the stochastic layer.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if `hidden` holds anything but positive integers.
      TypeError: if `first` is not a Keras layer.

    Example:
      ```python
      features = layers.TableFeatures({"age": "positive", "smoker": "binary"})
      q = layers.IndependentNormal(2, network=networks.MLP((16,), first=features))
      q(tf.constant([[35.0, 1.0], [np.nan, 0.0]])).sample()  # [2, 2]
      ```
    """

    def __init__(
        self,
        hidden: Sizes,
        activation: Activation = "tanh",
        first: keras.layers.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activation, seed, **kwargs)
        self.hidden, self.first = as_sizes(hidden, "hidden"), first
        if not isinstance(first, keras.layers.Layer):
            raise TypeError(f"Expected first= to be a Keras layer. Received: {first!r}")
        self.autocast = False  # the first layer may need the data as they are

    def make_layers(self, input_shape: tuple[int | None, ...]) -> Sequence[keras.layers.Layer]:
        dense = (keras.layers.Dense(width, **self.make_options(i)) for i, width in enumerate(self.hidden))
        return [self.first, keras.layers.Flatten(dtype=self.dtype_policy), *dense]

    def get_config(self) -> dict[str, Any]:
        first = keras.saving.serialize_keras_object(self.first)
        return {**super().get_config(), "hidden": self.hidden, "first": first}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MLP":
        return cls(**{**config, "first": keras.saving.deserialize_keras_object(config["first"])})


@keras.saving.register_keras_serializable(package="iwae_tf")
class Baseline(_Network):
    """A perceptron from x to one number, the baseline of `objectives.REINFORCE(k, baseline="learned")`.

    Args:
      hidden: widths of the hidden layers.
      activation: activation of the hidden layers.
      seed: integer seed of the initial weights. `None` takes a seed from the model.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if `hidden` holds anything but positive integers.

    References:
      Mnih & Gregor 2014, Neural Variational Inference and Learning in Belief Networks, arXiv:1402.0030, section 2.3.

    Example:
      ```python
      networks.Baseline((16,))(tf.zeros([5, 8])).shape  # [5, 1]
      ```
    """

    def __init__(
        self, hidden: Sizes = (100,), activation: Activation = "tanh", seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(activation, seed, **kwargs)
        self.hidden = as_sizes(hidden, "hidden")

    def make_layers(self, input_shape: tuple[int | None, ...]) -> Sequence[keras.layers.Layer]:
        dense = (keras.layers.Dense(width, **self.make_options(i)) for i, width in enumerate(self.hidden))
        last = keras.layers.Dense(1, **{**self.make_options(len(self.hidden)), "activation": None})
        return [keras.layers.Flatten(dtype=self.dtype_policy), *dense, last]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden": self.hidden}


class _ResidualBlock(keras.layers.Layer):
    """h + W_2 f(W_1 f(h) + b_1) + b_2, where W_2 starts at 0."""

    def __init__(
        self,
        activation: Callable[[tf.Tensor], tf.Tensor],
        kernel_initializer: keras.initializers.Initializer,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.activation, self.kernel_initializer = activation, kernel_initializer

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        width, dtype = input_shape[-1], self.dtype_policy
        self.inner = keras.layers.Dense(width, kernel_initializer=self.kernel_initializer, dtype=dtype)
        self.outer = keras.layers.Dense(width, kernel_initializer="zeros", dtype=dtype)
        for layer in (self.inner, self.outer):
            layer.build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs + self.outer(self.activation(self.inner(self.activation(inputs))))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape


@keras.saving.register_keras_serializable(package="iwae_tf")
class ResidualMLP(_Network):
    """A perceptron of `depth` residual blocks, h + W_2 f(W_1 f(h)), between a first linear map and a last f.

    Every block starts as the identity (W_2 = 0), so any depth trains from the default initialisation without
    normalisation.

    Args:
      width: units of every layer.
      depth: number of blocks, of two dense layers each.
      activation: f.
      seed: integer seed of the initial weights. `None` takes a seed from the stochastic layer.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if `width` or `depth` is not a positive integer.

    References:
      He et al. 2016, Identity Mappings in Deep Residual Networks, arXiv:1603.05027; Zhang, Dauphin & Ma 2019, Fixup
      Initialization, arXiv:1901.09321.

    Example:
      ```python
      q = layers.IndependentNormal(2, network=networks.ResidualMLP(16, depth=3))
      q(tf.zeros([5, 8])).sample()  # [5, 2]
      ```
    """

    def __init__(
        self, width: int, depth: int = 2, activation: Activation = "relu", seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(activation, seed, **kwargs)
        (self.width,), (self.depth,) = as_sizes([width], "width"), as_sizes([depth], "depth")

    def make_layers(self, input_shape: tuple[int | None, ...]) -> Sequence[keras.layers.Layer]:
        first = keras.layers.Dense(self.width, **{**self.make_options(0), "activation": None})
        blocks = [_ResidualBlock(**self.make_options(i)) for i in range(1, self.depth + 1)]
        last = keras.layers.Activation(self.activation, dtype=self.dtype_policy)
        return [keras.layers.Flatten(dtype=self.dtype_policy), first, *blocks, last]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width, "depth": self.depth}


class _Convolutions(_Network):
    """Base of the two convolutional networks.

    The default activation is "gelu". With "relu" every transposed convolution of stride 2 shrinks the signal, so the KL
    acts first and q becomes the prior within an epoch (digits: 27.0 nats after 20 epochs, against 24.0).

    References:
      Hendrycks & Gimpel 2016, Gaussian Error Linear Units, arXiv:1606.08415.
    """

    def __init__(
        self, filters: Sizes, kernel_size: int, activation: Activation, seed: int | None, **kwargs: Any
    ) -> None:
        super().__init__(activation, seed, **kwargs)
        self.filters = as_sizes(filters, "filters")
        (self.kernel_size,) = as_sizes([kernel_size], "kernel_size")
        if not self.filters:
            raise ValueError(f"Expected filters for at least one convolution. Received: {filters!r}")
        self.supports_jit = compiling.has_fast_convolutions()

    def make_convolution(self, kind: type[keras.layers.Layer], i: int, filters: int) -> keras.layers.Layer:
        """Returns the i-th layer with weights, a Keras convolution of class `kind`."""
        return kind(filters, self.kernel_size, strides=2, padding="same", **self.make_options(i))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "kernel_size": self.kernel_size}


@keras.saving.register_keras_serializable(package="iwae_tf")
class ConvEncoder(_Convolutions):
    """Convolutions of stride 2, from images `[n, height, width, channels]` to feature maps.

    Args:
      filters: feature maps of each convolution; each halves height and width (rounded up).
      kernel_size: height and width of every kernel.
      activation: activation of every convolution.
      seed: integer seed of the initial weights. `None` takes a seed from the stochastic layer.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if `filters` or `kernel_size` holds anything but positive integers; when built, if the input is not an
        image.

    Example:
      ```python
      q = layers.IndependentNormal(2, network=networks.ConvEncoder((4, 8)))
      q(tf.zeros([5, 8, 8, 1])).sample()  # [5, 2]
      ```
    """

    def __init__(
        self,
        filters: Sizes = (16, 32),
        kernel_size: int = 3,
        activation: Activation = "gelu",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, kernel_size, activation, seed, **kwargs)

    def make_layers(self, input_shape: tuple[int | None, ...]) -> Sequence[keras.layers.Layer]:
        if len(input_shape) != 4:
            raise ValueError(f"Expected images [n, height, width, channels]. Received: shape {tuple(input_shape)}")
        return [self.make_convolution(keras.layers.Conv2D, i, n) for i, n in enumerate(self.filters)]


@keras.saving.register_keras_serializable(package="iwae_tf")
class ConvDecoder(_Convolutions):
    """The mirror of `ConvEncoder`: from latent variables to feature maps of the size of an image.

    A dense layer makes the smallest maps, of `filters[0]` channels. Every transposed convolution of stride 2 doubles
    height and width, and a final crop cuts the maps to the image. A likelihood of images of this size computes its
    parameters from the maps by a 1x1 convolution, see `StochasticLayer`.

    Args:
      event_shape: shape of the image, `(height, width, channels)`; only the likelihood uses the channels.
      filters: feature maps of each transposed convolution.
      kernel_size: height and width of every kernel.
      activation: activation of every layer.
      seed: integer seed of the initial weights. `None` takes a seed from the stochastic layer.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if `event_shape` is not the shape of an image, or `filters` or `kernel_size` holds anything but
        positive integers.

    Example:
      ```python
      likelihood = layers.IndependentBernoulli((8, 8, 1), network=networks.ConvDecoder((8, 8, 1), (8, 4)))
      likelihood(tf.zeros([5, 2])).mean()  # [5, 8, 8, 1]
      ```
    """

    def __init__(
        self,
        event_shape: Sizes,
        filters: Sizes = (32, 16),
        kernel_size: int = 3,
        activation: Activation = "gelu",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, kernel_size, activation, seed, **kwargs)
        self.event_shape = as_sizes(event_shape)
        if len(self.event_shape) != 3:
            raise ValueError(f"Expected event_shape to be (height, width, channels). Received: {event_shape!r}")

    def make_layers(self, input_shape: tuple[int | None, ...]) -> Sequence[keras.layers.Layer]:
        factor, dtype = 2 ** len(self.filters), self.dtype_policy
        smallest = (*(math.ceil(n / factor) for n in self.event_shape[:2]), self.filters[0])
        upsampling = enumerate(self.filters, start=1)
        return [
            keras.layers.Flatten(dtype=dtype),
            keras.layers.Dense(math.prod(smallest), **self.make_options(0)),
            keras.layers.Reshape(smallest, dtype=dtype),
            *(self.make_convolution(keras.layers.Conv2DTranspose, i, n) for i, n in upsampling),
            keras.layers.Cropping2D([(0, -n % factor) for n in self.event_shape[:2]], dtype=dtype),
        ]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "event_shape": self.event_shape}
