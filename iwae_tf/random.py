"""Seeds and draws: every random number of the package comes from here.

A stateless seed is an `int32[2]` tensor. The same seed gives the same draw within one program; compiled by XLA
and not compiled the draws differ, as they do everywhere in TensorFlow.
"""

import numpy as np
import tensorflow as tf

# "auto_select" means ThreeFry-by-another-name under XLA on a CPU, 10 to 20 times slower than Philox there.
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


def derive(seed, *path):
    """Derives a Python integer in [0, 2**31) from an integer seed and a path of integers; `None` stays `None`."""
    if seed is None:
        return None
    return int(np.random.SeedSequence([seed, *path]).generate_state(1)[0] >> 1)


def normal(shape, seed, dtype=tf.float32):
    """Draws standard normal numbers of `shape` with a stateless seed."""
    return tf.random.stateless_normal(shape, seed, dtype=dtype, alg=_ALGORITHM)


def uniform(shape, seed, dtype=tf.float32):
    """Draws numbers uniform in [0, 1) of `shape` with a stateless seed."""
    return tf.random.stateless_uniform(shape, seed, dtype=dtype, alg=_ALGORITHM)
