"""Rules that data must satisfy, the same for arrays, in a graph and in an exported model.

Rules use only operators that NumPy arrays and TensorFlow tensors share, so each is written once.
"""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

#: The values that a rule is about.
Values: TypeAlias = np.ndarray | tf.Tensor


class Rule(NamedTuple):
    """A condition on each of some values.

    Attributes:
      expected: the condition, worded to follow "Expected".
      values: the values, an array or a tensor.
      valid: bool of the shape of `values`: which of them satisfy the condition. NaN never does.
    """

    expected: str
    values: Values
    valid: Values


def is_floating(x: Values) -> bool:
    """Returns whether an array or a tensor holds floats."""
    return x.dtype.kind == "f" if isinstance(x, np.ndarray | np.generic) else x.dtype.is_floating


def as_comparable(x: Values) -> Values:
    """Returns `x` in a dtype that compares with Python's numbers: bools, and tensors of integers, become integers."""
    if tf.is_tensor(x):
        return x if is_floating(x) else tf.cast(x, tf.int64)
    return x.view(np.uint8) if x.dtype == bool else x


def finite(x: Values) -> Rule:
    """Returns the rule that numbers are finite."""
    x = as_comparable(x)
    valid = (x > -math.inf) & (x < math.inf) if is_floating(x) else (x >= 0) | (x < 0)
    return Rule("finite numbers", x, valid)


def between(x: Values, what: str, low: float = 0, high: float = 1) -> Rule:
    """Returns the rule that numbers are finite and lie in [low, high]; either end may be infinite."""
    if low == -math.inf and high == math.inf:
        return finite(x)
    x = as_comparable(x)
    below = x <= high if high < math.inf else finite(x).valid
    return Rule(f"{what} in [{low:g}, {high:g}]", x, (x >= low) & below)


def whole(x: Values, what: str) -> Rule:
    """Returns the rule that numbers are whole."""
    x = as_comparable(x)
    with np.errstate(invalid="ignore"):  # an infinite number has no remainder
        return Rule(f"{what} to be whole numbers", x, x % 1 == 0)


def allow_missing(rules: Iterable[Rule]) -> Iterator[Rule]:
    """Changes rules so that NaN, which stands for a missing value, satisfies them too."""
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
        invalid = values[~np.asarray(rule.valid)]
        if not invalid.size:
            continue
        nonfinite = invalid[~np.isfinite(invalid)]
        if nonfinite.size:
            received = f"{nonfinite.size} NaN or infinite values"
            raise ValueError(f"Expected finite data, {rule.expected}. Received: {received}")
        example = f", such as {invalid.flat[0]:.6g}" if invalid.size < np.size(values) else ""
        received = f"values from {np.nanmin(values):.6g} to {np.nanmax(values):.6g}{example}"
        raise ValueError(f"Expected {rule.expected}. Received: {received}")


def assert_rules(x: tf.Tensor, rules: Iterable[Rule]) -> tf.Tensor:
    """Returns `x`, which a graph computes only after every rule has passed an assertion.

    XLA ignores assertions, so call this outside of XLA programs.
    """
    assertions = []
    for expected, values, valid in rules:
        invalid = tf.boolean_mask(values, ~valid)
        message = [f"Expected {expected}. Received:", invalid[:1]]
        assertions.append(tf.debugging.Assert(tf.size(invalid) == 0, message))
    with tf.control_dependencies([assertion for assertion in assertions if assertion is not None]):
        return tf.identity(x)


def are_satisfied(rules: Iterable[Rule]) -> tf.Tensor:
    """Returns whether tensors satisfy every rule, as a scalar bool tensor."""
    return tf.reduce_all([tf.reduce_all(valid) for _, _, valid in rules])
