"""Rules that data must satisfy, the same for arrays, in a graph and in an exported model.

Rules use only operators that NumPy arrays and TensorFlow tensors share, so each is written once.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf


class Rule(NamedTuple):
    """A condition on each of some values.

    Attributes:
      expected: the condition in words that follow "Expected".
      values: the values, an array or a tensor.
      valid: bool of the same shape: which values satisfy the condition. NaN never does.
    """

    expected: str
    values: Any
    valid: Any


def is_floating(x: Any) -> bool:
    """Returns whether an array or a tensor holds floats."""
    return x.dtype.is_floating if tf.is_tensor(x) else x.dtype.kind == "f"


def comparable(x: Any) -> Any:
    """Returns `x` in a dtype that compares with Python's numbers: bools and tensors of integers as integers."""
    if tf.is_tensor(x):
        return x if x.dtype.is_floating else tf.cast(x, tf.int64)
    return x.view(np.uint8) if x.dtype == bool else x


def finite(x: Any) -> Rule:
    """Requires finite numbers."""
    x = comparable(x)
    valid = (x > -math.inf) & (x < math.inf) if is_floating(x) else (x >= 0) | (x < 0)
    return Rule("finite numbers", x, valid)


def between(x: Any, what: str, low: float = 0, high: float = 1) -> Rule:
    """Requires finite numbers in [low, high]; either end may be infinite."""
    if low == -math.inf and high == math.inf:
        return finite(x)
    x = comparable(x)
    below = x <= high if high < math.inf else finite(x).valid
    return Rule(f"{what} in [{low:g}, {high:g}]", x, (x >= low) & below)


def whole(x: Any, what: str) -> Rule:
    """Requires whole numbers."""
    x = comparable(x)
    with np.errstate(invalid="ignore"):  # of an infinite number
        return Rule(f"{what} to be whole numbers", x, x % 1 == 0)


def admit_missing(rules: Iterable[Rule]) -> Iterator[Rule]:
    """Yields the same rules, except that NaN, which stands for a missing value, satisfies them too."""
    for rule in rules:
        yield rule._replace(valid=rule.valid | (rule.values != rule.values))


def check_numeric(x: np.ndarray) -> None:
    """Raises a `TypeError` unless the array holds numbers or bools."""
    if x.dtype.kind not in "buif":
        raise TypeError(f"Expected numbers. Received: an array of dtype {x.dtype}")


def check(rules: Iterable[Rule]) -> None:
    """Raises a `ValueError` for the first rule that the values of an array break."""
    for rule in rules:
        values = np.asarray(rule.values)
        broken = values[~np.asarray(rule.valid)]
        if not broken.size:
            continue
        lost = broken[~np.isfinite(broken)]
        if lost.size:
            raise ValueError(f"Expected finite data, {rule.expected}. Received: {lost.size} NaN or infinite values")
        some = f", such as {broken.flat[0]:.6g}" if broken.size < np.size(values) else ""
        received = f"values from {np.nanmin(values):.6g} to {np.nanmax(values):.6g}{some}"
        raise ValueError(f"Expected {rule.expected}. Received: {received}")


def asserted(x: tf.Tensor, rules: Iterable[Rule]) -> tf.Tensor:
    """Returns `x` as a tensor that a graph computes only after it has asserted every rule.

    XLA ignores assertions, so this belongs outside of its programs.
    """
    assertions = []
    for expected, values, valid in rules:
        broken = tf.boolean_mask(values, ~valid)
        told = [f"Expected {expected}. Received:", broken[:1]]
        assertions.append(tf.debugging.Assert(tf.size(broken) == 0, told))
    with tf.control_dependencies([assertion for assertion in assertions if assertion is not None]):
        return tf.identity(x)


def all_valid(rules: Iterable[Rule]) -> tf.Tensor:
    """Returns whether tensors satisfy every rule, as a scalar bool tensor."""
    return tf.reduce_all([tf.reduce_all(valid) for _, _, valid in rules])
