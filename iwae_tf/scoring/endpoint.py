"""The endpoint that scores, and the check of every row against its input."""

import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from iwae_tf import compiling, files
from iwae_tf.scoring.base import Row
from iwae_tf.scoring.saved_columns import read_columns

#: The endpoint's results for each row.
SCORES = ("log_likelihood", "standard_error", "effective_sample_size")


class Scorer:
    """The `log_likelihood` endpoint of a SavedModel.

    Args:
      saved_model: folder that `iwae_tf.export` wrote.

    Attributes:
      event_shape: tuple, the shape of one observation; the first size is `None` for sequences of any length.
      dtype: the NumPy dtype of observations.
      score_dtype: the NumPy dtype of scores.
      digest: string that identifies the model; copies of a model share it.
      columns: `SavedColumns`, the columns that the model knows by name.

    Raises:
      FileNotFoundError: if there is no SavedModel.
      ValueError: if it is damaged or lacks the endpoint.
    """

    def __init__(self, saved_model: str | os.PathLike) -> None:
        self._model = load(saved_model)  # It must live as long as its endpoint.
        self._endpoint = self._model.signatures["log_likelihood"]
        spec = self._endpoint.structured_input_signature[1]["x"]
        self.event_shape = tuple(spec.shape[1:])
        self.dtype = np.dtype(spec.dtype.as_numpy_dtype)
        self.score_dtype = np.dtype(self._endpoint.structured_outputs["log_likelihood"].dtype.as_numpy_dtype)
        self.digest = _digest(Path(saved_model))
        self.columns = read_columns(saved_model)

    def score(self, rows: Sequence[Row]) -> list[tuple | str]:
        """Scores rows.

        Returns:
          For each row a tuple of its `SCORES`, or a string with the reason why it has none.
        """
        results: list[tuple | str] = [row.reason or "" for row in rows]
        arrays = {i: row.x for i, row in enumerate(rows) if row.reason is None and row.x is not None}
        if not arrays:
            return results
        x, reasons = conform(np.stack(list(arrays.values())), self.dtype)
        valid = [j for j, reason in enumerate(reasons) if reason is None]
        scores = iter(call_rows(self._endpoint, SCORES, **self._make_inputs(x[valid])))
        for i, reason in zip(arrays, reasons, strict=True):
            results[i] = next(scores) if reason is None else reason
        return results

    def _make_inputs(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the inputs of the endpoint for flat rows, `[n, size]`."""
        if None not in self.event_shape:
            return {"x": x.reshape(-1, *self.event_shape)}
        # Padding is NaN, so the endpoint finds the lengths by itself.
        event = self.event_shape[1:]
        num_steps = x.shape[1] // math.prod(event)
        lengths = np.full(len(x), num_steps, np.int32)
        return {"x": x.reshape(len(x), num_steps, *event), "lengths": lengths}


def load(saved_model: str | os.PathLike) -> Any:
    """Loads a SavedModel that `iwae_tf.export` wrote.

    Raises:
      FileNotFoundError: if there is no SavedModel.
      ValueError: if it is damaged or lacks the endpoint `log_likelihood`.
    """
    files.check_saved_model(saved_model)
    try:
        model = tf.saved_model.load(str(saved_model))
    except Exception as error:  # A missing or damaged file may raise anything from a KeyError to an OpError.
        received = " ".join(str(error).split())[:200]
        raise ValueError(f"Expected an undamaged SavedModel in {saved_model}. Received: {received}") from error
    if "log_likelihood" not in model.signatures:
        raise ValueError(f"Expected an endpoint log_likelihood. Received: {', '.join(model.signatures) or 'none'}")
    return model


def call_rows(
    endpoint: Callable[..., Mapping[str, tf.Tensor]], outputs: Sequence[str], **rows: np.ndarray
) -> list[tuple | str]:
    """Calls an endpoint on rows; where the model rejects them, in halves, down to the rows that it rejects.

    Args:
      endpoint: a function from arrays of rows to outputs by name.
      outputs: names of the outputs to return.
      **rows: the endpoint's inputs by name, each `[n, ...]`.

    Returns:
      For each row a tuple of its outputs, or a string with the reason why the model rejects it.
    """
    num_rows = len(next(iter(rows.values())))
    if not num_rows:
        return []
    try:
        results = endpoint(**{name: tf.constant(x) for name, x in rows.items()})
    except tf.errors.InvalidArgumentError as error:
        if num_rows == 1:
            return [compiling.reason(error)]
        halves = slice(num_rows // 2), slice(num_rows // 2, None)
        parts = ({name: x[half] for name, x in rows.items()} for half in halves)
        return [result for part in parts for result in call_rows(endpoint, outputs, **part)]
    return list(zip(*(results[name].numpy() for name in outputs), strict=True))


def conform(x: np.ndarray, dtype: npt.DTypeLike) -> tuple[np.ndarray, list[str | None]]:
    """Converts rows to the model's dtype where the conversion loses nothing.

    Args:
      x: numbers, `[n, size]`.
      dtype: the NumPy dtype of the model's input.

    Returns:
      The rows as `dtype`, and a list with, for each row, `None` or the reason why it cannot be converted: values are
      missing (if `dtype` is an integer or bool), infinite, or change in conversion. NaN is a valid float here, because
      only the model knows whether values may be missing.
    """
    exact = np.dtype(dtype).kind in "bui"
    with np.errstate(invalid="ignore", over="ignore"):  # Values that do not convert are detected below.
        converted = x.astype(dtype)
    floats = x if x.dtype.kind == "f" else np.empty((len(x), 0))
    unknown = np.any(~np.isfinite(floats) if exact else np.isinf(converted), axis=1)
    changed = np.any(converted != x, axis=1) & exact
    reasons: list[str | None] = [None] * len(x)
    for i in np.flatnonzero(unknown | changed):
        if unknown[i]:
            reasons[i] = "Expected finite numbers. Received: values that are missing or not finite"
        else:
            received = f"{x.dtype} in [{x[i].min():g}, {x[i].max():g}]"
            reasons[i] = f"Expected {np.dtype(dtype)} values, as in training. Received: {received}"
    return converted, reasons


def _digest(folder: Path) -> str:
    """Returns a digest of the files of a folder and their names."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()
