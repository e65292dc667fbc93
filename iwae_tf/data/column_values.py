"""The values of one column of a table: from a pandas series to numbers, and back."""

import reprlib
import warnings
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api import types

from iwae_tf.layers.columns import Column


class Meaning(NamedTuple):
    """What pandas can infer about values.

    Attributes:
      is_number: whether the values are numbers or bools.
      dtype: name of the dtype to which objects of this meaning decode.
    """

    is_number: bool
    dtype: str


#: The meanings that a column may have, by their names in `pandas.api.types.infer_dtype`.
MEANINGS = {
    "boolean": Meaning(True, "boolean"),
    "integer": Meaning(True, "Int64"),
    "floating": Meaning(True, "float64"),
    "mixed-integer-float": Meaning(True, "float64"),
    "string": Meaning(False, "object"),
    "mixed-integer": Meaning(False, "object"),
    "mixed": Meaning(False, "object"),
}


def is_category(values: pd.Series) -> bool:
    """Returns whether a series has a category dtype."""
    return isinstance(values.dtype, pd.CategoricalDtype)


def infer_meaning(values: pd.Series) -> str:
    """Infers what the values of a series, or of its categories, are: a key of `MEANINGS`, or a name not in it."""
    return types.infer_dtype(values.cat.categories if is_category(values) else values, skipna=True)


def as_plain(name: str | int, values: pd.Series) -> pd.Series:
    """Returns a column in a dtype that is neither sparse nor an Arrow dictionary.

    Raises:
      TypeError: if the column holds anything but numbers, bools, strings or categories of them, or mixes bools with
        others.
    """
    if isinstance(values.dtype, pd.SparseDtype):
        values = values.astype(values.dtype.subtype)
    elif isinstance(values.dtype, pd.ArrowDtype) and pa.types.is_dictionary(values.dtype.pyarrow_dtype):
        values = values.astype(object).astype("category")
    present = values.dropna()
    classes = set(map(type, present)) if values.dtype == object else set()
    others = [cls for cls in classes if not issubclass(cls, (str, bool, int, float, np.generic))]
    # True equals 1 in Python, so the two would be the same category.
    bools = [cls for cls in classes if issubclass(cls, (bool, np.bool_))]
    if others or 0 < len(bools) < len(classes) or (len(present) and infer_meaning(values) not in MEANINGS):
        received = ", ".join(sorted(cls.__name__ for cls in classes)) or values.dtype
        raise TypeError(
            f"Expected numbers, bools, strings or categories of them in column {name!r}. Received: {received}, such as "
            f"{reprlib.repr(present.iloc[0])}"
        )
    return values


def to_numbers(values: pd.Series, column: Column) -> np.ndarray:
    """Converts a plain series to float64 numbers, NaN where a value is missing.

    An unknown category becomes NaN with a warning.

    Raises:
      ValueError: if values do not match the column's kind.
    """
    if column.kind == "category":
        numbers = pd.Index(column.categories, dtype=object).get_indexer(values.astype(object)).astype(np.float64)
        unknown = values[(numbers < 0) & values.notna().to_numpy()].unique().tolist()
        if unknown:
            message = f"Categories that column {column.name!r} does not have become missing: {unknown}"
            warnings.warn(message, stacklevel=3)
        return np.where(numbers < 0, np.nan, numbers)
    if values.notna().any() and not MEANINGS[infer_meaning(values)].is_number:
        raise ValueError(
            f"Expected numbers in column {column.name!r}, {column.kind}. Received: text, such as "
            f"{values.dropna().iloc[0]!r}; pd.to_numeric(frame[{column.name!r}]) converts text to numbers"
        )
    numbers = values.to_numpy(np.float64, na_value=np.nan)
    column.check(numbers)
    with np.errstate(over="ignore"):
        column.check(numbers.astype(np.float32))  # the largest numbers become infinite, and the smallest 0
    return numbers


def warn_of_lost_digits(values: pd.Series, numbers: np.ndarray, name: str | int) -> None:
    """Warns if float32 changes whole numbers, which may be identifiers, or rounds off most of what tells values apart.

    Args:
      values: the column as a plain series.
      numbers: the column as float64 numbers.
      name: name of the column.
    """
    present = numbers[~np.isnan(numbers)]
    lost = None
    if (present == np.floor(present)).all():
        # Reads large values from the series, since float64 may have lost digits already.
        large = values[np.abs(numbers) > 2**24].drop_duplicates().tolist()
        lost = next((value for value in large if int(value) != int(np.float32(value))), None)
    elif (errors := np.abs(present.astype(np.float32) - present)).max() > 1e-3 * present.std() and np.ptp(present):
        lost = present[errors.argmax()]
    if lost is not None:
        warnings.warn(
            f"float32 cannot represent the digits of column {name!r}: {lost} becomes {float(np.float32(lost)):.17g}. "
            f"Subtract an offset or scale it, or pass columns={{{name!r}: 'category'}} if its values are labels",
            stacklevel=4,
        )


def from_numbers(numbers: np.ndarray, column: Column, index: pd.Index | None) -> pd.Series:
    """Converts numbers, NaN where a value is missing, to a series of the column's dtype."""
    dtype: Any = types.pandas_dtype(column.dtype.removeprefix("ordered "))
    if dtype == "category":
        dtype = pd.CategoricalDtype(list(column.categories), ordered=column.dtype.startswith("ordered"))
    if column.kind == "category":
        lookup = np.array([*column.categories, None], dtype=object)
        numbers = lookup[np.where(np.isnan(numbers), len(column.categories), numbers).astype(int)]
    values = pd.Series(numbers, index, dtype=object if column.kind == "category" else np.float64)
    is_integer = types.is_integer_dtype(dtype)
    if column.kind != "category" and (is_integer or types.is_bool_dtype(dtype)):
        values = values.round()
    if column.kind != "category" and is_integer and not _fits(values, dtype):
        return values
    if isinstance(dtype, np.dtype) and values.isna().any():  # NumPy's integers and bools have no missing value
        nullable = {"b": "boolean", "i": dtype.name.capitalize(), "u": dtype.name.replace("uint", "UInt")}
        dtype = nullable.get(dtype.kind, dtype)
    return values.astype(dtype)


def _fits(values: pd.Series, dtype: Any) -> bool:
    """Returns whether whole numbers are in the range of an integer dtype; draws from a model may be outside."""
    limits = np.iinfo(getattr(dtype, "numpy_dtype", dtype))
    present = values.dropna()
    return bool(((present >= limits.min) & (present < float(limits.max) + 1)).all())
