"""Columns of a table: the kind of values in each, and the numbers that encode them."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

from iwae_tf.checks import check_choice
from iwae_tf.layers import rules
from iwae_tf.layers.rules import Rule, Values


class Kind(NamedTuple):
    """What the columns of one kind have in common.

    Attributes:
      values: the valid values, in words.
      valid: function of finite values (an array or a tensor) and the column, which returns whether each is valid.
      transform: function from the values to numbers on the whole real line, or `None`.
    """

    values: str
    valid: Callable[[Values, "Column"], Values]
    transform: Callable[[tf.Tensor], tf.Tensor] | None = None


#: The name of a kind of column.
KindName: TypeAlias = Literal["real", "positive", "count", "binary", "category"]

#: The kinds of columns.
KINDS = {
    "real": Kind("finite numbers", lambda x, column: (x >= 0) | (x < 0), tf.identity),
    "positive": Kind("finite numbers above 0", lambda x, column: x > 0, tf.math.log),
    "count": Kind("integers of 0 or more", lambda x, column: (x >= 0) & (x % 1 == 0), tf.math.log1p),
    "binary": Kind("0 or 1", lambda x, column: (x == 0) | (x == 1)),
    "category": Kind("codes 0, 1, ...", lambda x, column: (x >= 0) & (x < len(column.categories)) & (x % 1 == 0)),
}


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
      name: its name, a string or, for frames without names, an integer.
      kind: `"real"`, `"positive"`, `"count"`, `"binary"` or `"category"`.
      loc: mean by which a network standardises the column: the mean of real values, of the logarithms of positive
        values, or of log(1 + x) for counts.
      scale: standard deviation of the same numbers.
      categories: the values that the codes 0, 1, ... stand for, at least two; only for a category.
      dtype: name of the pandas dtype that decoding restores, or "ordered category". The default is "category" for a
        category, and "float64" otherwise.

    Raises:
      ValueError: if the kind is unknown, `scale` is not positive, or the categories do not fit the kind.

    Example:
      ```python
      columns = [layers.Column("age", "positive"), layers.Column("smoker", "category", categories=("no", "yes"))]
      layers.Heterogeneous(columns).event_shape  # (2,)
      ```
    """

    name: str | int
    kind: KindName
    loc: float = 0.0
    scale: float = 1.0
    categories: Sequence[Any] = ()
    dtype: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "categories", tuple(self.categories))
        object.__setattr__(self, "dtype", self.dtype or ("category" if self.kind == "category" else "float64"))
        check_choice(self.kind, f"the kind of column {self.name!r}", KINDS)
        if not (math.isfinite(self.loc) and math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(
                f"Expected column {self.name!r} to have a finite loc and a finite, positive scale. "
                f"Received: loc={self.loc!r}, scale={self.scale!r}"
            )
        if (self.kind == "category") != (len(set(self.categories)) == len(self.categories) > 1):
            raise ValueError(
                "Expected two or more different categories for a category, and none for another kind of column. "
                f"Received: {self.kind} {self.name!r} with {self.categories!r}"
            )

    def rule(self, values: Values) -> Rule:
        """Returns the rule that the column's values, an array or a tensor, must satisfy."""
        _, values, valid = rules.finite(values)
        kind = KINDS[self.kind]
        with np.errstate(invalid="ignore"):  # an infinite number has no remainder
            valid &= kind.valid(values, self)
        return Rule(f"{kind.values} in column {self.name!r}, {self.kind}", values, valid)

    def check(self, values: np.ndarray) -> None:
        """Raises a `ValueError` if the array holds values, other than NaN, that the column cannot have."""
        rules.check(rules.allow_missing([self.rule(values)]))


def as_columns(columns: Iterable[Column | Mapping[str, Any]] | Mapping[str, Any]) -> tuple[Column, ...]:
    """Returns a tuple of `Column`s.

    Args:
      columns: a sequence of `Column`s or of dicts of their attributes; or a dict from names to kinds or to dicts of the
        other attributes.

    Raises:
      ValueError: if there are no columns, or two have the same name.
    """
    if isinstance(columns, Mapping):
        columns = [
            {"name": name, **(fields if isinstance(fields, Mapping) else {"kind": fields})}
            for name, fields in columns.items()
        ]
    result = tuple(column if isinstance(column, Column) else Column(**column) for column in columns)
    if not result or len({str(column.name) for column in result}) != len(result):
        raise ValueError(
            f"Expected at least one column, and a different name for each. Received: {[c.name for c in result]}"
        )
    return result


def find_kind(columns: Sequence[Column], kind: str) -> list[int]:
    """Returns the indices of the columns of a kind."""
    return [i for i, column in enumerate(columns) if column.kind == kind]


def stack_loc_and_scale(columns: Sequence[Column], dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the loc and the scale of columns, each a tensor `[number of columns]`."""
    return tf.constant([c.loc for c in columns], dtype), tf.constant([c.scale for c in columns], dtype)


def serialize_columns(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Returns the columns as a list of dicts, for a layer's config."""
    return [dataclasses.asdict(column) for column in columns]
