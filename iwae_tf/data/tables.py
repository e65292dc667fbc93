"""Data frames as arrays of numbers, and back."""

import dataclasses
import reprlib
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api import types

from iwae_tf.layers.columns import KINDS, Column

#: For what pandas infers of values: whether they are numbers, and the dtype that objects of this kind decode to.
_MEANINGS = {
    "boolean": (True, "boolean"),
    "integer": (True, "Int64"),
    "floating": (True, "float64"),
    "mixed-integer-float": (True, "float64"),
    "string": (False, "object"),
    "mixed-integer": (False, "object"),
    "mixed": (False, "object"),
}


@dataclasses.dataclass(frozen=True)
class Table:
    """A data frame as numbers.

    Attributes:
      array: float32 `[n, num_columns]`. Categories are codes 0, 1, ..., and NaN stands for a missing value.
      columns: tuple of `layers.Column`.
    """

    array: np.ndarray
    columns: tuple[Column, ...]

    def __repr__(self):
        return f"<Table of {len(self.array)} rows, columns: {', '.join(str(column.name) for column in self.columns)}>"

    def encode(self, frame):
        """Returns another frame of these columns as such an array; see `encode`."""
        return encode(frame, self.columns)

    def decode(self, array, index=None):
        """Returns such an array as a frame; see `decode`."""
        return decode(array, self.columns, index)


def from_dataframe(frame, columns=None):
    """Makes numbers of a data frame.

    The kind of a column follows from its values, unless it is given: bools are binary; integers are binary where all
    are 0 or 1, counts where none is negative, and otherwise real; other numbers are real; strings and pandas categories
    are categories. A column of objects is what its objects are.

    Args:
      frame: a pandas `DataFrame`, in which values may be missing.
      columns: dict from names of columns to their kinds, for those that should be of another kind than inferred:
        `"real"`, `"positive"`, `"count"`, `"binary"` or `"category"`.

    Returns:
      A `Table`. A warning names the columns whose digits float32 has no room for.

    Raises:
      TypeError: if `frame` is no `DataFrame`, or a column holds anything but numbers, bools and strings (dates, lists).
      ValueError: if there are no rows or columns, names are neither strings nor integers or look the same in print,
        `columns` names others, a column has no values or only one category, values are not of the kind, or numbers are
        written as text.
    """
    by_name = _by_name(frame)
    if frame.empty:
        raise ValueError(f"Expected a frame of rows and columns. Received: {len(frame)} rows, {frame.shape[1]} columns")
    names = frame.columns.tolist()
    if not all(isinstance(name, (str, int)) and not isinstance(name, bool) for name in names):
        raise ValueError(
            f"Expected names of columns that are strings or integers, such as frame.rename(columns=str) makes of one "
            f"level of them. Received: {names}"
        )
    kinds = columns or {}
    if not set(kinds) <= set(names):
        raise ValueError(f"Expected columns of the frame, {names}. Received: {list(kinds)}")
    made = tuple(_column(name, by_name[str(name)], kinds.get(name)) for name in names)
    return Table(encode(frame, made), made)


def encode(frame, columns):
    """Returns a frame as an array.

    Args:
      frame: a pandas `DataFrame` with these columns, in any order; others are left out.
      columns: sequence of `layers.Column`, such as `table.columns` or `model.decoder[-1].columns`.

    Returns:
      float32 `[n, len(columns)]`. A category that is not in the column's list becomes NaN, missing, with a warning.

    Raises:
      TypeError: if `frame` is no `DataFrame`, or a column holds anything but numbers, bools and strings.
      ValueError: if a column is missing, two look the same in print, or values are not of the column's kind.
    """
    by_name = _by_name(frame)
    absent = [column.name for column in columns if str(column.name) not in by_name]
    if absent:
        raise ValueError(f"Expected columns {absent} in the frame. Received: {list(by_name)}")
    numbers = []
    for column in columns:
        values = _plain(column.name, by_name[str(column.name)])
        numbers.append(_numbers(values, column))
        if column.kind != "category":
            _warn_of_lost_digits(values, numbers[-1], column.name)
    return np.stack(numbers, axis=1).astype(np.float32)


