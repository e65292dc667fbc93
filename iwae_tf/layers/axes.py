"""Leading axes: merged before a network, restored in the distribution that it leads to."""

import tensorflow as tf
from tensorflow_probability import distributions as tfd


def merge_leading_axes(inputs: tf.Tensor, event_ndims: int) -> tuple[tf.Tensor, list[int | tf.Tensor]]:
    """Reshapes `[*leading, *event]` to `[n, *event]`.

    Returns:
      The reshaped tensor and `leading`, a list of integers; a size known only at run time is a scalar tensor.
    """
    split = inputs.shape.rank - event_ndims
    dynamic = tf.shape(inputs)
    leading = [dynamic[i] if n is None else n for i, n in enumerate(inputs.shape[:split])]
    return (inputs if split == 1 else tf.reshape(inputs, [-1, *inputs.shape[split:]])), leading


class ReshapedBatch(tfd.Distribution):
    """A distribution of batch shape `[n]`, reshaped to the batch shape `leading`, whose product is n.

    Unlike `tfd.BatchReshape` it broadcasts, and allows a batch size that is known only at run time.

    Args:
      distribution: a `tfd.Distribution` of batch shape `[n]` and static event shape.
      leading: list of integers and scalar tensors.
    """

    def __init__(self, distribution: tfd.Distribution, leading: list[int | tf.Tensor]) -> None:
        parameters = dict(locals())
        self.distribution, self.leading = distribution, leading
        super().__init__(
            dtype=distribution.dtype,
            reparameterization_type=distribution.reparameterization_type,
            validate_args=False,
            allow_nan_stats=distribution.allow_nan_stats,
            parameters=parameters,
            name=f"ReshapedBatch{distribution.name}",
        )

    def restore(self, values: tf.Tensor, sample_ndims: int = 0) -> tf.Tensor:
        """Reshapes `[*samples, n, ...]` to `[*samples, *leading, ...]`; `sample_ndims` counts the axes of `samples`."""
        shape = tf.shape(values)
        restored = tf.concat([shape[:sample_ndims], tf.stack(self.leading), shape[sample_ndims + 1 :]], 0)
        return tf.reshape(values, restored)

    def _event_shape(self) -> tf.TensorShape:
        return self.distribution.event_shape

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant(self.event_shape.as_list(), tf.int32)

    def _batch_shape(self) -> tf.TensorShape:
        return tf.TensorShape([None if tf.is_tensor(n) else n for n in self.leading])

    def _batch_shape_tensor(self) -> tf.Tensor:
        return tf.stack(self.leading)

    def _sample_n(self, n: int | tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        return self.restore(self.distribution.sample(n, seed=seed), 1)

    def _log_prob(self, value: tf.Tensor) -> tf.Tensor:
        samples = max(value.shape.rank - len(self.leading) - self.event_shape.rank, 0)
        shape = tf.concat([tf.shape(value)[:samples], tf.stack(self.leading), self.event_shape_tensor()], 0)
        merged = tf.concat([shape[:samples], [-1], self.event_shape_tensor()], 0)
        merged = tf.reshape(tf.broadcast_to(value, shape), merged)
        return self.restore(self.distribution.log_prob(merged), samples)

    def _mean(self) -> tf.Tensor:
        return self.restore(self.distribution.mean())

    def _stddev(self) -> tf.Tensor:
        return self.restore(self.distribution.stddev())


@tfd.RegisterKL(ReshapedBatch, tfd.Distribution)
def _kl_reshaped(a: ReshapedBatch, b: tfd.Distribution, name: str | None = None) -> tf.Tensor:
    return a.restore(a.distribution.kl_divergence(b, name=name))
