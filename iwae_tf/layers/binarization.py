"""Preprocessing of grey images into binary ones, on the device."""

import keras
import numpy as np
import tensorflow as tf

from iwae_tf import random
from iwae_tf.layers.base import check_finite, check_range

MODES = ("dynamic", "threshold", "none")


@keras.saving.register_keras_serializable(package="iwae_tf")
class StochasticBinarization(keras.layers.Layer):
    """Maps uint8 (0 to 255) or floats in [0, 1] to {0, 1}.

    With `mode="dynamic"` a pixel is 1 with the probability that its value gives, drawn anew at every call
    (Salakhutdinov & Murray 2008; Burda et al. 2015, arXiv:1509.00519); `"threshold"` compares it with 0.5;
    `"none"` only scales uint8 to [0, 1]. Data already in {0, 1} pass unchanged in every mode.

    Args:
      mode: `"dynamic"`, `"threshold"` or `"none"`.
      seed: integer seed of the draws where the layer is called without a seed of its own.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if `mode` is none of these; when called eagerly, if floats leave [0, 1] or are NaN.
      TypeError: when called on integers other than uint8.
    """

    def __init__(self, mode="dynamic", seed=None, **kwargs):
        super().__init__(autocast=False, **kwargs)
        if mode not in MODES:
            raise ValueError(f"Expected mode to be one of {', '.join(MODES)}. Received: {mode!r}")
        self.mode = mode
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed) if mode == "dynamic" else None
        self.built = True

    def check_data(self, x):
        """Raises an error if the array `x` is neither uint8, bool nor floats in [0, 1]."""
        check_finite(x)
        if x.dtype.kind == "f":
            check_range(x, "floats")
        elif x.dtype not in (np.uint8, np.bool_):
            raise TypeError(f"Expected uint8 in [0, 255], bool, or floats in [0, 1]. Received: dtype {x.dtype}")

    def call(self, inputs, seed=None):
        if hasattr(inputs, "numpy"):
            self.check_data(inputs.numpy())
        elif not (inputs.dtype.is_floating or inputs.dtype in (tf.uint8, tf.bool)):
            raise TypeError(f"Expected uint8, bool or floats in [0, 1]. Received: dtype {inputs.dtype.name}")
        dtype = self.dtype_policy.variable_dtype
        if inputs.dtype.is_floating:
            # In a graph (an export, say) the values are first seen here. XLA leaves the assertion out.
            inside = tf.reduce_all((inputs >= 0) & (inputs <= 1))
            tf.debugging.Assert(inside, ["Expected floats in [0, 1]. Received others, such as", tf.reduce_max(inputs)])
        p = tf.cast(inputs, dtype)
        if inputs.dtype == tf.uint8:
            p /= 255.0
        if self.mode == "none":
            return p
        if self.mode == "threshold":
            return tf.cast(p > 0.5, dtype)
        seed = random.next_seed(self.seed_generator) if seed is None else seed
        # u lies in [0, 1): a pixel of 0 is never on, one of 1 always.
        return tf.cast(random.uniform(tf.shape(p), seed, dtype) < p, dtype)

    def get_config(self):
        return {**super().get_config(), "mode": self.mode, "seed": self.seed}