def decode(array, columns, index=None):
    """Returns an array as a frame of the original dtypes.

    Args:
      array: `[n, len(columns)]`, such as `encode`, `model.impute`, `model.reconstruct` and `model.sample` give. Means
        of integer and bool columns are rounded, and stay floats where the dtype has no room for them; NaN becomes
        missing.
      columns: sequence of `layers.Column`.
      index: that of the frame.

    Returns:
      A pandas `DataFrame`.

    Raises:
      ValueError: if the array has another shape.
    """
    array = np.asarray(array)
    if array.ndim != 2 or array.shape[1] != len(columns):
        raise ValueError(f"Expected an array of shape [n, {len(columns)}]. Received: shape {array.shape}")
    return pd.DataFrame({c.name: _values(part, c, index) for c, part in zip(columns, array.T, strict=True)}, index)


def _by_name(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """Returns the columns of a frame by their names as text."""
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"Expected a pandas DataFrame. Received: {type(frame).__name__}")
    by_name = {str(name): values for name, values in frame.items()}
    if len(by_name) < frame.shape[1]:
        raise ValueError(
            f"Expected columns of different names, also in print. Received: columns {frame.columns.tolist()}"
        )
    return by_name


def _plain(name: str | int, values: pd.Series) -> pd.Series:
    """Returns a column that is neither sparse nor an Arrow dictionary; a `TypeError` says what else it cannot be."""
    if isinstance(values.dtype, pd.SparseDtype):
        values = values.astype(values.dtype.subtype)
    elif isinstance(values.dtype, pd.ArrowDtype) and pa.types.is_dictionary(values.dtype.pyarrow_dtype):
        values = values.astype(object).astype("category")
    found = values.dropna()
    objects = set(map(type, found)) if values.dtype == object else set()
    strange = [kind for kind in objects if not issubclass(kind, (str, bool, int, float, np.generic))]
    # True is 1 to Python, and would be the same category.
    bools = [kind for kind in objects if issubclass(kind, (bool, np.bool_))]
    if strange or 0 < len(bools) < len(objects) or (len(found) and _meaning(values) not in _MEANINGS):
        held = ", ".join(sorted(kind.__name__ for kind in objects)) or values.dtype
        raise TypeError(
            f"Expected numbers, bools, strings or categories of them in column {name!r}. Received: {held}, such as "
            f"{reprlib.repr(found.iloc[0])}"
        )
    return values


def _meaning(values):
    """Infers what the values of a column are, or those that its categories stand for; see `_MEANINGS`."""
    return types.infer_dtype(values.cat.categories if _is_category(values) else values, skipna=True)


def _is_category(values):
    return isinstance(values.dtype, pd.CategoricalDtype)


def _kind(name, values):
    """Infers the kind of a column of a frame."""
    found, meaning = values.dropna(), _meaning(values)
    if _is_category(values):
        return "category"
    if not _MEANINGS[meaning][0]:
        _check_text(name, found)
        return "category"
    if meaning == "boolean":
        return "binary"
    if meaning == "integer":
        return "binary" if found.isin((0, 1)).all() else "count" if (found >= 0).all() else "real"
    return "real"


def _check_text(name, values):
    """Raises a `ValueError` if most values are numbers written as text, of which each would be a category."""
    distinct = pd.Series(values.unique().tolist(), dtype=object)
    numbers = pd.to_numeric(distinct, errors="coerce").notna()
    if numbers.mean() > 0.5:
        some = "" if numbers.all() else ', errors="coerce"'
        raise ValueError(
            f"Expected text in column {name!r}. Received: numbers as text, such as {distinct[numbers].iloc[0]!r}. "
            f"Convert them by pd.to_numeric(frame[{name!r}]{some}) or, if they are labels, pass "
            f"columns={{{name!r}: 'category'}}"
        )


def _column(name, values, kind):
    """Makes the `Column` of a column of a frame."""
    values = _plain(name, values)
    found = values.dropna()
    if found.empty:
        raise ValueError(f"Expected column {name!r} to hold a value. Received: none")
    kind = kind or _kind(name, values)
    if kind == "category":
        return Column(name, kind, categories=_categories(values), dtype=_dtype(values, kind))
    column = Column(name, kind, dtype=_dtype(values, kind))
    if KINDS[kind].transform is None:
        return column
    numbers = np.asarray(KINDS[kind].transform(_numbers(found, column)))
    # A column that does not vary has no unit of its own.
    return dataclasses.replace(column, loc=float(numbers.mean()), scale=float(numbers.std()) or 1.0)


