"""Preprocessing of grey images, on the device: as values in [0, 1], or binary."""

from collections.abc import Iterator
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from iwae_tf import random
from iwae_tf.checks import check_choice
from iwae_tf.layers import rules
from iwae_tf.layers.rules import Rule, Values

MODES = ("dynamic", "threshold", "none")


@keras.saving.register_keras_serializable(package="iwae_tf")
class Grey(keras.layers.Layer):
    """Scales uint8 (0 to 255) to [0, 1]; floats in [0, 1] and bools keep their values.

    Args:
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: when called eagerly, if floats lie outside [0, 1] or are NaN.
      TypeError: when called on integers other than uint8.

    Example:
      ```python
      model = iwae_tf.mlp((8, 8, 1), likelihood="logistic", preprocessing=layers.Grey())
      layers.Grey()(x)  # float32 in [0, 1], [20, 8, 8, 1]
      ```
    """

    #: The smallest and the largest number that the layer returns.
    support = (0, 1)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.built = True

    def rules(self, x: Values) -> Iterator[Rule]:
        """Yields the rules that data `x`, an array or a tensor, must satisfy: floats lie in [0, 1]."""
        if rules.is_floating(x):
            yield rules.between(x, "floats")

    def check_data(self, x: np.ndarray) -> None:
        """Raises an error unless the array `x` is uint8, bool or floats in [0, 1].

        Raises:
          TypeError: if `x` has another dtype.
          ValueError: if floats lie outside [0, 1] or are NaN.
        """
        rules.check_numeric(x)
        if x.dtype.kind in "iu" and x.dtype != np.uint8:
            raise TypeError(f"Expected uint8 in [0, 255], bool, or floats in [0, 1]. Received: dtype {x.dtype}")
        rules.check(self.rules(x))

    def check_all(self, x: np.ndarray) -> None:
        """Raises a `ValueError` if a whole data set is uint8 of 0 and 1 only: a mask, which would be almost black.

        Not for single images, which may be that dark.
        """
        if x.dtype == np.uint8 and x.size and x.max() == 1:
            raise ValueError(
                "Expected uint8 pixels from 0 to 255. Received: only 0 and 1, a mask; pass it as bool or floats"
            )

    def call(self, inputs: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        if hasattr(inputs, "numpy"):
            self.check_data(inputs.numpy())
        elif not (inputs.dtype.is_floating or inputs.dtype in (tf.uint8, tf.bool)):
            raise TypeError(f"Expected uint8, bool or floats in [0, 1]. Received: dtype {inputs.dtype.name}")
        else:
            inputs = rules.assert_rules(inputs, self.rules(inputs))
        values = tf.cast(inputs, self.dtype_policy.variable_dtype)
        return values / 255.0 if inputs.dtype == tf.uint8 else values


@keras.saving.register_keras_serializable(package="iwae_tf")
class StochasticBinarization(Grey):
    """Maps uint8 (0 to 255) or floats in [0, 1] to {0, 1}.

    With `mode="dynamic"` the value of a pixel is the probability that it becomes 1, drawn again at every call
    (Salakhutdinov & Murray 2008; Burda et al. 2015, arXiv:1509.00519). `"threshold"` compares the value with 0.5.
    `"none"` keeps grey values, like `Grey`. Data that are already 0 and 1 pass unchanged in every mode.

    Args:
      mode: `"dynamic"`, `"threshold"` or `"none"`.
      seed: integer seed of the draws for calls without a seed of their own.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if `mode` is not one of these; when called eagerly, if floats lie outside [0, 1] or are NaN.
      TypeError: when called on integers other than uint8.

    Example:
      ```python
      binarize = layers.StochasticBinarization(seed=0)
      binarize(x)  # float32 0 and 1, [20, 8, 8, 1]
      ```
    """

    def __init__(
        self, mode: Literal["dynamic", "threshold", "none"] = "dynamic", seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.mode = check_choice(mode, "mode", MODES)
        self.seed = None if seed is None else int(seed)  # Keras refuses NumPy's integers.
        self.seed_generator = keras.random.SeedGenerator(self.seed) if mode == "dynamic" else None

    def call(self, inputs: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        p = super().call(inputs)
        if self.mode == "none":
            return p
        if self.mode == "threshold":
            return tf.cast(p > 0.5, p.dtype)
        seed = random.next_seed(self.seed_generator) if seed is None else seed
        # u lies in [0, 1): a pixel of 0 never becomes 1, a pixel of 1 always does.
        return tf.cast(random.uniform(tf.shape(p), seed, p.dtype) < p, p.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode, "seed": self.seed}
