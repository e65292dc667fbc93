"""Seeds and draws: every random number of the package comes from here.

A stateless seed is an `int32[2]` tensor. The same seed gives the same draw, up to rounding, by XLA, in a graph and
eagerly.
"""

import functools
import math
from collections.abc import Sequence
from typing import overload

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability.python.internal import samplers

from iwae_tf.types import Seed

# What "auto_select" chooses is 10 to 20 times slower under XLA on a CPU.
_PHILOX = tf.random.Algorithm.PHILOX.value
# The key that TensorFlow scrambles the seeds of Philox with.
_SCRAMBLING_KEY = 0x02461E293EC8F720


def as_seed(seed: Seed | Sequence[int]) -> tf.Tensor:
    """Converts an integer or a pair of integers to a stateless seed.

    Args:
      seed: an integer of at most 64 bits, or anything that converts to an `int32[2]` tensor.

    Returns:
      An `int32[2]` tensor.

    Raises:
      ValueError: if `seed` is neither.

    Example:
      ```python
      random.as_seed(7)  # [7, 0]
      ```
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


def next_seed(generator: keras.random.SeedGenerator) -> tf.Tensor:
    """Draws the next stateless seed, `int32[2]`, from a Keras generator, whose own seeds are `int64[2]`."""
    return tf.cast(tf.convert_to_tensor(generator.next()), tf.int32)


def fold_in(seed: tf.Tensor | None, data: int | tf.Tensor) -> tf.Tensor:
    """Derives a stateless seed from `seed` and the integer `data`; different data give independent draws.

    With `None` the result is a new seed at every call, as for the distributions of TFP.

    Example:
      ```python
      seed = random.as_seed(0)
      first, second = random.fold_in(seed, 0), random.fold_in(seed, 1)
      ```
    """
    data = tf.convert_to_tensor(data)
    return tf.stack([draw_integers([], samplers.sanitize_seed(seed) if seed is None else seed, data.dtype), data])


def fold_in_rows(seed: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Derives a stateless seed for each row from `seed` and the content of the row.

    Equal rows get equal seeds, in any batch, at any place and on any machine; different rows get independent draws. The
    seeds are a multilinear hash of the row with keys from `seed`: two different rows collide with a probability of
    2^-64.

    Args:
      seed: `int32[2]`.
      x: `[n, ...]`, numbers or bools; floats are hashed by their float32 bits.

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
    keys = draw_integers([2, x.shape[1] + 1], seed, tf.int64)
    sums = [tf.reduce_sum(x * key[1:], axis=1) + key[0] for key in tf.unstack(keys)]
    # The hash is strongly universal in the upper half of its bits only.
    return tf.stack([tf.cast(tf.bitwise.right_shift(s, tf.cast(32, tf.int64)), tf.int32) for s in sums], axis=1)


@overload
def derive(seed: int, *path: int) -> int: ...


@overload
def derive(seed: None, *path: int) -> None: ...


@overload
def derive(seed: int | None, *path: int) -> int | None: ...


def derive(seed: int | None, *path: int) -> int | None:
    """Derives an integer in [0, 2**31) from an integer seed and a path of integers; `None` stays `None`."""
    if seed is None:
        return None
    return int(np.random.SeedSequence([seed, *path]).generate_state(1)[0] >> 1)


def draw_integers(shape: Sequence[int] | tf.Tensor, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draws integers from the whole range of `dtype` by Philox.

    They are those of `tf.random.stateless_uniform(..., None, None, dtype, alg="philox")`. That function traces about 30
    operations, and a training step draws dozens of times; this one traces 7.
    """
    draw = functools.partial(tf.raw_ops.StatelessRandomUniformFullIntV2, alg=_PHILOX)
    key = tf.constant([_SCRAMBLING_KEY], tf.uint64)
    mix = draw(shape=[2, 2], key=key, counter=tf.cast(seed, tf.uint64), dtype=tf.uint32)
    mix = tf.bitcast(mix, tf.uint64)
    return draw(shape=shape, key=mix[:1], counter=mix * tf.constant([0, 1], tf.uint64), dtype=dtype)


def uniform(shape: Sequence[int] | tf.Tensor, seed: Seed | None, dtype: tf.DType | str = tf.float32) -> tf.Tensor:
    """Draws uniform numbers in [0, 1) with a stateless seed: multiples of 2^-23, or 2^-52 in float64."""
    return _in_one_to_two(_bits(shape, seed, dtype), dtype) - 1.0


def normal(shape: Sequence[int] | tf.Tensor, seed: Seed | None, dtype: tf.DType | str = tf.float32) -> tf.Tensor:
    """Draws standard normal numbers with a stateless seed, by inverting the distribution function.

    The draws are symmetric about 0, and at most 5.17 in size (8.13 in float64).

    Example:
      ```python
      random.normal([3, 5], random.as_seed(0)).shape  # [3, 5]
      ```
    """
    # With the last bit set, 2u - 3 lies in (-1, 1) and never at an end, where the inverse is infinite. Adding half a
    # bit instead would fail: TensorFlow's graph optimiser adds it to the 3 first, where rounding removes it.
    odd = tf.bitwise.bitwise_or(_bits(shape, seed, dtype), tf.cast(1, _unsigned(dtype)))
    return math.sqrt(2.0) * tf.math.erfinv(2.0 * _in_one_to_two(odd, dtype) - 3.0)


def categorical(log_weights: tf.Tensor, seed: Seed | None, num_samples: int = 1) -> tf.Tensor:
    """Draws indices along the first axis with probabilities proportional to exp(log_weights), with a stateless seed.

    Args:
      log_weights: `[k, ...]`.
      seed: `int32[2]`.
      num_samples: n, independent indices for each position of the other axes.

    Returns:
      An `int32` tensor `[n, ...]` of numbers from 0 to k - 1.

    Example:
      ```python
      random.categorical(model.log_weights(x, 50), random.as_seed(0), num_samples=2).shape  # [2, 20]
      ```
    """
    cumulative = tf.cumsum(tf.nn.softmax(log_weights, axis=0), axis=0)
    shape = tf.concat([[num_samples], tf.shape(log_weights)[1:]], 0)
    # The last sum may be below 1 by rounding. Scaling by it makes sure that an index of weight 0 is never drawn.
    thresholds = uniform(shape, seed, log_weights.dtype) * cumulative[-1]
    return tf.reduce_sum(tf.cast(cumulative[:-1] <= thresholds[:, tf.newaxis], tf.int32), axis=1)


def _unsigned(dtype: tf.DType | str) -> tf.DType:
    return {tf.float32: tf.uint32, tf.float64: tf.uint64}[tf.as_dtype(dtype)]


def _bits(shape: Sequence[int] | tf.Tensor, seed: Seed | None, dtype: tf.DType | str) -> tf.Tensor:
    """Draws the bits of a mantissa by Philox. Unlike TensorFlow's own floats they are the same by XLA and without.

    As in TFP the seed may also be `None`, or an integer that is combined with `tf.random.set_seed`.
    """
    unsigned, seed = _unsigned(dtype), samplers.sanitize_seed(seed)
    bits = draw_integers(shape, seed, unsigned)
    return tf.bitwise.right_shift(bits, tf.cast({tf.uint32: 9, tf.uint64: 12}[unsigned], unsigned))


def _in_one_to_two(mantissa: tf.Tensor, dtype: tf.DType | str) -> tf.Tensor:
    """Returns the floats in [1, 2) with these bits as their mantissa."""
    one = tf.bitcast(tf.constant(1.0, dtype), _unsigned(dtype))
    return tf.bitcast(tf.bitwise.bitwise_or(mantissa, one), dtype)
