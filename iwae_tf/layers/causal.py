"""A layer of causal convolutions: the features of every pixel depend on no other pixels than those before it.

The order is that of reading: row by row from the top, from left to right. A layer works on windows of rows and columns,
so that the same code scores whole images and draws them pixel by pixel.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from iwae_tf import random
from iwae_tf.layers.axes import merge_leading_axes

#: A vertical and a horizontal stack, before their gates: `[..., height, width, 2 filters]` each.
Stacks: TypeAlias = Sequence[tf.Tensor]


def multiply(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Multiplies the channels of every pixel by a matrix."""
    return tf.tensordot(inputs, tf.cast(kernel, inputs.dtype), 1)


def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Convolves `[..., height, width, channels]` without padding."""
    flat, leading = merge_leading_axes(inputs, 3)
    outputs = tf.nn.conv2d(flat, tf.cast(kernel, inputs.dtype), 1, "VALID")
    return tf.reshape(outputs, [*leading, *outputs.shape[1:]]) if len(leading) != 1 else outputs


def gate(stack: tf.Tensor) -> tf.Tensor:
    """Returns tanh(a) sigmoid(b), where a and b are the halves of the channels."""
    a, b = tf.split(stack, 2, axis=-1)
    return tf.tanh(a) * tf.sigmoid(b)


class CausalLayer(keras.layers.Layer):
    """A gated layer of two stacks, which together see all pixels before a pixel.

    The vertical stack sees the rows above. The horizontal stack sees the pixels to the left in the same row, and the
    vertical stack at its own pixel. In the layers after the first one, which reads the image, both also see themselves
    at their own pixel.

    Args:
      filters: channels of each stack.
      kernel_size: height and width of the convolutions, of which the half before the pixel is used.
      first: whether the layer reads the image.
      num_maps: channels of the maps that both stacks read; 0 for none.
      seed: integer seed of the initial weights.
      **kwargs: as for any `keras.layers.Layer`.

    References:
      van den Oord et al. 2016, Conditional Image Generation with PixelCNN Decoders, arXiv:1606.05328.
    """

    def __init__(
        self, filters: int, kernel_size: int, first: bool, num_maps: int, seed: int | None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.first = filters, kernel_size, first
        self.num_maps, self.seed = num_maps, seed
        self.reach = kernel_size // 2  # rows above a pixel, or columns to its left
        self.size = self.reach + (not first)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels, gated = input_shape[-1], 2 * self.filters

        def add_kernel(name: str, i: int, *shape: Any) -> keras.Variable:
            initializer = keras.initializers.GlorotUniform(random.derive(self.seed, i))
            return self.add_weight(shape=shape, initializer=initializer, name=name)

        self.vertical_kernel = add_kernel("vertical", 0, self.size, self.kernel_size, channels, gated)
        self.horizontal_kernel = add_kernel("horizontal", 1, 1, self.size, channels, gated)
        self.link = add_kernel("link", 2, gated, gated)
        self.outlet = add_kernel("outlet", 3, self.filters, self.filters)
        if self.num_maps:
            self.maps_kernel = add_kernel("maps", 4, self.num_maps, 2 * gated)
        self.biases = [self.add_weight(shape=(gated,), initializer="zeros", name=f"bias_{i}") for i in range(2)]

    def read_maps(self, maps: tf.Tensor) -> Stacks:
        """Returns what maps `[..., num_maps]` add to the two stacks: nothing if the layer reads none."""
        return tf.split(multiply(maps, self.maps_kernel), 2, axis=-1) if self.num_maps else ()

    def vertical(self, rows: tf.Tensor) -> tf.Tensor:
        """Computes the vertical stack of `[..., height + size - 1, width, channels]`, a window of rows."""
        paddings = [[0, 0]] * (rows.shape.rank - 2) + [[self.reach, self.reach], [0, 0]]
        return convolve(tf.pad(rows, paddings), self.vertical_kernel) + tf.cast(self.biases[0], rows.dtype)

    def horizontal(self, columns: tf.Tensor, vertical: tf.Tensor) -> tf.Tensor:
        """Computes the horizontal stack of `[..., height, width + size - 1, channels]`, a window of columns."""
        own = convolve(columns, self.horizontal_kernel) + tf.cast(self.biases[1], columns.dtype)
        return own + multiply(vertical, self.link)

    def stacks(self, vertical_input: tf.Tensor, horizontal_input: tf.Tensor) -> Stacks:
        """Computes the stacks of whole images."""
        vertical = self.vertical(self._make_window(vertical_input, -3))
        return vertical, self.horizontal(self._make_window(horizontal_input, -2), vertical)

    def leave(self, horizontal: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
        """Computes the layer's output from its horizontal stack; the input is added except in the first layer."""
        outputs = multiply(gate(horizontal), self.outlet)
        return outputs if self.first else inputs + outputs

    def _make_window(self, inputs: tf.Tensor, axis: int) -> tf.Tensor:
        """Puts zeros before the rows (axis -3) or columns (axis -2) of an image, so that every pixel has a window."""
        paddings = [[0, 0]] * inputs.shape.rank
        paddings[axis] = [self.reach, 0]
        if self.first:  # it shall see nothing of the last row or column
            inputs = tf.split(inputs, [inputs.shape[axis] - 1, 1], axis)[0]
        return tf.pad(inputs, paddings)
