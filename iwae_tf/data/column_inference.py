"""Inference of a `Column` from a pandas series: its kind, its categories and its dtype."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from iwae_tf.data.column_values import MEANINGS, as_plain, infer_meaning, is_category, to_numbers
from iwae_tf.layers.columns import KINDS, Column, KindName


def infer_column(name: str | int, values: pd.Series, kind: KindName | None = None) -> Column:
    """Infers the `Column` that describes a series.

    Args:
      name: name of the column.
      values: the series.
      kind: kind of the column. `None` infers it from the values.

    Raises:
      TypeError: if the column holds anything but numbers, bools and strings.
      ValueError: if there are no values, they do not match the kind, or they are numbers written as text.
    """
    values = as_plain(name, values)
    present = values.dropna()
    if present.empty:
        raise ValueError(f"Expected column {name!r} to hold a value. Received: none")
    kind = kind or _infer_kind(name, values)
    if kind == "category":
        if present.nunique() == 1 and not is_category(values):
            raise ValueError(
                f"Expected two or more different categories in column {name!r}. "
                f"Received: only {present.iloc[0]!r}; leave the column out"
            )
        return Column(name, kind, categories=_list_categories(values), dtype=_infer_dtype(values, kind))
    column = Column(name, kind, dtype=_infer_dtype(values, kind))
    transform = KINDS[kind].transform
    if transform is None:
        return column
    numbers = np.asarray(transform(to_numbers(present, column)))
    # A constant column has no scale of its own.
    return dataclasses.replace(column, loc=float(numbers.mean()), scale=float(numbers.std()) or 1.0)


def _infer_kind(name: str | int, values: pd.Series) -> KindName:
    present, meaning = values.dropna(), infer_meaning(values)
    if is_category(values):
        return "category"
    if not MEANINGS[meaning].is_number:
        _check_text(name, present)
        return "category"
    if meaning == "boolean":
        return "binary"
    if meaning == "integer":
        return "binary" if present.isin((0, 1)).all() else "count" if (present >= 0).all() else "real"
    return "real"


def _check_text(name: str | int, values: pd.Series) -> None:
    """Raises a `ValueError` if most values are numbers written as text, each of which would become a category."""
    distinct = pd.Series(values.unique().tolist(), dtype=object)
    are_numbers = pd.to_numeric(distinct, errors="coerce").notna()
    if are_numbers.mean() > 0.5:
        option = "" if are_numbers.all() else ', errors="coerce"'
        raise ValueError(
            f"Expected text in column {name!r}. Received: numbers as text, such as {distinct[are_numbers].iloc[0]!r}. "
            f"Convert them by pd.to_numeric(frame[{name!r}]{option}) or, if they are labels, pass "
            f"columns={{{name!r}: 'category'}}"
        )


def _infer_dtype(values: pd.Series, kind: KindName) -> str:
    """Returns the name of the dtype to which a column decodes: its own, unless that is `object`."""
    if is_category(values):
        ordered = "ordered category" if values.cat.ordered else "category"
        return ordered if kind == "category" else str(values.cat.categories.dtype)
    return MEANINGS[infer_meaning(values)].dtype if values.dtype == object and kind != "category" else str(values.dtype)


def _list_categories(values: pd.Series) -> list[Any]:
    """Returns the categories of a series, or its distinct values in order, as Python's own types."""
    categories = (
        values.cat.categories
        if is_category(values)
        else sorted(values.dropna().unique().tolist(), key=lambda value: (type(value).__name__, value))
    )
    return [value.item() if isinstance(value, np.generic) else value for value in categories]
