"""Data frames as arrays of numbers, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from iwae_tf.data import column_values
from iwae_tf.data.column_inference import KindName, infer_column
from iwae_tf.layers.columns import Column


@dataclass(frozen=True)
class Table:
    """A data frame as numbers.

    Attributes:
      array: float32 `[n, num_columns]`. Categories are codes 0, 1, ..., and NaN stands for a missing value.
      columns: tuple of `layers.Column`.

    Example:
      ```python
      table = data.from_dataframe(pd.DataFrame({"visits": [3, None, 4], "town": ["Leeds", "York", None]}))
      table.array  # [[3, 0], [nan, 1], [4, nan]]
      table.decode(table.array)  # the frame
      ```
    """

    array: np.ndarray
    columns: tuple[Column, ...]

    def __repr__(self) -> str:
        return f"<Table of {len(self.array)} rows, columns: {', '.join(str(column.name) for column in self.columns)}>"

    def encode(self, frame: pd.DataFrame) -> np.ndarray:
        """Returns another frame with these columns as an array; see `encode`."""
        return encode(frame, self.columns)

    def decode(self, array: npt.ArrayLike, index: pd.Index | None = None) -> pd.DataFrame:
        """Returns an array with these columns as a frame; see `decode`."""
        return decode(array, self.columns, index)


def from_dataframe(frame: pd.DataFrame, columns: Mapping[str | int, KindName] | None = None) -> Table:
    """Converts a data frame to numbers.

    Unless given, the kind of a column follows from its values. Bools are binary. Integers are binary if all are 0 or 1,
    counts if none is negative, and otherwise real. Other numbers are real. Strings and pandas' categories are
    categories. A column of dtype `object` has the kind of its objects.

    Args:
      frame: a pandas `DataFrame`; values may be missing.
      columns: dict from names of columns to their kinds, `"real"`, `"positive"`, `"count"`, `"binary"` or `"category"`,
        for columns whose kind should not be inferred.

    Returns:
      A `Table`. A warning names the columns whose digits float32 cannot represent.

    Raises:
      TypeError: if `frame` is not a `DataFrame`, or a column holds anything but numbers, bools and strings (dates,
        lists).
      ValueError: if there are no rows or columns, a name is neither a string nor an integer, two names look the same in
        print, `columns` names a column that the frame lacks, a column has no values or only one category, values do not
        match the kind, or numbers are written as text.

    Example:
      ```python
      frame = pd.DataFrame({"height": [1.7, np.nan, 1.6], "children": [0, 2, 1]})
      table = data.from_dataframe(frame, columns={"height": "positive"})
      [column.kind for column in table.columns]  # ["positive", "count"]
      ```
    """
    by_name = _columns_by_name(frame)
    if frame.empty:
        raise ValueError(f"Expected a frame of rows and columns. Received: {len(frame)} rows, {frame.shape[1]} columns")
    names = frame.columns.tolist()
    if not all(isinstance(name, (str, int)) and not isinstance(name, bool) for name in names):
        raise ValueError(
            "Expected names of columns that are strings or integers; frame.rename(columns=str) converts a single level "
            f"of names. Received: {names}"
        )
    kinds = columns or {}
    if not set(kinds) <= set(names):
        raise ValueError(f"Expected columns of the frame, {names}. Received: {list(kinds)}")
    inferred = tuple(infer_column(name, by_name[str(name)], kinds.get(name)) for name in names)
    return Table(encode(frame, inferred), inferred)


def encode(frame: pd.DataFrame, columns: Sequence[Column]) -> np.ndarray:
    """Returns a frame as an array.

    Args:
      frame: a pandas `DataFrame` with these columns, in any order; other columns are ignored.
      columns: the columns of a table, `table.columns` or `model.decoder[-1].columns`.

    Returns:
      float32 `[n, len(columns)]`. A category that the column does not have becomes NaN, missing, with a warning.

    Raises:
      TypeError: if `frame` is not a `DataFrame`, or a column holds anything but numbers, bools and strings.
      ValueError: if a column is absent, two names look the same in print, or values do not match the column's kind.

    Example:
      ```python
      columns = [layers.Column("age", "positive"), layers.Column("smoker", "category", categories=("no", "yes"))]
      data.tables.encode(pd.DataFrame({"smoker": ["yes", None], "age": [31, 54]}), columns)  # [[31, 1], [54, nan]]
      ```
    """
    by_name = _columns_by_name(frame)
    absent = [column.name for column in columns if str(column.name) not in by_name]
    if absent:
        raise ValueError(f"Expected columns {absent} in the frame. Received: {list(by_name)}")
    arrays = []
    for column in columns:
        values = column_values.as_plain(column.name, by_name[str(column.name)])
        arrays.append(column_values.to_numbers(values, column))
        if column.kind != "category":
            column_values.warn_of_lost_digits(values, arrays[-1], column.name)
    return np.stack(arrays, axis=1).astype(np.float32)


def decode(array: npt.ArrayLike, columns: Sequence[Column], index: pd.Index | None = None) -> pd.DataFrame:
    """Returns an array as a frame with the original dtypes.

    Args:
      array: `[n, len(columns)]`: a result of `encode`, `model.impute`, `model.reconstruct` or `model.sample`. Means of
        integer and bool columns are rounded; integers outside the range of the dtype stay floats. NaN becomes missing.
      columns: the columns of the table.
      index: index of the frame. `None` numbers the rows.

    Returns:
      A pandas `DataFrame`.

    Raises:
      ValueError: if the array has another shape.

    Example:
      ```python
      table = data.from_dataframe(pd.DataFrame({"age": [31, 54], "smoker": ["yes", "no"]}))
      data.tables.decode([[40.2, 1.0], [61.9, np.nan]], table.columns)  # age 40 and 62, smoker "yes" and missing
      ```
    """
    array = np.asarray(array)
    if array.ndim != 2 or array.shape[1] != len(columns):
        raise ValueError(f"Expected an array of shape [n, {len(columns)}]. Received: shape {array.shape}")
    values = {
        column.name: column_values.from_numbers(numbers, column, index)
        for column, numbers in zip(columns, array.T, strict=True)
    }
    return pd.DataFrame(values, index)


def _columns_by_name(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """Returns the columns of a frame by their names as text."""
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"Expected a pandas DataFrame. Received: {type(frame).__name__}")
    by_name = {str(name): values for name, values in frame.items()}
    if len(by_name) < frame.shape[1]:
        raise ValueError(
            f"Expected columns with different names, also in print. Received: columns {frame.columns.tolist()}"
        )
    return by_name
