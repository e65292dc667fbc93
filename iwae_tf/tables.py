"""Data frames as arrays of numbers, and back."""

import dataclasses
import warnings

import numpy as np
import pandas as pd
from pandas.api import types

from iwae_tf.layers.columns import KINDS, Column


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
        return f"<Table of {len(self.array)} rows, columns: {', '.join(column.name for column in self.columns)}>"

    def encode(self, frame):
        """Returns another frame of these columns as such an array; see `encode`."""
        return encode(frame, self.columns)

    def decode(self, array, index=None):
        """Returns such an array as a frame; see `decode`."""
        return decode(array, self.columns, index)


def from_dataframe(frame, columns=None):
    """Makes numbers of a data frame.

    The kind of a column goes by its dtype, unless it is given: bool is binary; integers are binary where all are 0 or
    1, counts where none is negative, and otherwise real; floats are real; strings, objects and pandas categories are
    categories.

    Args:
      frame: a pandas `DataFrame`, in which values may be missing.
      columns: dict from names of columns to their kinds, for those that should be of another kind than inferred:
        `"real"`, `"positive"`, `"count"`, `"binary"` or `"category"`.

    Returns:
      A `Table`.

    Raises:
      TypeError: if `frame` is no `DataFrame`, or a column holds neither numbers nor categories (dates, say).
      ValueError: if there are no rows or columns, names are not unique, `columns` names others, a column has no values
        or only one category, or values are not of the kind.
    """
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"Expected a pandas DataFrame. Received: {type(frame).__name__}")
    if frame.empty or not frame.columns.is_unique:
        raise ValueError(
            f"Expected a frame of rows and columns of different names. Received: {len(frame)} rows, "
            f"columns {list(frame.columns)}"
        )
    kinds = columns or {}
    if not set(kinds) <= set(frame.columns):
        raise ValueError(f"Expected columns of the frame, {list(frame.columns)}. Received: {list(kinds)}")
    made = tuple(_column(str(name), values, kinds.get(name) or _kind(values)) for name, values in frame.items())
    return Table(encode(frame, made), made)


def encode(frame, columns):
    """Returns a frame as an array.

    Args:
      frame: a pandas `DataFrame` with these columns, in any order; others are left out.
      columns: sequence of `layers.Column`, such as `table.columns` or `model.decoder[-1].columns`.

    Returns:
      float32 `[n, len(columns)]`. A category that is not in the column's list becomes NaN, missing, with a warning.

    Raises:
      ValueError: if a column is missing, or its values are not of its kind.
    """
    by_name = {str(name): values for name, values in frame.items()}
    absent = [column.name for column in columns if column.name not in by_name]
    if absent:
        raise ValueError(f"Expected columns {absent} in the frame. Received: {list(by_name)}")
    numbers = map(_numbers, (by_name[column.name] for column in columns), columns)
    return np.stack(list(numbers), axis=1).astype(np.float32)


def decode(array, columns, index=None):
    """Returns an array as a frame of the original dtypes.

    Args:
      array: `[n, len(columns)]`, such as `encode`, `model.impute`, `model.reconstruct` and `model.sample` give. Means
        of integer and bool columns are rounded; NaN becomes missing.
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


def _kind(values):
    """Infers the kind of a column of a frame."""
    if types.is_bool_dtype(values.dtype):
        return "binary"
    if types.is_integer_dtype(values.dtype):
        found = values.dropna()
        return "binary" if found.isin((0, 1)).all() else "count" if (found >= 0).all() else "real"
    if types.is_float_dtype(values.dtype):
        return "real"
    if isinstance(values.dtype, pd.CategoricalDtype) or types.is_string_dtype(values.dtype) or values.dtype == object:
        return "category"
    raise TypeError(
        f"Expected columns of numbers, bools, strings or categories. Received: {values.name!r} of dtype {values.dtype}"
    )


def _column(name, values, kind):
    """Makes the `Column` of a column of a frame."""
    found = values.dropna()
    if found.empty:
        raise ValueError(f"Expected column {name!r} to hold a value. Received: none")
    dtype = str(values.dtype)
    if kind == "category":
        return Column(name, kind, categories=_categories(name, found), dtype=dtype)
    column = Column(name, kind, dtype=dtype)
    if KINDS[kind].transform is None:
        return column
    numbers = np.asarray(KINDS[kind].transform(_numbers(found, column)))
    # A column that does not vary has no unit of its own.
    return dataclasses.replace(column, loc=float(numbers.mean()), scale=float(numbers.std()) or 1.0)


def _categories(name, values):
    """Returns the values of a column, of Python's own types, in their order."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        found = values.cat.categories
    else:
        found = sorted(values.unique().tolist(), key=lambda value: (type(value).__name__, value))
    found = [value.item() if isinstance(value, np.generic) else value for value in found]
    if not all(isinstance(value, (str, int, float, bool)) for value in found):
        raise TypeError(f"Expected categories that are strings, numbers or bools in column {name!r}. Received: {found}")
    return found


def _numbers(values, column):
    """Returns a column of a frame as float64, NaN where a value is missing."""
    if column.kind == "category":
        numbers = pd.Index(column.categories, dtype=object).get_indexer(values.astype(object)).astype(np.float64)
        unknown = values[(numbers < 0) & values.notna().to_numpy()].unique().tolist()
        if unknown:
            message = f"Categories that column {column.name!r} does not have become missing: {unknown}"
            warnings.warn(message, stacklevel=3)
        return np.where(numbers < 0, np.nan, numbers)
    try:
        numbers = values.to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Expected numbers in column {column.name!r}, {column.kind}. Received: {error}") from error
    column.check(numbers)
    return numbers


def _values(numbers, column, index):
    """Returns numbers as a column of a frame."""
    is_category = column.dtype == "category"
    dtype = pd.CategoricalDtype(list(column.categories)) if is_category else types.pandas_dtype(column.dtype)
    if column.kind == "category":
        lookup = np.array([*column.categories, None], dtype=object)
        numbers = lookup[np.where(np.isnan(numbers), len(column.categories), numbers).astype(int)]
    values = pd.Series(numbers, index)
    whole = types.is_bool_dtype(dtype) or types.is_integer_dtype(dtype)
    if whole and column.kind != "category":
        values = values.round()
    if whole and values.isna().any():  # which only pandas' own dtypes have room for
        return values.astype("boolean" if types.is_bool_dtype(dtype) else "Int64")
    return values.astype(dtype)
