"""Ladder inference: q(z|x) drawn from the top, with the generative network's own opinion in it."""

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf.hierarchy.bottom_up import BottomUp, emitted_shape
from iwae_tf.layers.axes import merge_leading_axes
from iwae_tf.layers.normal import IndependentNormal, Normal


class Ladder(BottomUp):
    """q(z|x) = q(z_L|x) q(z_{L-1}|z_L, x) ... q(z_1|z_2, x).

    A deterministic pass goes up from x: the features of each layer of the encoder are the input of the next. The
    heads of layer l make of its features a Gaussian over z_l, as a likelihood of z_l would be. On the way down

        q(z_l|z_{l+1}, x) is in proportion to N(z_l; loc_l(x), scale_l(x)) p(z_l|z_{l+1}),

    a Gaussian whose precision is the sum of the two. There is no batch normalisation, which the authors use.

    Args:
      model: a `Hierarchy` of `IndependentNormal` layers; prior and likelihood may be any.

    Raises:
      TypeError: if another layer of the encoder or the decoder is no `IndependentNormal`.

    References:
      Sønderby, Raiko, Maaløe, Sønderby & Winther 2016, Ladder Variational Autoencoders, arXiv:1602.02282.
    """

    def __init__(self, model):
        super().__init__(model)
        for layer in (*model.encoder, *model.decoder[:-1]):
            if not isinstance(layer, IndependentNormal):
                raise TypeError(
                    "Expected layers.IndependentNormal for all of q and p but the prior and the likelihood with "
                    f"ladder=True. Received: {layer!r}"
                )

    @property
    def order(self):
        return reversed(super().order)

    def build(self, event_shape):
        shapes = []
        for layer in self.model.encoder:
            shapes.append(emitted_shape(layer, event_shape))
            event_shape = layer.feature_shape
        return shapes

    def posterior(self, x, hold=False):
        """Returns the Gaussians that x alone suggests for z_1, ..., z_L; the last is q(z_L|x)."""
        features, leading = merge_leading_axes(x, len(self.model.event_shape))
        found = []
        for layer in self.model.encoder:
            features = layer.features(features)
            q = layer.distribution(**layer.read(features, leading))
            loc, scale = q.mean(), q.stddev()
            if hold:
                loc, scale = tf.stop_gradient(loc), tf.stop_gradient(scale)
            found.append(tfd.Independent(Normal(loc, scale), len(layer.event_shape)))
        return found

    def conditional(self, i, posterior, z, hold=False):
        if i == len(posterior) - 1:
            return posterior[i]
        return product(posterior[i], self.model.generate(i + 1, z[i + 1], z[-1], hold))


def product(one, other):
    """Returns the Gaussian in proportion to the product of the densities of two diagonal ones."""
    # By the ratio of the scales: the precision of a small one would be infinite.
    root = tf.math.rsqrt(1.0 + (one.stddev() / other.stddev()) ** 2)
    loc = other.mean() + root**2 * (one.mean() - other.mean())
    return tfd.Independent(Normal(loc, one.stddev() * root), len(one.event_shape))
