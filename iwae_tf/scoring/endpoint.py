"""The endpoint that scores, and what it takes row by row."""

import hashlib
from pathlib import Path

import numpy as np
import tensorflow as tf

from iwae_tf import compiling
from iwae_tf.scoring import notes

#: What the endpoint returns of each row.
SCORES = ("log_likelihood", "standard_error", "effective_sample_size")


class Scorer:
    """The `log_likelihood` endpoint of a SavedModel.

    Attributes:
      event_shape: tuple, the shape of an observation.
      dtype: NumPy's, of the observations.
      score_dtype: NumPy's, of the scores.
      digest: string that stands for the model, the same for copies of it.
      columns: tuple of the names of the columns of a table, in their order; empty for other models.

    Raises:
      FileNotFoundError: if there is no SavedModel.
      ValueError: if it is damaged or has no such endpoint.
    """

    def __init__(self, saved_model):
        if not (Path(saved_model) / "saved_model.pb").is_file():
            inside = Path(saved_model) / "saved_model"
            hint = f", which has one in {inside}" if inside.is_dir() else ""
            raise FileNotFoundError(f"Expected the folder of a SavedModel. Received: {saved_model}{hint}")
        try:
            self._model = tf.saved_model.load(str(saved_model))  # which must live as long as its endpoint
        except Exception as error:  # of any kind, from a KeyError to an OpError, where a file is gone or damaged
            received = " ".join(str(error).split())[:200]
            raise ValueError(f"Expected a whole SavedModel in {saved_model}. Received: {received}") from error
        signatures = self._model.signatures
        if "log_likelihood" not in signatures:
            raise ValueError(f"Expected an endpoint log_likelihood. Received: {', '.join(signatures) or 'none'}")
        self._endpoint = signatures["log_likelihood"]
        spec = self._endpoint.structured_input_signature[1]["x"]
        self.event_shape = tuple(spec.shape[1:])
        self.dtype = np.dtype(spec.dtype.as_numpy_dtype)
        self.score_dtype = np.dtype(self._endpoint.structured_outputs["log_likelihood"].dtype.as_numpy_dtype)
        self.digest = _digest(Path(saved_model))
        self.columns = notes.read_columns(saved_model)

    def score(self, rows):
        """Scores rows.

        Args:
          rows: list of `sources.Row`.

        Returns:
          For each of them a tuple of its `SCORES`, or a string that says why it has none.
        """
        results = [row.reason for row in rows]
        readable = [i for i, row in enumerate(rows) if row.reason is None]
        if readable:
            x, reasons = conform(np.stack([rows[i].x for i in readable]), self.dtype)
            fit = [j for j, reason in enumerate(reasons) if reason is None]
            for j, scores in zip(fit, self._call(x[fit].reshape(-1, *self.event_shape)), strict=True):
                reasons[j] = scores
            for i, result in zip(readable, reasons, strict=True):
                results[i] = result
        return results

    def _call(self, x):
        """Scores x `[n, *event_shape]`, by halves where the model refuses it, so as to find the rows it means."""
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


def conform(x, dtype):
    """Converts rows to the dtype that the model takes, where nothing is lost by it.

    Args:
      x: numbers, `[n, size]`.
      dtype: NumPy's, of the model.

    Returns:
      The rows as `dtype`, and a list of n reasons why one cannot be had so, or `None`: values that are missing (where
      `dtype` is integer or bool), infinite, or not of `dtype`. Of floats NaN passes: whether values may be missing, the
      model knows.
    """
    exact = np.dtype(dtype).kind in "bui"
    with np.errstate(invalid="ignore", over="ignore"):  # what does not convert is found below
        converted = x.astype(dtype)
    floats = x if x.dtype.kind == "f" else np.empty((len(x), 0))
    unknown = np.any(~np.isfinite(floats) if exact else np.isinf(converted), axis=1)
    lost = np.any(converted != x, axis=1) & exact
    reasons: list[str | None] = [None] * len(x)
    for i in np.flatnonzero(unknown | lost):
        if unknown[i]:
            reasons[i] = "Expected finite numbers. Received: values that are missing or not finite"
        else:
            received = f"{x.dtype} in [{x[i].min():g}, {x[i].max():g}]"
            reasons[i] = f"Expected {np.dtype(dtype)} values, as in training. Received: {received}"
    return converted, reasons


def _digest(folder):
    """Returns a digest of the files of a folder and of their names."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()
