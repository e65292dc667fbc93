"""Preprocessing of grey images into binary ones, on the device."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from iwae_tf import random
from iwae_tf.checks import check_choice
from iwae_tf.layers import rules

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

    #: The smallest and the largest number that the layer returns.
    support = (0, 1)

    def __init__(self, mode="dynamic", seed=None, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.mode = check_choice(mode, "mode", MODES)
        self.seed = None if seed is None else int(seed)  # Keras refuses NumPy's integers.
        self.seed_generator = keras.random.SeedGenerator(self.seed) if mode == "dynamic" else None
        self.built = True

    def rules(self, x: Any) -> Iterator[rules.Rule]:
        """Yields the rules that data `x`, an array or a tensor, must satisfy: floats lie in [0, 1]."""
        if rules.is_floating(x):
            yield rules.between(x, "floats")

    def check_data(self, x: np.ndarray) -> None:
        """Raises an error unless the array `x` is uint8, bool or floats in [0, 1].

        Raises:
          TypeError: if the dtype is another one.
          ValueError: if floats leave [0, 1] or are NaN.
        """
        rules.check_numeric(x)
        if x.dtype.kind in "iu" and x.dtype != np.uint8:
            raise TypeError(f"Expected uint8 in [0, 255], bool, or floats in [0, 1]. Received: dtype {x.dtype}")
        rules.check(self.rules(x))

    def check_all(self, x: np.ndarray) -> None:
        """Raises a `ValueError` if all of the data are uint8 of 0 and 1 only: a mask, which would be nearly black.

        A single image may be as dark as that, so this is for whole data sets.
        """
        if x.dtype == np.uint8 and x.size and x.max() == 1:
            raise ValueError(
                "Expected uint8 pixels from 0 to 255. Received: only 0 and 1, a mask; pass it as bool or floats"
            )

    def call(self, inputs, seed=None):
        if hasattr(inputs, "numpy"):
            self.check_data(inputs.numpy())
        elif not (inputs.dtype.is_floating or inputs.dtype in (tf.uint8, tf.bool)):
            raise TypeError(f"Expected uint8, bool or floats in [0, 1]. Received: dtype {inputs.dtype.name}")
        else:
            inputs = rules.assert_rules(inputs, self.rules(inputs))
        dtype = self.dtype_policy.variable_dtype
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
