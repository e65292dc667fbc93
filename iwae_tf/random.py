"""Seeds and draws: every random number of the package comes from here.

A stateless seed is an `int32[2]` tensor. The same seed gives the same draw, up to rounding, whether it is compiled by
XLA, run as a graph or eagerly.
"""

import math

import numpy as np
import tensorflow as tf
from tensorflow_probability.python.internal import samplers

# "auto_select" is 10 to 20 times slower than Philox under XLA on a CPU.
_ALGORITHM = "philox"


def as_seed(seed):
    """Makes a stateless seed of an integer or of a pair of integers.

    Args:
      seed: an `int`, or something that converts to an `int32[2]` tensor.

    Returns:
      An `int32[2]` tensor.

    Raises:
      ValueError: if it is neither.
    """
    if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool):
        if not -(2**63) <= seed < 2**63:
            raise ValueError(f"Expected a seed of at most 64 bits. Received: seed={seed}")
        return tf.constant(np.array([seed], np.int64).view(np.int32))
    if isinstance(seed, (str, bytes, float, bool)) or seed is None:
        raise ValueError(f"Expected a seed that is an integer or a pair of integers. Received: seed={seed!r}")
    seed = tf.convert_to_tensor(seed)
    if seed.shape != (2,) or not seed.dtype.is_integer:
        raise ValueError(f"Expected a seed that is an integer or int32[2]. Received: {seed.dtype.name}{seed.shape}")
    return tf.cast(seed, tf.int32)


def next_seed(generator):
    """Draws the next stateless seed, `int32[2]`, of a `keras.random.SeedGenerator` (whose own are `int64[2]`)."""
    return tf.cast(tf.convert_to_tensor(generator.next()), tf.int32)


def fold_in(seed, data):
    """Derives a stateless seed from `seed` and the integer `data`; different data give independent draws."""
    return tf.random.fold_in(seed, data, alg=_ALGORITHM)


def fold_in_rows(seed: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Derives a stateless seed for each row from `seed` and the content of the row.

    Equal rows have equal seeds, whatever their batch and their place in it, on any machine; different rows have
    independent draws. The seeds are a multilinear hash of the row, whose keys `seed` gives: two different rows have
    the same with a probability of 2^-64.

    Args:
      seed: `int32[2]`.
      x: `[n, ...]`, numbers or bools; the bits of float32 count.

    Returns:
      `int32[n, 2]`.

    References:
      Lemire & Kaser 2014, Strongly universal string hashing is fast, arXiv:1202.4961.
    """
    x = tf.reshape(x, [tf.shape(x)[0], math.prod(x.shape[1:])])
    if x.dtype.is_floating:
        x = tf.cast(x, tf.float32) + 0.0  # 0 has a sign, and NaN many forms
        x = tf.bitcast(tf.where(tf.math.is_nan(x), tf.constant(float("nan")), x), tf.int32)
    x = tf.cast(x, tf.int64)
    keys = tf.random.stateless_uniform([2, x.shape[1] + 1], seed, None, None, tf.int64, alg=_ALGORITHM)
    sums = [tf.reduce_sum(x * key[1:], axis=1) + key[0] for key in tf.unstack(keys)]
    # The upper half of the bits, which all of the row has mixed.
    return tf.stack([tf.cast(tf.bitwise.right_shift(s, tf.cast(32, tf.int64)), tf.int32) for s in sums], axis=1)


def derive(seed, *path):
    """Derives a Python integer in [0, 2**31) from an integer seed and a path of integers; `None` stays `None`."""
    if seed is None:
        return None
    return int(np.random.SeedSequence([seed, *path]).generate_state(1)[0] >> 1)


def uniform(shape, seed, dtype=tf.float32):
    """Draws numbers uniform in [0, 1) of `shape` with a stateless seed: multiples of 2^-23, in float64 of 2^-52."""
    return _in_one_to_two(_bits(shape, seed, dtype), dtype) - 1.0


def normal(shape, seed, dtype=tf.float32):
    """Draws standard normal numbers of `shape` with a stateless seed, by the inverse of the distribution function.

    They are symmetric, and at most 5.17 in float32, 8.13 in float64.
    """
    # With the last bit set, 2u - 3 lies in (-1, 1) and never at its ends, where the inverse is infinite. (To add half
    # a bit instead does not do: TensorFlow's graph optimiser adds it to the 3 first, where it is lost.)
    odd = tf.bitwise.bitwise_or(_bits(shape, seed, dtype), tf.cast(1, _unsigned(dtype)))
    return math.sqrt(2.0) * tf.math.erfinv(2.0 * _in_one_to_two(odd, dtype) - 3.0)


def categorical(log_weights, seed, num_samples=1):
    """Draws indices with probabilities in proportion to exp(log_weights) over the first axis, with a stateless seed.

    Args:
      log_weights: `[k, ...]`.
      seed: `int32[2]`.
      num_samples: n, indices drawn, independently, for each place of the other axes.

    Returns:
      An `int32` tensor `[n, ...]` of numbers from 0 to k - 1.
    """
    cumulative = tf.cumsum(tf.nn.softmax(log_weights, axis=0), axis=0)
    shape = tf.concat([[num_samples], tf.shape(log_weights)[1:]], 0)
    # In proportion to the last sum, which rounding keeps from being 1: a sample of weight 0 is never drawn.
    drawn = uniform(shape, seed, log_weights.dtype) * cumulative[-1]
    return tf.reduce_sum(tf.cast(cumulative[:-1] <= drawn[:, tf.newaxis], tf.int32), axis=1)


def _unsigned(dtype):
    return {tf.float32: tf.uint32, tf.float64: tf.uint64}[tf.as_dtype(dtype)]


def _bits(shape, seed, dtype):
    """Draws the bits of a mantissa by Philox: the same compiled and not, which TensorFlow's own floats are not.

    The seed may also be what else TFP takes: `None`, or an integer that goes with `tf.random.set_seed`.
    """
    unsigned, seed = _unsigned(dtype), samplers.sanitize_seed(seed)
    bits = tf.random.stateless_uniform(shape, seed, minval=None, maxval=None, dtype=unsigned, alg=_ALGORITHM)
    return tf.bitwise.right_shift(bits, tf.cast({tf.uint32: 9, tf.uint64: 12}[unsigned], unsigned))


def _in_one_to_two(mantissa, dtype):
    """Makes the floats in [1, 2) that have these bits."""
    one = tf.bitcast(tf.constant(1.0, dtype), _unsigned(dtype))
    return tf.bitcast(tf.bitwise.bitwise_or(mantissa, one), dtype)
