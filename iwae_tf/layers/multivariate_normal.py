"""Gaussian layers with a full covariance."""

import keras
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.internal import prefer_static as ps

from iwae_tf import random
from iwae_tf.layers.base import StochasticLayer
from iwae_tf.layers.normal import Normal


class FullNormal(tfd.MultivariateNormalTriL):
    """`tfd.MultivariateNormalTriL` whose samples are the same compiled and not.

    The density of a sample that this very distribution has drawn is read off its noise, which TFP's bijectors remember;
    any other z takes the solution of a triangular system.
    """

    def _call_sample_n(self, sample_shape, seed, **kwargs):
        samples = ps.reshape(ps.cast(sample_shape, tf.int32), [-1])
        shape = ps.concat([samples, self.batch_shape_tensor(), self.event_shape_tensor()], 0)
        # The bijector knows this tensor again, so nothing may be done to it afterwards.
        return self.bijector.forward(random.normal(shape, seed, self.dtype))


@tfd.RegisterKL(FullNormal, tfd.Independent)
def _kl_factorised(a, b, name=None):
    # E_a log b depends on the marginals of a alone, for b is a product.
    marginals = tfd.Independent(Normal(a.mean(), a.stddev()), 1)
    return marginals.kl_divergence(b) + marginals.entropy() - a.entropy()


@keras.saving.register_keras_serializable(package="iwae_tf")
class MultivariateNormalTriL(StochasticLayer):
    """A Gaussian with full covariance L L^T: loc and the lower triangle L are read off the features of the network.

    The diagonal of L is exp of its part of the head, which starts at zero, so that the covariance starts at the
    identity. With d variables the head has d (d + 1) / 2 values. The density of any z costs O(d^2), as sampling does;
    that of a fresh sample costs O(d).

    For the arguments see `StochasticLayer`. Emits a `tfd.MultivariateNormalTriL`.

    Args:
      event_shape: number of variables d, an integer or `(d,)`.
      **kwargs: the other arguments of `StochasticLayer`.

    Raises:
      ValueError: if `event_shape` has more than one axis.
    """

    parameters = ("loc", "scale_tril")

    def __init__(self, event_shape, **kwargs):
        super().__init__(event_shape, **kwargs)
        if len(self.event_shape) != 1:
            raise ValueError(f"Expected an event_shape of one axis. Received: {self.event_shape}")

    def parameter_shape(self, parameter):
        (size,) = self.event_shape
        return (size * (size + 1) // 2,) if parameter == "scale_tril" else self.event_shape

    def kernel_initializer(self, parameter, seed):
        return "zeros" if parameter == "scale_tril" else super().kernel_initializer(parameter, seed)

    def distribution(self, loc, scale_tril):
        return FullNormal(loc, tfb.FillScaleTriL(diag_bijector=tfb.Exp(), diag_shift=None)(scale_tril))
