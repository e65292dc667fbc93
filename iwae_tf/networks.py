"""Networks for `network=`: perceptrons, and convolutions for images.

They are Keras layers like any other. None has batch normalisation, which would make the z of an observation depend on
the observations beside it, and a likelihood on its batch. A network whose `seed` is `None` takes one from the
stochastic layer that it is given to, and so in the end from the model's.
"""

import math

import keras
import tensorflow as tf

from iwae_tf import random
from iwae_tf.checks import as_sizes


class _Network(keras.layers.Layer):
    """Layers one after the other, made when the shape of the input is known.

    A subclass lists them in `make`.
    """

    def __init__(self, activation="relu", seed=None, **kwargs):
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)
        self.seed = seed

    def make(self, input_shape):
        """Returns the layers for inputs of this shape, `(None, ...)`."""
        raise NotImplementedError

    def options(self, i):
        """Returns the arguments that all weighted layers have in common, of the i-th of them."""
        initializer = keras.initializers.GlorotUniform(random.derive(self.seed, i))
        return {"activation": self.activation, "kernel_initializer": initializer, "dtype": self.dtype_policy}

    def build(self, input_shape):
        self.chain = self.make(input_shape)
        for layer in self.chain:
            layer.build(input_shape)
            input_shape = layer.compute_output_shape(input_shape)

    def call(self, inputs):
        for layer in self.chain:
            inputs = layer(inputs)
        return inputs

    def compute_output_shape(self, input_shape):
        for layer in self.chain:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def get_config(self):
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "activation": activation, "seed": self.seed}


@keras.saving.register_keras_serializable(package="iwae_tf")
class MLP(_Network):
    """A perceptron that another layer reads the input for, such as `layers.TableFeatures`.

    For one that reads the input itself, `hidden=` of the stochastic layer is the shorter way.

    Args:
      hidden: widths of the layers.
      activation: their activation.
      first: the layer that reads the input.
      seed: integer seed of the initial weights. `None` takes the stochastic layer's.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if `hidden` holds anything but positive integers.
      TypeError: if `first` is no Keras layer.
    """

    def __init__(self, hidden, activation="tanh", first=None, seed=None, **kwargs):
        super().__init__(activation, seed, **kwargs)
        self.hidden, self.first = as_sizes(hidden, "hidden"), first
        if not isinstance(first, keras.layers.Layer):
            raise TypeError(f"Expected first= to be a Keras layer. Received: {first!r}")
        self.autocast = False  # the first layer may need the data as they are

    def make(self, input_shape):
        dense = (keras.layers.Dense(width, **self.options(i)) for i, width in enumerate(self.hidden))
        return [self.first, keras.layers.Flatten(dtype=self.dtype_policy), *dense]

    def get_config(self):
        first = keras.saving.serialize_keras_object(self.first)
        return {**super().get_config(), "hidden": self.hidden, "first": first}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "first": keras.saving.deserialize_keras_object(config["first"])})


class _ResidualBlock(keras.layers.Layer):
    """h + W_2 f(W_1 f(h) + b_1) + b_2, with W_2 = 0 at first."""

    def __init__(self, activation, kernel_initializer, **kwargs):
        super().__init__(**kwargs)
        self.activation, self.kernel_initializer = activation, kernel_initializer

    def build(self, input_shape):
        width, dtype = input_shape[-1], self.dtype_policy
        self.inner = keras.layers.Dense(width, kernel_initializer=self.kernel_initializer, dtype=dtype)
        self.outer = keras.layers.Dense(width, kernel_initializer="zeros", dtype=dtype)
        for layer in (self.inner, self.outer):
            layer.build(input_shape)

    def call(self, inputs):
        return inputs + self.outer(self.activation(self.inner(self.activation(inputs))))

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable(package="iwae_tf")
class ResidualMLP(_Network):
    """A perceptron of `depth` residual blocks, h + W_2 f(W_1 f(h)), between a first linear map and a last f.

    Every block starts as the identity (W_2 = 0), so that any depth trains from the default initialisation without
    normalisation.

    Args:
      width: units of every layer.
      depth: number of blocks, of two dense layers each.
      activation: f.
      seed: integer seed of the initial weights. `None` takes the stochastic layer's.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if `width` or `depth` is no positive integer.

    References:
      He et al. 2016, Identity Mappings in Deep Residual Networks, arXiv:1603.05027; Zhang, Dauphin & Ma 2019, Fixup
      Initialization, arXiv:1901.09321.
    """

    def __init__(self, width, depth=2, activation="relu", seed=None, **kwargs):
        super().__init__(activation, seed, **kwargs)
        (self.width,), (self.depth,) = as_sizes([width], "width"), as_sizes([depth], "depth")

    def make(self, input_shape):
        first = keras.layers.Dense(self.width, **{**self.options(0), "activation": None})
        blocks = [_ResidualBlock(**self.options(i)) for i in range(1, self.depth + 1)]
        last = keras.layers.Activation(self.activation, dtype=self.dtype_policy)
        return [keras.layers.Flatten(dtype=self.dtype_policy), first, *blocks, last]

    def get_config(self):
        return {**super().get_config(), "width": self.width, "depth": self.depth}


