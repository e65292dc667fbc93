"""Inputs of an endpoint, from the values of a request."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from iwae_tf.checks import check_count
from iwae_tf.scoring import headers
from iwae_tf.scoring.endpoint import conform
from iwae_tf.scoring.saved_columns import SavedColumns
from iwae_tf.scoring.values import make_reader
from iwae_tf.serving.messages import Request

#: Types of JSON's numbers, of true and false, and of null, which stands for a missing value.
_NUMBERS = {int, float, bool, type(None)}


class Spec(NamedTuple):
    """An input of an endpoint.

    Attributes:
      shape: its shape; the first size is `None` if the input consists of rows.
      dtype: its NumPy dtype.
    """

    shape: tuple[int | None, ...]
    dtype: np.dtype

    @property
    def has_rows(self) -> bool:
        """Whether the input consists of rows."""
        return self.shape[:1] == (None,)


class Limits(NamedTuple):
    """Limits of a request.

    Attributes:
      max_rows: rows that a request may send, or ask to sample.
      max_samples: importance samples that a request may ask for.
    """

    max_rows: int
    max_samples: int


def read_inputs(
    request: Request, specs: Mapping[str, Spec], columns: SavedColumns, limits: Limits
) -> dict[str, np.ndarray]:
    """Reads the inputs of an endpoint from a request.

    Args:
      request: the request.
      specs: the endpoint's inputs by name. A single input may be given without its name.
      columns: the columns that the model knows by name, which may be given instead of the input `x`; categories are
        labels or codes, as in files.
      limits: the limits of the request.

    Returns:
      An array for each of `specs`.

    Raises:
      ValueError: if names, shapes or values do not match the inputs, or the request exceeds a limit.
    """
    values = request.values
    if request.by_row:
        if others := [name for name, spec in specs.items() if not spec.has_rows]:
            raise ValueError(f"Expected inputs, because {', '.join(others)} are not rows. Received: instances")
        values = _transpose(values)
    if not isinstance(values, dict):
        if len(specs) > 1:
            raise ValueError(f"Expected values by name: {', '.join(specs)}. Received: {type(values).__name__}")
        values = dict.fromkeys(specs, values)
    if columns.names and "x" in specs and "x" not in values:
        values = _join_columns(values, specs, columns)
    if set(values) != set(specs):
        raise ValueError(f"Expected the inputs {', '.join(specs)}. Received: {', '.join(values) or 'none'}")
    inputs = {name: _conform(_as_array(values[name], name, spec.shape), name, spec) for name, spec in specs.items()}
    _check_limits(inputs, specs, limits)
    return inputs


def _transpose(rows: Any) -> Any:
    """Turns a list of objects into an object of lists; other lists stay as they are."""
    if not isinstance(rows, list):
        raise ValueError(f"Expected instances to be a list of rows. Received: {type(rows).__name__}")
    if not rows or not isinstance(rows[0], dict):
        return rows
    for i, row in enumerate(rows):
        if not isinstance(row, dict) or row.keys() != rows[0].keys():
            received = ", ".join(row) if isinstance(row, dict) else type(row).__name__
            raise ValueError(f"Row {i}: Expected the names {', '.join(rows[0])}, as in row 0. Received: {received}")
    return {name: [row[name] for row in rows] for name in rows[0]}


def _join_columns(values: dict[str, Any], specs: Mapping[str, Spec], columns: SavedColumns) -> dict[str, Any]:
    """Joins the columns of a table to rows of the input `x`, in the model's order."""
    others = {*specs, columns.id_column, *columns.ignored}
    headers.check_columns([name for name in values if name not in others], columns.names)
    parts = [values[name] for name in columns.names]
    if not all(isinstance(part, list) and len(part) == len(parts[0]) for part in parts):
        raise ValueError("Expected the columns to be lists of equal lengths. Received: others")
    for i, name in enumerate(columns.names):
        if name in columns.labels:
            read = make_reader(name, columns.labels[name])
            parts[i] = [read("" if value is None else str(value)) for value in parts[i]]
    rows = [list(row) for row in zip(*parts, strict=True)]
    return {"x": rows, **{name: value for name, value in values.items() if name in specs}}


def _as_array(values: Any, name: str, shape: Sequence[int | None]) -> np.ndarray:
    """Returns nested lists of numbers as an array of float64."""
    expected = f"Expected {name} to be numbers of shape [{', '.join('n' if n is None else str(n) for n in shape)}]"
    leaves: list[Any] = [values]
    sizes: list[int] = []
    for size in shape:
        lengths = set(map(len, leaves)) if set(map(type, leaves)) == {list} else set()
        if len(lengths) != 1 or lengths == {0} or (size is not None and lengths != {size}):
            raise ValueError(f"{expected}. Received: {_describe(leaves)}")
        sizes += lengths
        leaves = list(itertools.chain.from_iterable(leaves))
    if not set(map(type, leaves)) <= _NUMBERS:
        raise ValueError(f"{expected}. Received: {_describe(leaf for leaf in leaves if type(leaf) not in _NUMBERS)}")
    try:
        return np.array(leaves, float).reshape(sizes)
    except OverflowError as error:
        raise ValueError(f"{expected}. Received: {error}") from error


def _describe(values: Iterable[Any]) -> str:
    return ", ".join(sorted({f"list of {len(v)}" if isinstance(v, list) else type(v).__name__ for v in values}))


def _conform(array: np.ndarray, name: str, spec: Spec) -> np.ndarray:
    """Returns an array in the dtype of an input, if that loses nothing."""
    converted, reasons = conform(array.reshape(len(array) if spec.has_rows else 1, -1), spec.dtype)
    for i, reason in enumerate(reasons):
        if reason is not None:
            raise ValueError(f"Row {i}: {reason}" if spec.has_rows else f"{name}: {reason}")
    return converted.reshape(array.shape)


def _check_limits(inputs: Mapping[str, np.ndarray], specs: Mapping[str, Spec], limits: Limits) -> None:
    """Raises an error if the inputs differ in their rows or exceed a limit."""
    counts = {name: len(inputs[name]) for name, spec in specs.items() if spec.has_rows}
    if len(set(counts.values())) > 1:
        raise ValueError(f"Expected as many rows in every input. Received: {counts}")
    if "num_samples" in inputs:
        num_samples = check_count(inputs["num_samples"].item(), "num_samples")
        if counts and num_samples > limits.max_samples:
            raise ValueError(f"Expected num_samples of at most {limits.max_samples}. Received: {num_samples}")
        counts = counts or {"num_samples": num_samples}  # Each sample is a row of the answer.
    if (num_rows := max(counts.values())) > limits.max_rows:
        raise ValueError(f"Expected at most {limits.max_rows} rows. Received: {num_rows}")
