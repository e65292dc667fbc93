"""Columns of a table: what kind of values each holds, and the numbers that stand for them."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from iwae_tf.checks import check_choice
from iwae_tf.layers import rules


class Kind(NamedTuple):
    """What columns of one kind have in common.

    Attributes:
      values: the values they may hold, in words.
      valid: function of finite values, an array or a tensor, and the column, to whether each is such a value.
      transform: function of values that makes numbers on the whole real line, or `None`.
    """

    values: str
    valid: Any
    transform: Any = None


#: The kinds of columns.
KINDS = {
    "real": Kind("finite numbers", lambda x, column: (x >= 0) | (x < 0), tf.identity),
    "positive": Kind("finite numbers above 0", lambda x, column: x > 0, tf.math.log),
    "count": Kind("integers of at least 0", lambda x, column: (x >= 0) & (x % 1 == 0), tf.math.log1p),
    "binary": Kind("0 or 1", lambda x, column: (x == 0) | (x == 1)),
    "category": Kind("codes 0, 1, ...", lambda x, column: (x >= 0) & (x < len(column.categories)) & (x % 1 == 0)),
}


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
      name: its name, a string or, as in frames without names, an integer.
      kind: `"real"`, `"positive"`, `"count"`, `"binary"` or `"category"`.
      loc: mean that a column is standardised by: of its values, if it is real, of the logarithms of a positive one, and
        of log(1 + x) of a count.
      scale: their standard deviation.
      categories: the values that the codes 0, 1, ... stand for, at least two; of a category only.
      dtype: name of the pandas dtype that decoding gives, or "ordered category".

    Raises:
      ValueError: if the kind is unknown, `scale` is not positive, or the categories do not fit the kind.
    """

    name: str | int
    kind: str
    loc: float = 0.0
    scale: float = 1.0
    categories: tuple = ()
    dtype: str = "float64"

    def __post_init__(self):
        object.__setattr__(self, "categories", tuple(self.categories))
        check_choice(self.kind, f"the kind of column {self.name!r}", KINDS)
        if not (math.isfinite(self.loc) and math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(
                f"Expected column {self.name!r} to have a finite loc and a finite, positive scale. "
                f"Received: loc={self.loc!r}, scale={self.scale!r}"
            )
        if (self.kind == "category") != (len(set(self.categories)) == len(self.categories) > 1):
            raise ValueError(
                f"Expected two or more different categories of a category, and none of another column. "
                f"Received: {self.kind} {self.name!r} with {self.categories!r}"
            )

    def rule(self, values: Any) -> rules.Rule:
        """Returns the rule that the column's values, an array or a tensor, must satisfy."""
        _, values, valid = rules.finite(values)
        kind = KINDS[self.kind]
        with np.errstate(invalid="ignore"):  # of an infinite number
            valid &= kind.valid(values, self)
        return rules.Rule(f"{kind.values} in column {self.name!r}, {self.kind}", values, valid)

    def check(self, values: np.ndarray) -> None:
        """Raises a `ValueError` if the array holds values, other than NaN, that the column cannot have."""
        rules.check(rules.allow_missing([self.rule(values)]))


def as_columns(columns):
    """Makes a tuple of `Column`s.

    Args:
      columns: a sequence of `Column`s or of dicts of their attributes; or a dict from names to kinds or to dicts of the
        other attributes.

    Raises:
      ValueError: if there are none, or two have the same name.
    """
    if isinstance(columns, Mapping):
        columns = [
            {"name": name, **(fields if isinstance(fields, Mapping) else {"kind": fields})}
            for name, fields in columns.items()
        ]
    made = tuple(column if isinstance(column, Column) else Column(**column) for column in columns)
    if not made or len({str(column.name) for column in made}) != len(made):
        raise ValueError(
            f"Expected at least one column, and no two of a name. Received: {[column.name for column in made]}"
        )
    return made


def find_kind(columns, kind):
    """Returns the places of the columns of a kind, a list of integers."""
    return [i for i, column in enumerate(columns) if column.kind == kind]


def stack_loc_and_scale(columns, dtype):
    """Returns the loc and the scale of columns, each a tensor `[number of columns]`."""
    return tf.constant([c.loc for c in columns], dtype), tf.constant([c.scale for c in columns], dtype)


def serialize_columns(columns):
    """Returns the columns as a list of dicts, for a layer's config."""
    return [dataclasses.asdict(column) for column in columns]