class _Convolutions(_Network):
    """What the two convolutional networks have in common.

    The activation is "gelu" by default: with "relu" the signal shrinks in every transposed convolution of stride 2, the
    KL is felt before it, and q becomes the prior within an epoch (digits: 27.0 nats after 20 epochs, against 24.0).

    References:
      Hendrycks & Gimpel 2016, Gaussian Error Linear Units, arXiv:1606.08415.
    """

    def __init__(self, filters, kernel_size, activation, seed, **kwargs):
        super().__init__(activation, seed, **kwargs)
        self.filters = as_sizes(filters, "filters")
        (self.kernel_size,) = as_sizes([kernel_size], "kernel_size")
        if not self.filters:
            raise ValueError(f"Expected filters for at least one convolution. Received: {filters!r}")
        # On a CPU a step took eight times as long with XLA's convolutions as with TensorFlow's own.
        self.supports_jit = bool(tf.config.list_logical_devices("GPU"))

    def convolution(self, kind, i, filters):
        """Makes the i-th weighted layer: a Keras convolution of this kind."""
        return kind(filters, self.kernel_size, strides=2, padding="same", **self.options(i))

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "kernel_size": self.kernel_size}


@keras.saving.register_keras_serializable(package="iwae_tf")
class ConvEncoder(_Convolutions):
    """Convolutions of stride 2, from images `[n, height, width, channels]` to feature maps.

    Args:
      filters: feature maps of each convolution; each halves height and width (rounded up).
      kernel_size: height and width of every kernel.
      activation: that of every convolution.
      seed: integer seed of the initial weights. `None` takes the stochastic layer's.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if `filters` or `kernel_size` holds anything but positive integers; when built, if the input is no
        image.
    """

    def __init__(self, filters=(16, 32), kernel_size=3, activation="gelu", seed=None, **kwargs):
        super().__init__(filters, kernel_size, activation, seed, **kwargs)

    def make(self, input_shape):
        if len(input_shape) != 4:
            raise ValueError(f"Expected images [n, height, width, channels]. Received: shape {tuple(input_shape)}")
        return [self.convolution(keras.layers.Conv2D, i, n) for i, n in enumerate(self.filters)]


@keras.saving.register_keras_serializable(package="iwae_tf")
class ConvDecoder(_Convolutions):
    """The mirror of `ConvEncoder`: from latent variables to feature maps of the size of an image.

    A dense layer makes the smallest maps, of `filters[0]` channels; every transposed convolution of stride 2 doubles
    height and width, and what exceeds the image is cut off. A likelihood of images of this size reads its parameters
    off the maps by a 1x1 convolution, see `StochasticLayer`.

    Args:
      event_shape: shape of the image, `(height, width, channels)`; the channels are the likelihood's affair.
      filters: feature maps of each transposed convolution.
      kernel_size: height and width of every kernel.
      activation: that of every layer.
      seed: integer seed of the initial weights. `None` takes the stochastic layer's.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if `event_shape` is not that of an image, or `filters` or `kernel_size` holds anything but positive
        integers.
    """

    def __init__(self, event_shape, filters=(32, 16), kernel_size=3, activation="gelu", seed=None, **kwargs):
        super().__init__(filters, kernel_size, activation, seed, **kwargs)
        self.event_shape = as_sizes(event_shape)
        if len(self.event_shape) != 3:
            raise ValueError(f"Expected event_shape to be (height, width, channels). Received: {event_shape!r}")

    def make(self, input_shape):
        times, dtype = 2 ** len(self.filters), self.dtype_policy
        smallest = (*(math.ceil(n / times) for n in self.event_shape[:2]), self.filters[0])
        upsampling = enumerate(self.filters, start=1)
        return [
            keras.layers.Flatten(dtype=dtype),
            keras.layers.Dense(math.prod(smallest), **self.options(0)),
            keras.layers.Reshape(smallest, dtype=dtype),
            *(self.convolution(keras.layers.Conv2DTranspose, i, n) for i, n in upsampling),
            keras.layers.Cropping2D([(0, -n % times) for n in self.event_shape[:2]], dtype=dtype),
        ]

    def get_config(self):
        return {**super().get_config(), "event_shape": self.event_shape}
