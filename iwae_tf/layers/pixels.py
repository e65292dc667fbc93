"""Distributions of one pixel given the outputs of a network, for images that are modelled pixel by pixel."""

from typing import Any

import numpy as np
import tensorflow as tf

from iwae_tf.layers.bernoulli import BernoulliProduct, IndependentBernoulli
from iwae_tf.layers.logistic import INITIAL_LOG_SCALE, DiscretizedLogistic, DiscretizedLogisticDistribution
from iwae_tf.layers.observation import ObservationLayer


class BernoulliPixels:
    """Binary pixels, whose channels are independent given the outputs, their logits.

    Args:
      event_shape: `(height, width, channels)`.

    Attributes:
      num_outputs: outputs for each pixel.
      num_uniforms: uniform numbers that a draw takes for each pixel.
      independent: the layer of such pixels without an order, whose rules the data must satisfy.
    """

    def __init__(self, event_shape: tuple[int, ...]) -> None:
        self.event_shape, self.num_outputs, self.num_uniforms = event_shape, event_shape[-1], event_shape[-1]
        self.independent: ObservationLayer = IndependentBernoulli(event_shape)

    def start(self, mean: np.ndarray) -> np.ndarray:
        """Returns outputs at which the pixels have this mean: `[*event_shape]` -> `[height, width, num_outputs]`."""
        return self.independent.apply_link(mean)

    def log_prob(self, outputs: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """Computes the log probability of images, `[...]`.

        Args:
          outputs: `[..., height, width, num_outputs]`.
          x: `[..., *event_shape]`.
        """
        return BernoulliProduct(outputs, 3).log_prob(x)

    def draw(self, outputs: tf.Tensor, uniforms: tf.Tensor) -> tf.Tensor:
        """Draws pixels from uniform numbers: `[n, num_outputs], [n, num_uniforms] -> [n, channels]`."""
        return tf.cast(uniforms < tf.sigmoid(outputs), outputs.dtype)


class LogisticPixels:
    """8-bit pixels k / 255: a mixture of discretised logistic variables for the channels together.

    Given its component, a channel is a rounded logistic variable whose location depends linearly on the channels before
    it. For the methods and attributes see `BernoulliPixels`.

    Args:
      event_shape: `(height, width, channels)`.
      num_components: components of the mixture.

    References:
      Salimans, Karpathy, Chen & Kingma 2017, PixelCNN++, arXiv:1701.05517.
    """

    def __init__(self, event_shape: tuple[int, ...], num_components: int) -> None:
        self.event_shape, self.num_components = event_shape, num_components
        channels = event_shape[-1]
        pairs = channels * (channels - 1) // 2
        #: Outputs of a component: its logit, locations, log scales, and slopes on the channels before.
        self.sizes = [1, channels, channels, pairs]
        self.num_outputs, self.num_uniforms = num_components * sum(self.sizes), 1 + channels
        self.independent: ObservationLayer = DiscretizedLogistic(event_shape)

    def start(self, mean: np.ndarray) -> np.ndarray:
        values: list[Any] = [0.0, self.independent.apply_link(mean), INITIAL_LOG_SCALE, 0.0]
        parts = [
            np.broadcast_to(value, (*mean.shape[:2], size)) for value, size in zip(values, self.sizes, strict=True)
        ]
        start = np.concatenate(parts, axis=-1)[..., np.newaxis]
        return np.broadcast_to(start, (*start.shape[:-1], self.num_components)).reshape(*mean.shape[:2], -1)

    def log_prob(self, outputs: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        logits, loc, log_scale, slopes = self._split(outputs)
        x = tf.cast(x, outputs.dtype)[..., tf.newaxis]
        loc = tf.concat([self._shift(loc, slopes, x, i) for i in range(x.shape[-2])], axis=-2)
        of_channels = DiscretizedLogisticDistribution(loc, log_scale).log_prob(x)
        joint = tf.nn.log_softmax(logits[..., 0, :]) + tf.reduce_sum(of_channels, axis=-2)
        return tf.reduce_sum(tf.reduce_logsumexp(joint, axis=-1), axis=[-1, -2])

    def draw(self, outputs: tf.Tensor, uniforms: tf.Tensor) -> tf.Tensor:
        logits, loc, log_scale, slopes = self._split(outputs)
        cumulative = tf.cumsum(tf.nn.softmax(logits[:, 0]), axis=-1)
        # The last sum may be below 1 by rounding.
        index = tf.reduce_sum(tf.cast(cumulative[:, :-1] <= uniforms[:, :1] * cumulative[:, -1:], tf.int32), axis=-1)
        loc, log_scale, slopes = (
            tf.gather(part, index, axis=-1, batch_dims=1)[..., tf.newaxis] for part in (loc, log_scale, slopes)
        )
        x = tf.zeros([tf.shape(outputs)[0], 0, 1], outputs.dtype)
        for i in range(self.event_shape[-1]):
            u = uniforms[:, i + 1, tf.newaxis, tf.newaxis]
            logistic = tf.math.log(u) - tf.math.log1p(-u)
            value = self._shift(loc, slopes, x, i) + tf.exp(log_scale[:, i : i + 1]) * logistic
            x = tf.concat([x, tf.round(tf.clip_by_value(value, 0.0, 1.0) * 255.0) / 255.0], axis=1)
        return x[..., 0]

    def _split(self, outputs: tf.Tensor) -> list[tf.Tensor]:
        """Returns logits, locations, log scales and slopes, `[..., n, num_components]` each."""
        shape = tf.concat([tf.shape(outputs)[:-1], [sum(self.sizes), self.num_components]], 0)
        return tf.split(tf.reshape(outputs, shape), self.sizes, axis=-2)

    def _shift(self, loc: tf.Tensor, slopes: tf.Tensor, x: tf.Tensor, i: int) -> tf.Tensor:
        """Returns the location of channel i given the channels before it, `[..., 1, components]`."""
        own = tf.tanh(slopes[..., i * (i - 1) // 2 : i * (i + 1) // 2, :])
        return loc[..., i : i + 1, :] + tf.reduce_sum(own * (x[..., :i, :] - 0.5), axis=-2, keepdims=True)