def _dtype(values, kind):
    """Returns the name of the dtype that a column decodes to: its own, where it says what the values are."""
    if _is_category(values):
        ordered = "ordered category" if values.cat.ordered else "category"
        return ordered if kind == "category" else str(values.cat.categories.dtype)
    return _MEANINGS[_meaning(values)][1] if values.dtype == object and kind != "category" else str(values.dtype)


def _categories(values):
    """Returns the values of a column, of Python's own types, in their order."""
    if _is_category(values):
        found = values.cat.categories
    else:
        found = sorted(values.dropna().unique().tolist(), key=lambda value: (type(value).__name__, value))
    return [value.item() if isinstance(value, np.generic) else value for value in found]


def _numbers(values, column):
    """Returns a column of a frame as float64, NaN where a value is missing."""
    if column.kind == "category":
        numbers = pd.Index(column.categories, dtype=object).get_indexer(values.astype(object)).astype(np.float64)
        unknown = values[(numbers < 0) & values.notna().to_numpy()].unique().tolist()
        if unknown:
            message = f"Categories that column {column.name!r} does not have become missing: {unknown}"
            warnings.warn(message, stacklevel=3)
        return np.where(numbers < 0, np.nan, numbers)
    if values.notna().any() and not _MEANINGS[_meaning(values)][0]:
        raise ValueError(
            f"Expected numbers in column {column.name!r}, {column.kind}. Received: text, such as "
            f"{values.dropna().iloc[0]!r}; pd.to_numeric(frame[{column.name!r}]) makes numbers of text"
        )
    numbers = values.to_numpy(np.float64, na_value=np.nan)
    column.check(numbers)
    with np.errstate(over="ignore"):
        column.check(numbers.astype(np.float32))  # in which the largest numbers are infinite and the smallest 0
    return numbers


def _warn_of_lost_digits(values, numbers, name):
    """Warns if float32 changes a value of whole numbers, such as identities, or rounds off what sets others apart."""
    found = numbers[~np.isnan(numbers)]
    lost = None
    if (found == np.floor(found)).all():
        # Python's integers, since float64 may have lost digits already.
        large = values[np.abs(numbers) > 2**24].drop_duplicates().tolist()
        lost = next((value for value in large if int(value) != int(np.float32(value))), None)
    elif (rounded := np.abs(found.astype(np.float32) - found)).max() > 1e-3 * found.std() and np.ptp(found):
        lost = found[rounded.argmax()]
    if lost is not None:
        warnings.warn(
            f"float32 has no room for the digits of column {name!r}: {lost} becomes {float(np.float32(lost)):.17g}. "
            f"Subtract an offset or scale it, or pass columns={{{name!r}: 'category'}} if its values are labels",
            stacklevel=4,
        )


def _values(numbers, column, index):
    """Returns numbers as a column of a frame."""
    dtype: Any = types.pandas_dtype(column.dtype.removeprefix("ordered "))
    if dtype == "category":
        dtype = pd.CategoricalDtype(list(column.categories), ordered=column.dtype.startswith("ordered"))
    if column.kind == "category":
        lookup = np.array([*column.categories, None], dtype=object)
        numbers = lookup[np.where(np.isnan(numbers), len(column.categories), numbers).astype(int)]
    values = pd.Series(numbers, index, dtype=object if column.kind == "category" else np.float64)
    whole = types.is_integer_dtype(dtype)
    if column.kind != "category" and (whole or types.is_bool_dtype(dtype)):
        values = values.round()
    if column.kind != "category" and whole and not _fits(values, dtype):
        return values
    if isinstance(dtype, np.dtype) and values.isna().any():  # for which only pandas' own dtypes have room
        nullable = {"b": "boolean", "i": dtype.name.capitalize(), "u": dtype.name.replace("uint", "UInt")}
        dtype = nullable.get(dtype.kind, dtype)
    return values.astype(dtype)


def _fits(values, dtype):
    """Whether an integer dtype has room for whole numbers; a draw may lie beyond."""
    limits = np.iinfo(getattr(dtype, "numpy_dtype", dtype))
    found = values.dropna()
    return bool(((found >= limits.min) & (found < float(limits.max) + 1)).all())
