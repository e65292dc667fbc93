"""Leading axes: merged for a network, restored in the distribution that comes of it."""

import tensorflow as tf
from tensorflow_probability import distributions as tfd


def merge_leading_axes(inputs, event_ndims):
    """Reshapes `[*leading, *event]` to `[n, *event]`.

    Returns:
      The reshaped tensor and `leading`: a list of integers and, where known only at run time, scalar tensors.
    """
    split = inputs.shape.rank - event_ndims
    dynamic = tf.shape(inputs)
    leading = [dynamic[i] if n is None else n for i, n in enumerate(inputs.shape[:split])]
    return (inputs if split == 1 else tf.reshape(inputs, [-1, *inputs.shape[split:]])), leading


class Unmerged(tfd.Distribution):
    """A distribution of batch shape `[n]` as one of batch shape `leading`, whose product is n.

    `tfd.BatchReshape` does not serve: it takes no batch size that is known only at run time, and does not broadcast.

    Args:
      distribution: a `tfd.Distribution` of batch shape `[n]` and static event shape.
      leading: list of integers and scalar tensors.
    """

    def __init__(self, distribution, leading):
        parameters = dict(locals())
        self.distribution, self.leading = distribution, leading
        super().__init__(
            dtype=distribution.dtype,
            reparameterization_type=distribution.reparameterization_type,
            validate_args=False,
            allow_nan_stats=distribution.allow_nan_stats,
            parameters=parameters,
            name=f"Unmerged{distribution.name}",
        )

    def restore(self, values, first=0):
        """Reshapes `[*samples, n, ...]` to `[*samples, *leading, ...]`; `first` counts the axes of `samples`."""
        shape = tf.shape(values)
        return tf.reshape(values, tf.concat([shape[:first], tf.stack(self.leading), shape[first + 1 :]], 0))

    def _event_shape(self):
        return self.distribution.event_shape

    def _event_shape_tensor(self):
        return tf.constant(self.event_shape.as_list(), tf.int32)

    def _batch_shape(self):
        return tf.TensorShape([None if tf.is_tensor(n) else n for n in self.leading])

    def _batch_shape_tensor(self):
        return tf.stack(self.leading)

    def _sample_n(self, n, seed=None):
        return self.restore(self.distribution.sample(n, seed=seed), 1)

    def _log_prob(self, value):
        samples = max(value.shape.rank - len(self.leading) - self.event_shape.rank, 0)
        shape = tf.concat([tf.shape(value)[:samples], tf.stack(self.leading), self.event_shape_tensor()], 0)
        merged = tf.concat([shape[:samples], [-1], self.event_shape_tensor()], 0)
        merged = tf.reshape(tf.broadcast_to(value, shape), merged)
        return self.restore(self.distribution.log_prob(merged), samples)

    def _mean(self):
        return self.restore(self.distribution.mean())

    def _stddev(self):
        return self.restore(self.distribution.stddev())


@tfd.RegisterKL(Unmerged, tfd.Distribution)
def _kl_unmerged(a, b, name=None):
    return a.restore(a.distribution.kl_divergence(b, name=name))
