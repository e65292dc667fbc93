"""Resampling: a few of many weighted samples stand for all of them."""

import tensorflow as tf

from iwae_tf import random


def resample(weights: tf.Tensor, num_samples: int, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Chooses m of k weighted samples, so that sums over them are unbiased for sums over all.

    Samples whose weight exceeds a threshold c are kept. The others are drawn by one systematic draw, each with the
    probability weight / c, where c is the number for which all probabilities sum to m. Of all unbiased choices of m
    samples this one changes the weights least, in expected squared distance.

    Args:
      weights: `[k, batch]`, finite and not negative. They need not sum to 1.
      num_samples: m, from 1 to k.
      seed: `int32[2]`.

    Returns:
      The indices of the chosen samples, int32 `[m, batch]`, and factors `[m, batch]`: the reciprocals of their
      probabilities, 1 for samples that are kept. For any values f `[k, batch]`, the sum of
      factor x weight x f over the chosen samples has the sum of weight x f over all as its mean. Where fewer than m
      weights are positive, all of these are kept, and the remaining factors are 0.

    References:
      Fearnhead & Clifford 2003, On-line inference for hidden Markov models via particle filters, J. R. Stat. Soc. B
      65, section 3.2.

    Example:
      ```python
      weights = tf.nn.softmax(model.log_weights(x, 50), axis=0)
      indices, factors = resampling.resample(weights, 10, random.as_seed(0))
      (indices.shape, factors.shape)  # [10, 20] each
      ```
    """
    k, m = weights.shape[0], num_samples
    ordered, order = tf.math.top_k(tf.transpose(weights), k)  # the largest first, [batch, k]
    # The weight at and below each place is summed from the small end. Subtracting the kept ones from the total would
    # leave no digits where they hold almost all of it.
    tails = tf.cumsum(ordered, axis=1, reverse=True)
    remaining = tf.range(m, 0, -1, tf.int32)
    thresholds = tails[:, :m] / tf.cast(remaining, weights.dtype)
    num_kept = tf.argmax(ordered[:, :m] <= thresholds, axis=1, output_type=tf.int32)[:, tf.newaxis]
    c = tf.gather(thresholds, num_kept, axis=1, batch_dims=1)

    # The levels of the systematic draw: one in each of m - num_kept equal parts of the weight that is not kept.
    heads = tf.cumsum(tf.where(tf.range(k) < num_kept, tf.zeros_like(ordered), ordered), axis=1)
    slots = tf.range(m)
    offset = random.uniform([tf.shape(weights)[1], 1], seed, weights.dtype)
    fraction = (offset + tf.cast(slots - num_kept, weights.dtype)) / tf.cast(m - num_kept, weights.dtype)
    # Below the sum by more than rounding, so that no sample of weight 0 is drawn.
    levels = heads[:, -1:] * tf.minimum(fraction, 1.0 - 2.0**-22)
    drawn = tf.reduce_sum(tf.cast(heads[:, tf.newaxis] <= levels[..., tf.newaxis], tf.int32), axis=2)

    # Where no weight is left there is nothing to draw: the largest stands in, with a factor of 0.
    places = tf.where(slots < num_kept, slots, tf.where(c > 0, drawn, 0))
    reciprocals = tf.where(c > 0, c / tf.gather(ordered, places, batch_dims=1), tf.zeros_like(fraction))
    factors = tf.where(slots < num_kept, tf.ones_like(fraction), reciprocals)
    return tf.transpose(tf.gather(order, places, batch_dims=1)), tf.transpose(factors)


def take(values: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """Takes the samples with these indices, `[m, batch]`, from `[k, batch, ...]`; returns `[m, batch, ...]`.

    Example:
      ```python
      indices, _ = resampling.resample(tf.ones([5, 20]), 2, random.as_seed(0))
      resampling.take(model.log_weights(x, 5), indices).shape  # [2, 20]
      ```
    """
    columns = tf.broadcast_to(tf.range(tf.shape(indices)[1]), tf.shape(indices))
    return tf.gather_nd(values, tf.stack([indices, columns], axis=-1))
