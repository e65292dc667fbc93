"""Functions of log importance weights `[k, batch]`, whose first axis holds the samples."""

import math

import tensorflow as tf


def log_mean_exp(log_weights: tf.Tensor) -> tf.Tensor:
    """Computes log (1/k) sum_i w_i over the first axis, in nats.

    Args:
      log_weights: `[k, ...]`.

    Returns:
      `[...]`.

    Example:
      ```python
      log_weights.log_mean_exp(model.log_weights(x, 50)).shape  # [20], the bound L_50
      ```
    """
    return tf.reduce_logsumexp(log_weights, axis=0) - math.log(log_weights.shape[0])


def normalized_weights(log_weights: tf.Tensor) -> tf.Tensor:
    """Computes w~, the softmax of the log weights over the first axis: `[k, ...]` -> `[k, ...]`.

    Example:
      ```python
      log_weights.normalized_weights(tf.math.log([[1.0], [3.0]]))  # [[0.25], [0.75]]
      ```
    """
    return tf.nn.softmax(log_weights, axis=0)


def log_share_of_others(log_weights: tf.Tensor) -> tf.Tensor:
    """Computes log (1 - w~_i), the log of what the other samples have of the weight: `[k, ...]` -> `[k, ...]`.

    It is exact for a sample of nearly all weight too, where 1 - w~_i would lose its digits. With one sample it is -inf.

    Example:
      ```python
      log_weights.log_share_of_others(tf.math.log([[1.0], [3.0]]))  # log [[0.75], [0.25]]
      ```
    """
    log_shares = log_weights - tf.reduce_logsumexp(log_weights, axis=0)
    # Only the largest weight can have more than half of the total.
    k = log_weights.shape[0]
    is_largest = tf.one_hot(tf.argmax(log_weights, axis=0), k, axis=0, on_value=True, off_value=False)
    others = tf.where(is_largest, tf.constant(-math.inf, log_shares.dtype), log_shares)
    shares = tf.where(is_largest, tf.zeros_like(log_shares), tf.exp(log_shares))
    return tf.where(is_largest, tf.reduce_logsumexp(others, axis=0), tf.math.log1p(-shares))


def effective_sample_size(log_weights: tf.Tensor) -> tf.Tensor:
    """Computes (sum w)^2 / sum w^2 over the first axis, in [1, k] (Kong 1992): `[k, ...]` -> `[...]`.

    Example:
      ```python
      log_weights.effective_sample_size(tf.math.log([[1.0], [3.0]]))  # [1.6]
      ```
    """
    return effective_sample_size_of_sums(
        tf.reduce_logsumexp(log_weights, axis=0), tf.reduce_logsumexp(2.0 * log_weights, axis=0)
    )


def effective_sample_size_of_sums(log_sum: tf.Tensor, log_sum_of_squares: tf.Tensor) -> tf.Tensor:
    """Computes the effective sample size from log sum w and log sum w^2, all `[...]`."""
    return tf.exp(2.0 * log_sum - log_sum_of_squares)


def standard_error(effective_samples: tf.Tensor, num_samples: int | tf.Tensor) -> tf.Tensor:
    """Computes the delta-method standard error of log mean w, in nats: sqrt((k / ESS - 1) / (k - 1)).

    This is the sample standard deviation of w over sqrt(k) mean w, written in terms of the effective sample size.

    Args:
      effective_samples: effective sample size, `[...]`.
      num_samples: k, the number of weights.

    Returns:
      `[...]`; NaN for k = 1, where there is no spread to measure.

    Example:
      ```python
      weights = model.log_weights(x, 50)
      log_weights.standard_error(log_weights.effective_sample_size(weights), 50).shape  # [20]
      ```
    """
    k = tf.cast(num_samples, effective_samples.dtype)
    spread = tf.maximum(k / effective_samples - 1.0, 0.0)
    return tf.sqrt(spread / (k - 1.0))  # 0 / 0 = NaN for k = 1


def batch_mean(values: tf.Tensor) -> tf.Tensor:
    """Computes the mean of a tensor over all of its axes, and over all replicas of a `tf.distribute` strategy: `[]`."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return tf.reduce_mean(values)
    sums = [tf.reduce_sum(values), tf.cast(tf.size(values), values.dtype)]
    total, count = context.all_reduce(tf.distribute.ReduceOp.SUM, sums)
    return total / count
