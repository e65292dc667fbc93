"""The inference network: in which order z_1, ..., z_L are drawn, and what each of them depends on."""

import tensorflow as tf

from iwae_tf.layers.base import StochasticLayer, emit


class BottomUp:
    """q(z|x) = q(z_1|x) q(z_2|z_1) ... q(z_L|z_{L-1}): each layer sees a draw of the one below.

    Args:
      model: a `Hierarchy`.
    """

    def __init__(self, model):
        self.model = model

    @property
    def order(self):
        """The layers in the order in which they are drawn, 0 for z_1."""
        return range(len(self.model.encoder))

    def build(self, event_shape):
        """Makes the weights for data of this shape; returns the event shapes of z_1, ..., z_L."""
        shapes = [event_shape]
        for layer in self.model.encoder:
            shapes.append(emitted_shape(layer, shapes[-1]))
        return shapes[1:]

    def posterior(self, x, hold=False):
        """Returns what depends on x alone, for `conditional`: q(z_1|x)."""
        return draw_from(self.model.encoder[0], x, len(self.model.event_shape), hold)

    def conditional(self, i, posterior, z, hold=False):
        """Returns the distribution that layer i is drawn from.

        Args:
          i: number of the layer, 0 for z_1.
          posterior: what `posterior` has returned.
          z: list of z_1, ..., z_L, of which those are looked at that come before in `order`.
          hold: whether the layer's own weights get no gradient.
        """
        if i == 0:
            return posterior
        return draw_from(self.model.encoder[i], z[i - 1], len(self.model.latent_shapes[i - 1]), hold)


def emitted_shape(layer, shape):
    """Builds a layer for inputs `[..., *shape]`, if it is not built; returns the event shape of what it emits."""
    if not isinstance(layer, StochasticLayer):
        return tuple(emit(layer, tf.zeros([1, *shape]), len(shape)).event_shape)
    if not layer.built:
        layer.build((None, *shape))
    return layer.event_shape


def draw_from(layer, inputs, event_ndims, hold=False):
    """As `layers.base.emit`; with `hold` no gradient reaches the layer's own weights."""

    def held(inputs):
        weights = [[tf.stop_gradient(v) for v in layer.trainable_variables], layer.non_trainable_variables]
        return layer.stateless_call(*weights, inputs)[0]

    return emit(layer, inputs, event_ndims, call=held if hold else None)
