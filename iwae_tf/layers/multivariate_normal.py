"""Gaussian layers with a full covariance."""

import keras
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.internal import prefer_static as ps

from iwae_tf import random
from iwae_tf.layers.base import StochasticLayer
from iwae_tf.layers.normal import Normal


def invert_lower_triangular(tril):
    """Inverts lower triangular matrices `[*batch, d, d]` block by block, in log2(d) steps of twice the size each.

    XLA solves triangular systems on a CPU row by row.
    """
    size = 1 << (tril.shape[-1] - 1).bit_length()
    more = size - tril.shape[-1]
    none = [[0, 0]] * (tril.shape.rank - 2)
    diagonal = tf.pad(tf.linalg.diag_part(tril), [*none, [0, more]], constant_values=1)
    padded = tf.linalg.set_diag(tf.pad(tril, [*none, [0, more], [0, more]]), diagonal)
    inverse = 1.0 / diagonal[..., tf.newaxis, tf.newaxis]  # of the blocks on the diagonal, [*batch, blocks, side, side]
    for side in (2**i for i in range(size.bit_length() - 1)):
        pairs = size // (2 * side)
        shape = tf.concat([tf.shape(tril)[:-2], [pairs, 2, side, pairs, 2, side]], 0)
        below = tf.einsum("...pipj->...pij", tf.reshape(padded, shape)[..., :, 1, :, :, 0, :])
        upper, lower = inverse[..., 0::2, :, :], inverse[..., 1::2, :, :]
        rows = [upper, tf.zeros_like(upper)], [-lower @ below @ upper, lower]
        inverse = tf.concat([tf.concat(row, -1) for row in rows], -2)
    return inverse[..., 0, : tril.shape[-1], : tril.shape[-1]]


class LowerTriangularOperator(tf.linalg.LinearOperatorLowerTriangular):
    """A lower triangle whose products with all the vectors that share it are one matrix product."""

    def _matvec(self, x, adjoint=False):
        return _products(self.to_dense(), x)

    def _solvevec(self, rhs, adjoint=False):
        return _products(invert_lower_triangular(self.to_dense()), rhs)


def _products(matrices, vectors):
    """Multiplies `[*batch, d, d]` by `[*samples, *batch, d]`."""
    shape = tf.shape(vectors)
    stacked = tf.reshape(vectors, tf.concat([[-1], tf.shape(matrices)[:-1]], 0))
    return tf.reshape(tf.einsum("...ij,n...j->n...i", matrices, stacked), shape)


class FullNormal(tfd.MultivariateNormalLinearOperator):
    """A Gaussian of any covariance whose samples are the same compiled and not.

    The density of a sample that this very distribution has drawn is read off its noise, which TFP's bijectors remember;
    any other z takes the inverse of the triangle.
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
    identity. With d variables the head has d (d + 1) / 2 values. A sample costs O(d^2), its density O(d);
    the density of a z from elsewhere, which path gradients and wake-sleep ask for, an inversion for each observation.

    For the arguments see `StochasticLayer`. Emits a `tfd.MultivariateNormalLinearOperator`.

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
        tril = tfb.FillScaleTriL(diag_bijector=tfb.Exp(), diag_shift=None)(scale_tril)
        return FullNormal(loc, LowerTriangularOperator(tril, is_non_singular=True))
