"""Resampling of particles: ancestors with probabilities in proportion to the weights."""

from collections.abc import Sequence

import tensorflow as tf

from iwae_tf import random
from iwae_tf.resampling import take

#: Particles up to which every pair is compared, which is faster than sorting.
COMPARED = 128


def draw_ancestors(log_weights: tf.Tensor, scheme: str, seed: tf.Tensor) -> tf.Tensor:
    """Draws an ancestor for each particle with the stateless seed `int32[2]`; see `find_ancestors`."""
    k, batch = log_weights.shape[0], tf.shape(log_weights)[1]
    uniform = draw_uniform([], k, batch, scheme, seed, log_weights.dtype)
    return find_ancestors(log_weights, scheme, uniform)


def draw_uniform(
    leading: Sequence[int | tf.Tensor], k: int, batch: int | tf.Tensor, scheme: str, seed: tf.Tensor, dtype: tf.DType
) -> tf.Tensor:
    """Draws the uniform numbers that decide on ancestors, `[*leading, k or 1, batch]`."""
    return random.uniform([*leading, 1 if scheme == "systematic" else k, batch], seed, dtype)


def find_ancestors(log_weights: tf.Tensor, scheme: str, uniform: tf.Tensor) -> tf.Tensor:
    """Finds an ancestor for each particle, so that particle i has k w~_i descendants in the mean.

    Args:
      log_weights: `[k, batch]`, in nats.
      scheme: `"multinomial"`: independent draws; `"stratified"`: one draw in each of k equal parts of the weights;
        `"systematic"`: one draw for all parts.
      uniform: what `draw_uniform` returns for the scheme.

    Returns:
      Indices, int32 `[k, batch]`.

    References:
      Douc, Cappe & Moulines 2005, Comparison of Resampling Schemes for Particle Filtering, arXiv:cs/0507025.
    """
    k = log_weights.shape[0]
    cumulative = tf.cumsum(tf.nn.softmax(log_weights, axis=0), axis=0)
    if scheme != "multinomial":
        uniform = (tf.cast(tf.range(k), log_weights.dtype)[:, tf.newaxis] + uniform) / k
    # The last sum may be below 1 by rounding. Scaling by it makes sure that a particle of weight 0 is never drawn.
    levels = uniform * cumulative[-1] * (1.0 - 2.0**-23)
    if k <= COMPARED:
        return tf.reduce_sum(tf.cast(cumulative[:-1] <= levels[:, tf.newaxis], tf.int32), axis=1)
    return _count_below(cumulative[:-1], levels)


def _count_below(bounds: tf.Tensor, levels: tf.Tensor) -> tf.Tensor:
    """Counts the bounds `[m, batch]` that are not above each level, `[k, batch]`, by sorting both together."""
    m = bounds.shape[0]
    order = tf.argsort(tf.concat([bounds, levels], 0), axis=0, stable=True)
    counts = tf.cumsum(tf.cast(order < m, tf.int32), axis=0)
    places = tf.argsort(order, axis=0)[m:]
    return take(counts, places)
