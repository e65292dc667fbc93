"""Functions of log importance weights `[k, batch]`; the first axis holds the samples."""

import math

import tensorflow as tf


def log_mean_exp(log_weights):
    """Computes log (1/k) sum_i w_i over the first axis, in nats.

    Args:
      log_weights: `[k, ...]`.

    Returns:
      `[...]`.
    """
    return tf.reduce_logsumexp(log_weights, axis=0) - math.log(log_weights.shape[0])


def normalized_weights(log_weights):
    """Computes w~, the softmax of the log weights over the first axis: `[k, ...]` -> `[k, ...]`."""
    return tf.nn.softmax(log_weights, axis=0)


def effective_sample_size(log_weights):
    """Computes (sum w)^2 / sum w^2 over the first axis, in [1, k] (Kong 1992): `[k, ...]` -> `[...]`."""
    return effective_sample_size_of_sums(
        tf.reduce_logsumexp(log_weights, axis=0), tf.reduce_logsumexp(2.0 * log_weights, axis=0)
    )


def effective_sample_size_of_sums(log_sum, log_sum_of_squares):
    """Computes the effective sample size from log sum w and log sum w^2."""
    return tf.exp(2.0 * log_sum - log_sum_of_squares)


def standard_error(effective_samples, num_samples):
    """Computes the delta-method standard error of log mean w, in nats: sqrt((k / ESS - 1) / (k - 1)).

    It is the sample standard deviation of w over (mean w) sqrt(k), which is what the effective sample size holds.

    Args:
      effective_samples: effective sample size, `[...]`.
      num_samples: k, a number; with k = 1 there is no spread to measure and the result is NaN.

    Returns:
      `[...]`.
    """
    k = tf.cast(num_samples, effective_samples.dtype)
    spread = tf.maximum(k / effective_samples - 1.0, 0.0)
    # Divided so that k = 1 gives 0 / 0 = NaN.
    return tf.sqrt(spread / (k - 1.0))


def batch_mean(values):
    """Computes the mean of a tensor over all of its axes, and over all replicas of a `tf.distribute` strategy."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return tf.reduce_mean(values)
    parts = [tf.reduce_sum(values), tf.cast(tf.size(values), values.dtype)]
    total, count = context.all_reduce(tf.distribute.ReduceOp.SUM, parts)
    return total / count
