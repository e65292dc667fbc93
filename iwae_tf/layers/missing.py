"""Likelihoods of incomplete data: the density of the observed entries."""

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf.layers.axes import ReshapedBatch


class IndependentWithMissing(tfd.Independent):
    """A `tfd.Independent` whose density leaves out the entries of a value that are NaN.

    The entries are independent given the parameters, so leaving entries out marginalises over them. Samples and moments
    do not change.

    Args:
      independent: a `tfd.Independent` over scalars.
    """

    def __init__(self, independent: tfd.Independent) -> None:
        super().__init__(independent.distribution, len(independent.event_shape), name="IndependentWithMissing")

    def _log_prob(self, value: tf.Tensor) -> tf.Tensor:
        missing = tf.math.is_nan(value)
        # 1 is valid for every kind of data: counts, positive and binary numbers, codes. The density and its gradient
        # are finite there; the gradient at NaN would be NaN even though tf.where discards the value.
        log_prob = self.distribution.log_prob(tf.where(missing, tf.ones_like(value), value))
        axes = list(range(-len(self.event_shape), 0))
        return tf.reduce_sum(tf.where(missing, tf.zeros_like(log_prob), log_prob), axes)


def ignore_missing(distribution: tfd.Distribution) -> tfd.Distribution:
    """Returns the distribution with a density that leaves out the entries of a value that are NaN.

    Raises:
      TypeError: if it is not a `tfd.Independent` over scalars, whose entries each have a density.
    """
    if isinstance(distribution, ReshapedBatch):
        return ReshapedBatch(ignore_missing(distribution.distribution), distribution.leading)
    # Not isinstance: for some distributions tfd.Independent returns an instance of another class.
    independent = hasattr(distribution, "reinterpreted_batch_ndims")
    if not independent or len(distribution.distribution.event_shape):
        raise TypeError(
            "Expected a likelihood of independent entries, a tfd.Independent over scalars, since incomplete=True. "
            f"Received: {type(distribution).__name__}"
        )
    return IndependentWithMissing(distribution)
