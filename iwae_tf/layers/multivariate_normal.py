"""The Gaussian layer with a full covariance."""

from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.internal import prefer_static as ps

from iwae_tf import random
from iwae_tf.layers.base import StochasticLayer
from iwae_tf.layers.normal import Normal
from iwae_tf.types import Sizes


def invert_lower_triangular(tril: tf.Tensor) -> tf.Tensor:
    """Inverts lower triangular matrices `[*batch, d, d]` by blocks whose size doubles in each of log2(d) steps.

    On a CPU XLA would solve triangular systems row by row.
    """
    size = 1 << (tril.shape[-1] - 1).bit_length()
    padding = size - tril.shape[-1]
    unpadded = [[0, 0]] * (tril.shape.rank - 2)
    diagonal = tf.pad(tf.linalg.diag_part(tril), [*unpadded, [0, padding]], constant_values=1)
    padded = tf.linalg.set_diag(tf.pad(tril, [*unpadded, [0, padding], [0, padding]]), diagonal)
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
    """A lower triangle that multiplies all vectors that share it by one matrix product."""

    def _matvec(self, x: tf.Tensor, adjoint: bool = False) -> tf.Tensor:
        return _multiply(self.to_dense(), x)

    def _solvevec(self, rhs: tf.Tensor, adjoint: bool = False) -> tf.Tensor:
        return _multiply(invert_lower_triangular(self.to_dense()), rhs)


def _multiply(matrices: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
    """Multiplies `[*batch, d, d]` by `[*samples, *batch, d]`."""
    shape = tf.shape(vectors)
    stacked = tf.reshape(vectors, tf.concat([[-1], tf.shape(matrices)[:-1]], 0))
    return tf.reshape(tf.einsum("...ij,n...j->n...i", matrices, stacked), shape)


class FullNormal(tfd.MultivariateNormalLinearOperator):
    """A Gaussian of any covariance that draws the same samples with and without compilation.

    The density of a sample of this very distribution comes from its noise, which TFP's bijectors remember. The density
    of any other z takes the inverse of the triangle.
    """

    def _call_sample_n(self, sample_shape: tf.Tensor, seed: tf.Tensor | None, **kwargs: Any) -> tf.Tensor:
        samples = ps.reshape(ps.cast(sample_shape, tf.int32), [-1])
        shape = ps.concat([samples, self.batch_shape_tensor(), self.event_shape_tensor()], 0)
        # Return the tensor unchanged: the bijector recognises it by its identity.
        return self.bijector.forward(random.normal(shape, seed, self.dtype))


@tfd.RegisterKL(FullNormal, tfd.Independent)
def _kl_factorised(a: FullNormal, b: tfd.Independent, name: str | None = None) -> tf.Tensor:
    # E_a log b depends only on the marginals of a, since b is a product.
    marginals = tfd.Independent(Normal(a.mean(), a.stddev()), 1)
    return marginals.kl_divergence(b) + marginals.entropy() - a.entropy()


@keras.saving.register_keras_serializable(package="iwae_tf")
class MultivariateNormalTriL(StochasticLayer):
    """A Gaussian with full covariance L L^T: loc and the lower triangle L are linear in the features of the network.

    The diagonal of L is exp of its part of the head, which starts at zero, so the covariance starts at the identity.
    With d variables the head of L has d (d + 1) / 2 values. A sample costs O(d^2), and its density O(d). The density of
    a z from elsewhere, which path gradients and wake-sleep need, costs an inversion for each observation.

    Returns a `tfd.MultivariateNormalLinearOperator`.

    Args:
      event_shape: number of variables d, an integer or `(d,)`.
      **kwargs: the other arguments of `StochasticLayer`.

    Raises:
      ValueError: if `event_shape` has more than one axis.

    Example:
      ```python
      q = layers.MultivariateNormalTriL(2, hidden=(16,))(tf.zeros([5, 8]))
      q.covariance().shape  # [5, 2, 2]
      ```
    """

    parameters = ("loc", "scale_tril")

    def __init__(self, event_shape: Sizes, **kwargs: Any) -> None:
        super().__init__(event_shape, **kwargs)
        if len(self.event_shape) != 1:
            raise ValueError(f"Expected an event_shape of one axis. Received: {self.event_shape}")

    def parameter_shape(self, parameter: str) -> tuple[int, ...]:
        (size,) = self.event_shape
        return (size * (size + 1) // 2,) if parameter == "scale_tril" else self.event_shape

    def kernel_initializer(self, parameter: str, seed: int | None) -> str | keras.initializers.Initializer:
        return "zeros" if parameter == "scale_tril" else super().kernel_initializer(parameter, seed)

    def distribution(self, loc: tf.Tensor, scale_tril: tf.Tensor) -> FullNormal:
        tril = tfb.FillScaleTriL(diag_bijector=tfb.Exp(), diag_shift=None)(scale_tril)
        return FullNormal(loc, LowerTriangularOperator(tril, is_non_singular=True))
