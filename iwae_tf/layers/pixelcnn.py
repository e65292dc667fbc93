"""PixelCNN given z: a likelihood of images that models each pixel given those before it."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.internal import prefer_static as ps

from iwae_tf import compiling, random
from iwae_tf.checks import check_choice, check_count
from iwae_tf.layers.axes import merge_leading_axes
from iwae_tf.layers.causal import Stacks
from iwae_tf.layers.causal_network import CausalNetwork
from iwae_tf.layers.observation import ObservationLayer
from iwae_tf.layers.pixels import BernoulliPixels, LogisticPixels
from iwae_tf.layers.rules import Rule, Values
from iwae_tf.types import Sizes

#: Draws whose average stands for the mean of an image.
NUM_DRAWS = 20


class PixelCNNDistribution(tfd.Distribution):
    """Images drawn pixel by pixel.

    Args:
      layer: the built `PixelCNN`.
      maps: `[*batch, height, width, num_maps]`.
    """

    def __init__(self, layer: "PixelCNN", maps: tf.Tensor) -> None:
        parameters = {"layer": layer, "maps": maps}
        self.layer, self.maps = layer, maps
        super().__init__(
            dtype=maps.dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name="PixelCNN",
        )

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape(self.layer.event_shape)

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant(self.layer.event_shape, tf.int32)

    def _batch_shape(self) -> tf.TensorShape:
        return self.maps.shape[:-3]

    def _batch_shape_tensor(self) -> tf.Tensor:
        return ps.shape(self.maps)[:-3]

    def _log_prob(self, value: tf.Tensor) -> tf.Tensor:
        return self.log_prob_given(value, self.layer.observe(value))

    def log_prob_given(self, value: tf.Tensor, observed: Stacks) -> tf.Tensor:
        """Computes the log probability of images from what `PixelCNN.observe` returned for them, `[*batch]`."""
        outputs = self.layer.causal_network.evaluate(observed, self.maps)
        return self.layer.pixels.log_prob(outputs, value)

    def sample_and_log_prob(self, sample_shape: Any = (), seed: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws images, and returns their log probabilities too."""
        return self.experimental_sample_and_log_prob(sample_shape, seed=seed)

    def _sample_n(self, n: int | tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        flat, leading = merge_leading_axes(self.maps, 3)
        num_images, height, width = n * tf.shape(flat)[0], *self.layer.event_shape[:2]
        shape = [num_images, height, width, self.layer.pixels.num_uniforms]
        uniforms = random.uniform(shape, seed, self.maps.dtype)
        images = self.layer.draw(tf.tile(flat, [n, 1, 1, 1]), uniforms)
        return tf.reshape(images, tf.stack([n, *leading, *self.layer.event_shape]))

    def _mean(self) -> tf.Tensor:
        """Returns the average of `NUM_DRAWS` fixed draws, since the mean has no closed form."""
        return tf.reduce_mean(self.sample(NUM_DRAWS, seed=random.as_seed(0)), axis=0)


@keras.saving.register_keras_serializable(package="iwae_tf")
class PixelCNN(ObservationLayer):
    """Images whose pixels depend on z and on all pixels before them, in reading order.

    The network of z gives maps of the size of the image. Gated, masked convolutions read the image; a vertical and a
    horizontal stack together see all pixels before a pixel. What they compute from the image alone is computed once for
    all samples of z. One layer gives most of the gain over independent pixels, at a fraction of the cost of many.

    Such a likelihood can model images without z, and then does: q collapses to the prior. The KL and the active units
    show it; a small `kernel_size`, few layers, warm-up or free bits prevent it.

    The mean has no closed form: `mean()` averages 20 fixed draws. So pictures of the model show draws. Missing entries
    are refused: the pixels after them depend on them.

    Args:
      event_shape: shape of an image, `(height, width, channels)`.
      *args: the next arguments of `StochasticLayer`, for the network of z.
      num_layers: layers of convolutions.
      filters: channels of each stack.
      kernel_size: height and width of the convolutions, an odd number of 3 or more.
      likelihood: `"bernoulli"`, pixels in {0, 1} whose channels are independent given z and the pixels before; or
        `"logistic-mixture"`, pixels k / 255 whose channels depend linearly on each other, as `DiscretizedLogistic` asks
        for.
      condition: `"all"` lets each layer of convolutions read the maps. `"last"` adds them after the convolutions, so
        that no sample needs convolutions of its own.
      num_maps: maps that the network of z gives.
      num_components: components of the mixture.
      **kwargs: the other arguments of `ObservationLayer`. With `mean=`, each pixel starts at its mean.

    Raises:
      ValueError: if `event_shape` is not the shape of an image, a number is not a positive integer, `kernel_size` is
        even or 1, or `likelihood` or `condition` is unknown.

    References:
      van den Oord et al. 2016, arXiv:1601.06759, arXiv:1606.05328; Salimans et al. 2017, arXiv:1701.05517; Gulrajani et
      al. 2017, PixelVAE, arXiv:1611.05013; Chen et al. 2017, Variational Lossy Autoencoder, arXiv:1611.02731.

    Example:
      ```python
      p = layers.PixelCNN((8, 8, 1), hidden=(16,), filters=8, kernel_size=3)(tf.zeros([5, 2]))
      p.log_prob(tf.ones([5, 8, 8, 1]))  # [5], nats
      p.sample(seed=0).shape  # [5, 8, 8, 1]
      ```
    """

    parameters = ("maps",)
    support = (0, 1)
    #: Pictures of a model show draws, since a mean takes many.
    shows_draws = True

    def __init__(
        self,
        event_shape: Sizes,
        *args: Any,
        num_layers: int = 1,
        filters: int = 32,
        kernel_size: int = 7,
        likelihood: Literal["bernoulli", "logistic-mixture"] = "bernoulli",
        condition: Literal["all", "last"] = "all",
        num_maps: int = 8,
        num_components: int = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape, *args, **kwargs)
        if len(self.event_shape) != 3:
            raise ValueError(f"Expected event_shape to be (height, width, channels). Received: {event_shape!r}")
        self.num_maps = check_count(num_maps, "num_maps")
        self.num_components = check_count(num_components, "num_components")
        self.likelihood = check_choice(likelihood, "likelihood", ("bernoulli", "logistic-mixture"))
        self.pixels = (
            BernoulliPixels(self.event_shape)
            if likelihood == "bernoulli"
            else LogisticPixels(self.event_shape, num_components)
        )
        self.options: dict[str, Any] = {
            "num_layers": num_layers,
            "filters": filters,
            "kernel_size": kernel_size,
            "condition": condition,
        }
        mean = np.full(self.event_shape, 0.5) if self.mean is None else np.broadcast_to(self.mean, self.event_shape)
        self.causal_network = CausalNetwork(
            self.pixels.num_outputs, **self.options, output_bias=self.pixels.start(mean), dtype=self.dtype_policy
        )
        self._program: Callable | None = None
        self.supports_jit = compiling.has_fast_convolutions()

    def parameter_shape(self, parameter: str) -> tuple[int, ...]:
        return (*self.event_shape[:2], self.num_maps)

    def bias_initializer(self, parameter: str) -> str | keras.initializers.Initializer | Callable[..., tf.Tensor]:
        return "zeros"  # the outputs for each pixel start at the mean, not the maps

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        self.causal_network.seed = random.derive(self.seed, 2000)
        self.causal_network.build((None, *self.event_shape), self.num_maps)

    def distribution(self, maps: tf.Tensor) -> tfd.Distribution:
        return PixelCNNDistribution(self, maps)

    def observe(self, x: tf.Tensor) -> Stacks:
        """Computes what depends on x alone, for `PixelCNNDistribution.log_prob_given`."""
        return self.causal_network.observe(x)

    def draw(self, maps: tf.Tensor, uniforms: tf.Tensor) -> tf.Tensor:
        """Draws images from maps `[n, height, width, num_maps]` and uniform numbers, as one program."""

        def draw(maps: tf.Tensor, uniforms: tf.Tensor) -> tf.Tensor:
            return self.causal_network.draw(maps, uniforms, self.pixels.draw, self.event_shape[-1])

        if tf.inside_function():
            return draw(maps, uniforms)
        if self._program is None:
            self._program = compiling.function(draw, reduce_retracing=True)
        return self._program(maps, uniforms)

    def rules(self, x: Values) -> Iterator[Rule]:
        yield from self.pixels.independent.rules(x)

    def get_config(self) -> dict[str, Any]:
        own = {"likelihood": self.likelihood, "num_maps": self.num_maps, "num_components": self.num_components}
        return {**super().get_config(), **self.options, **own}
