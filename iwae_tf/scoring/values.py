"""The values of columns in files: the numbers that they stand for."""

import math
import reprlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from iwae_tf.scoring.headers import as_number

#: A function from the text of a value to its number, NaN if it is missing; it raises a `ValueError` for other text.
Reader: TypeAlias = Callable[[str], float]


def make_reader(column: str | int, labels: Sequence[Any] = ()) -> Reader:
    """Makes the function that reads the values of a column.

    Args:
      column: name or number of the column, for error messages.
      labels: the labels of the codes 0, 1, ... of a category: strings, numbers or bools. Its values are labels or, if
        no label is a number, codes. Without labels the values are numbers.
    """
    texts = {label: float(code) for code, label in enumerate(labels) if isinstance(label, str)}
    numbers = {float(label): float(code) for code, label in enumerate(labels) if not isinstance(label, str)}
    codes = numbers or {float(code): float(code) for code in range(len(labels))}
    expected = "a number"
    if labels:
        expected = ", ".join(map(repr, labels[:5])) + (" or another category" if len(labels) > 5 else "")

    def read(text: str) -> float:
        if (label := text.strip()) in texts:
            return texts[label]
        number = as_number(text)
        if number is None or not (math.isnan(number) or not labels or number in codes):
            raise ValueError(f"Expected {expected} in column {column!r}. Received: {reprlib.repr(text)}")
        return codes.get(number, number)

    return read


def read_or_explain(read: Reader, text: str) -> float | str:
    """Returns the number of a value, or the reason why it has none."""
    try:
        return read(text)
    except ValueError as error:
        return str(error)
