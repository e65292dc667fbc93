"""A network of causal layers, with outputs for each pixel; it scores whole images, and draws them pixel by pixel."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import keras
import tensorflow as tf

from iwae_tf import random
from iwae_tf.checks import check_choice, check_count
from iwae_tf.layers.causal import CausalLayer, Stacks, gate, multiply

#: Draws pixels `[n, channels]` from the outputs for them, `[n, num_outputs]`, and uniform numbers `[n, num_uniforms]`.
DrawPixel: TypeAlias = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class CausalNetwork(keras.layers.Layer):
    """Causal layers, and outputs for each pixel from the features of the pixels before it and from maps of all pixels.

    Args:
      num_outputs: outputs for each pixel.
      num_layers: number of causal layers.
      filters: channels of each stack.
      kernel_size: height and width of the convolutions, an odd number of 3 or more.
      condition: `"all"` lets each layer read the maps, `"last"` the outputs alone.
      output_bias: initial biases of the outputs, `[height, width, num_outputs]`.
      seed: integer seed of the initial weights.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if a number is not a positive integer, `kernel_size` is even or 1, or `condition` is unknown.
    """

    def __init__(
        self,
        num_outputs: int,
        num_layers: int,
        filters: int,
        kernel_size: int,
        condition: Literal["all", "last"],
        output_bias: Any,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_outputs, self.output_bias, self.seed = num_outputs, output_bias, seed
        self.num_layers, self.filters = check_count(num_layers, "num_layers"), check_count(filters, "filters")
        self.kernel_size = check_count(kernel_size, "kernel_size", minimum=3)
        if kernel_size % 2 == 0:
            raise ValueError(f"Expected kernel_size to be odd. Received: {kernel_size}")
        self.condition = check_choice(condition, "condition", ("all", "last"))

    def build(self, image_shape: tuple[int | None, ...], num_maps: int) -> None:
        self.chain = []
        for i in range(self.num_layers):
            seed = random.derive(self.seed, i + 1)
            maps = num_maps if self.condition == "all" else 0
            self.chain.append(CausalLayer(self.filters, self.kernel_size, i == 0, maps, seed, dtype=self.dtype_policy))
            self.chain[-1].build(image_shape if i == 0 else (*image_shape[:-1], self.filters))

        def add_kernel(name: str, i: int, *shape: int) -> keras.Variable:
            initializer = keras.initializers.GlorotUniform(random.derive(self.seed, 0, i))
            return self.add_weight(shape=shape, initializer=initializer, name=name)

        self.hidden = add_kernel("hidden", 0, self.filters, self.filters)
        self.hidden_maps = add_kernel("hidden_maps", 1, num_maps, self.filters)
        self.outputs = add_kernel("outputs", 2, self.filters, self.num_outputs)
        self.hidden_bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="hidden_bias")
        self.output_bias = self.add_weight(
            shape=(*image_shape[1:-1], self.num_outputs),
            initializer=lambda shape, dtype=None, start=self.output_bias: tf.constant(start, dtype, shape),
            name="output_bias",
        )

    def observe(self, image: tf.Tensor) -> Stacks:
        """Computes what depends on the image alone, for any number of maps.

        Args:
          image: `[..., height, width, channels]`, values in [0, 1].

        Returns:
          Tensors for `evaluate`.
        """
        image = self._centre(image)
        first = self.chain[0].stacks(image, image)
        return first if self.condition == "all" else [self._finish(first, None)]

    def evaluate(self, observed: Stacks, maps: tf.Tensor) -> tf.Tensor:
        """Computes the outputs for all pixels.

        Args:
          observed: the result of `observe` for images `[*leading, height, width, channels]`.
          maps: `[*leading, height, width, num_maps]`; the leading axes broadcast against those of the images.

        Returns:
          `[*leading, height, width, num_outputs]`, in the precision of the weights.
        """
        maps = tf.cast(maps, self.compute_dtype)
        hidden = self._finish(observed, maps) if self.condition == "all" else observed[0]
        return self._compute_outputs(hidden, maps, tf.convert_to_tensor(self.output_bias))

    def draw(self, maps: tf.Tensor, uniforms: tf.Tensor, draw_pixel: DrawPixel, channels: int) -> tf.Tensor:
        """Draws images pixel by pixel; the vertical stacks of each row are computed once.

        Args:
          maps: `[n, height, width, num_maps]`.
          uniforms: uniform numbers `[n, height, width, num_uniforms]`.
          draw_pixel: draws a pixel from its outputs and uniform numbers.
          channels: channels of the images.

        Returns:
          `[n, height, width, channels]`, as `draw_pixel` returns them.
        """
        maps = tf.cast(maps, self.compute_dtype)
        (height, width), bias = maps.shape[1:3], tf.convert_to_tensor(self.output_bias)
        from_maps = [layer.read_maps(maps) for layer in self.chain]

        def draw_row(r: tf.Tensor, windows: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
            stacks, features = [], None
            for i, layer in enumerate(self.chain):
                if i:
                    windows[i] = _push(windows[i], features, 1)
                stacks.append(layer.vertical(windows[i]))
                features = gate(tf.add_n([stacks[i], *(_take(part, r, 1) for part in from_maps[i][:1])]))
            uniforms_r, maps_r, bias_r = _take(uniforms, r, 1), _take(maps, r, 1), _take(bias, r, 0)
            from_maps_r = [[_take(part, r, 1) for part in parts[1:]] for parts in from_maps]

            def draw_column(c: tf.Tensor, windows: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
                features = None
                for i, layer in enumerate(self.chain):
                    if i:
                        windows[i] = _push(windows[i], features, 2)
                    stack = layer.horizontal(windows[i], _take(stacks[i], c, 2))
                    stack = tf.add_n([stack, *(_take(part, c, 2) for part in from_maps_r[i])])
                    features = layer.leave(stack, features)
                hidden = multiply(features, self.hidden)
                outputs = self._compute_outputs(hidden, _take(maps_r, c, 2), _take(bias_r, c, 1))
                pixel = draw_pixel(outputs[:, 0, 0], uniforms_r[:, 0, c])
                windows[0] = _push(windows[0], self._centre(pixel)[:, tf.newaxis, tf.newaxis], 2)
                return pixel, windows

            pixels = loop(width, draw_column, lambda layer: [1, layer.size], [channels])
            windows[0] = _push(windows[0], self._centre(pixels)[:, tf.newaxis], 1)
            return pixels, windows

        def loop(length: int, draw: Callable, window: Callable, shape: list[int]) -> tf.Tensor:
            """Draws parts of an image one after the other; what a layer reads of those before starts as zeros."""

            def step(i: tf.Tensor, windows: list[tf.Tensor], parts: tf.TensorArray) -> tuple:
                part, windows = draw(i, list(windows))
                return i + 1, windows, parts.write(i, part)

            sizes = [channels, *[self.filters] * (self.num_layers - 1)]
            empty = [
                tf.zeros([tf.shape(maps)[0], *window(layer), size], maps.dtype)
                for layer, size in zip(self.chain, sizes, strict=True)
            ]
            parts = tf.TensorArray(uniforms.dtype, length, element_shape=[None, *shape])
            *_, parts = tf.while_loop(lambda i, *_: i < length, step, (0, empty, parts), maximum_iterations=length)
            return tf.experimental.numpy.moveaxis(parts.stack(), 0, 1)

        return loop(height, draw_row, lambda layer: [layer.size, width], [width, channels])

    def _centre(self, x: tf.Tensor) -> tf.Tensor:
        # So that no value is that of the border, 0.
        return 2.0 * tf.cast(x, self.compute_dtype) - 1.0

    def _finish(self, stacks: Stacks, maps: tf.Tensor | None) -> tf.Tensor:
        """Goes from the stacks of the first layer to what the image contributes to the hidden layer of the outputs."""
        features: Any = None
        for i, layer in enumerate(self.chain):
            vertical, horizontal = stacks
            if maps is not None:
                vertical, horizontal = (a + b for a, b in zip(stacks, layer.read_maps(maps), strict=True))
            features = layer.leave(horizontal, features)
            if i + 1 < self.num_layers:
                stacks = self.chain[i + 1].stacks(gate(vertical), features)
        return multiply(features, self.hidden)

    def _compute_outputs(self, hidden: tf.Tensor, maps: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        hidden += multiply(maps, self.hidden_maps) + tf.cast(self.hidden_bias, hidden.dtype)
        outputs = multiply(tf.nn.gelu(hidden), self.outputs)
        return tf.cast(outputs, bias.dtype) + bias


def _push(window: tf.Tensor, new: tf.Tensor, axis: int) -> tf.Tensor:
    """Drops the first row (axis 1) or column (axis 2) of a window, and appends a new one."""
    return tf.concat([window[:, 1:] if axis == 1 else window[:, :, 1:], new], axis)


def _take(values: tf.Tensor, i: tf.Tensor, axis: int) -> tf.Tensor:
    """Takes one index of an axis, and keeps the axis."""
    return tf.gather(values, [i], axis=axis)
