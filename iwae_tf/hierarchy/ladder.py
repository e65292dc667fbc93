"""Ladder inference: q(z|x) drawn from the top down, merged with the generative network's conditionals."""

from collections.abc import Iterable

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf.data.observation_model import ObservationModel
from iwae_tf.hierarchy.bottom_up import BottomUp, build_layer
from iwae_tf.layers.axes import merge_leading_axes
from iwae_tf.layers.normal import IndependentNormal, Normal


class Ladder(BottomUp):
    """q(z|x) = q(z_L|x) q(z_{L-1}|z_L, x) ... q(z_1|z_2, x).

    A deterministic pass goes up from x: each layer of the encoder reads the features of the layer below. The heads of
    layer l turn its features into a Gaussian over z_l, like a likelihood of z_l. On the way down

        q(z_l|z_{l+1}, x) is proportional to N(z_l; loc_l(x), scale_l(x)) p(z_l|z_{l+1}),

    a Gaussian whose precision is the sum of the two precisions. Unlike the authors' model it has no batch
    normalisation.

    Args:
      model: a `Hierarchy` of `IndependentNormal` layers, with any prior and likelihood.

    Raises:
      TypeError: if another layer of the encoder or the decoder is not an `IndependentNormal`.

    References:
      Sønderby, Raiko, Maaløe, Sønderby & Winther 2016, Ladder Variational Autoencoders, arXiv:1602.02282.
    """

    def __init__(self, model: ObservationModel) -> None:
        super().__init__(model)
        for layer in (*model.encoder, *model.decoder[:-1]):
            if not isinstance(layer, IndependentNormal):
                raise TypeError(
                    "Expected layers.IndependentNormal for every layer of q and p except the prior and the likelihood, "
                    f"since ladder=True. Received: {layer!r}"
                )

    @property
    def order(self) -> Iterable[int]:
        return range(len(self.model.encoder) - 1, -1, -1)

    def build(self, event_shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        shapes = []
        for layer in self.model.encoder:
            shapes.append(build_layer(layer, event_shape))
            event_shape = layer.feature_shape
        return shapes

    def posterior(self, x: tf.Tensor, stop_weight_gradients: bool = False) -> list[tfd.Distribution]:
        """Returns the Gaussians over z_1, ..., z_L that depend on x alone; the last is q(z_L|x)."""
        features, leading = merge_leading_axes(x, len(self.model.event_shape))
        posteriors = []
        for layer in self.model.encoder:
            features = layer.compute_features(features)
            q = layer.distribution(**layer.compute_parameters(features, leading))
            loc, scale = q.mean(), q.stddev()
            if stop_weight_gradients:
                loc, scale = tf.stop_gradient(loc), tf.stop_gradient(scale)
            posteriors.append(tfd.Independent(Normal(loc, scale), len(layer.event_shape)))
        return posteriors

    def conditional(
        self,
        i: int,
        posterior: list[tfd.Distribution],
        z: list[tf.Tensor],
        stop_weight_gradients: bool = False,
    ) -> tfd.Distribution:
        if i == len(posterior) - 1:
            return posterior[i]
        prior = self.model.generate(i + 1, z[i + 1], z[-1], stop_weight_gradients)
        return multiply_gaussians(posterior[i], prior)


def multiply_gaussians(first: tfd.Distribution, second: tfd.Distribution) -> tfd.Distribution:
    """Returns the Gaussian proportional to the product of two diagonal Gaussian densities."""
    # Computed from the ratio of the scales, since the precision of a tiny scale would be infinite.
    root = tf.math.rsqrt(1.0 + (first.stddev() / second.stddev()) ** 2)
    loc = second.mean() + root**2 * (first.mean() - second.mean())
    return tfd.Independent(Normal(loc, first.stddev() * root), len(first.event_shape))
