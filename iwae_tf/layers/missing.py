"""Likelihoods of incomplete data: the density of the entries that are there."""

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf.layers.axes import ReshapedBatch


class IndependentWithMissing(tfd.Independent):
    """A `tfd.Independent` whose density leaves out the entries of a value that are NaN.

    The entries are independent given the parameters, so leaving out is marginalising. Everything else is as in the
    distribution given.

    Args:
      independent: a `tfd.Independent` over scalars.
    """

    def __init__(self, independent):
        super().__init__(independent.distribution, len(independent.event_shape), name="Observed")

    def _log_prob(self, value):
        missing = tf.math.is_nan(value)
        # Numbers of any kind may be 1: counts, positive and binary ones, codes. The density there is finite, and so is
        # its gradient, which NaN would make NaN although it is not taken.
        log_prob = self.distribution.log_prob(tf.where(missing, tf.ones_like(value), value))
        axes = list(range(-len(self.event_shape), 0))
        return tf.reduce_sum(tf.where(missing, tf.zeros_like(log_prob), log_prob), axes)


def ignore_missing(distribution):
    """Returns the distribution as one whose density leaves out the entries of a value that are NaN.

    Raises:
      TypeError: if it is no `tfd.Independent` over scalars, whose entries have densities of their own.
    """
    if isinstance(distribution, ReshapedBatch):
        return ReshapedBatch(ignore_missing(distribution.distribution), distribution.leading)
    # Not by class: of some distributions tfd.Independent makes an instance of another one.
    independent = hasattr(distribution, "reinterpreted_batch_ndims")
    if not independent or len(distribution.distribution.event_shape):
        raise TypeError(
            "Expected a likelihood of independent entries, a tfd.Independent over scalars, since incomplete=True. "
            f"Received: {type(distribution).__name__}"
        )
    return IndependentWithMissing(distribution)
