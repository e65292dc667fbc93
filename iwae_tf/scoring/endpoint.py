"""The endpoint that scores, and the check of every row against its input."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from iwae_tf import compiling
from iwae_tf.scoring.base import Row
from iwae_tf.scoring.saved_columns import read_columns

#: The endpoint's results for each row.
SCORES = ("log_likelihood", "standard_error", "effective_sample_size")


class Scorer:
    """The `log_likelihood` endpoint of a SavedModel.

    Args:
      saved_model: folder that `iwae_tf.export` wrote.

    Attributes:
      event_shape: tuple, the shape of one observation.
      dtype: the NumPy dtype of observations.
      score_dtype: the NumPy dtype of scores.
      digest: string that identifies the model; copies of a model share it.
      columns: `SavedColumns`, the columns that the model knows by name.

    Raises:
      FileNotFoundError: if there is no SavedModel.
      ValueError: if it is damaged or lacks the endpoint.
    """

    def __init__(self, saved_model: str | os.PathLike) -> None:
        if not (Path(saved_model) / "saved_model.pb").is_file():
            subfolder = Path(saved_model) / "saved_model"
            hint = f"; try {subfolder}" if subfolder.is_dir() else ""
            raise FileNotFoundError(f"Expected the folder of a SavedModel. Received: {saved_model}{hint}")
        try:
            self._model = tf.saved_model.load(str(saved_model))  # It must live as long as its endpoint.
        except Exception as error:  # A missing or damaged file may raise anything from a KeyError to an OpError.
            received = " ".join(str(error).split())[:200]
            raise ValueError(f"Expected an undamaged SavedModel in {saved_model}. Received: {received}") from error
        signatures = self._model.signatures
        if "log_likelihood" not in signatures:
            raise ValueError(f"Expected an endpoint log_likelihood. Received: {', '.join(signatures) or 'none'}")
        self._endpoint = signatures["log_likelihood"]
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
        scores = iter(self._call(x[valid].reshape(-1, *self.event_shape)))
        for i, reason in zip(arrays, reasons, strict=True):
            results[i] = next(scores) if reason is None else reason
        return results

    def _call(self, x: np.ndarray) -> list[tuple | str]:
        """Scores x `[n, *event_shape]`; where the model rejects it, in halves, down to the rows that it rejects."""
        if not len(x):
            return []
        try:
            scores = self._endpoint(x=tf.constant(x))
        except tf.errors.InvalidArgumentError as error:
            if len(x) == 1:
                return [compiling.reason(error)]
            half = len(x) // 2
            return self._call(x[:half]) + self._call(x[half:])
        return list(zip(*(scores[name].numpy() for name in SCORES), strict=True))


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
