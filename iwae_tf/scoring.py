"""Scores of files by an exported SavedModel; iwae_tf's models are not needed for it."""

import re
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from iwae_tf.files import written_whole


def _read_npy(path):
    return np.load(path, allow_pickle=False)


def _read_npz(path):
    with np.load(path, allow_pickle=False) as arrays:
        name = "x" if "x" in arrays.files or len(arrays.files) != 1 else arrays.files[0]
        if name not in arrays.files:
            raise ValueError(f"Expected an array named x, or only one. Received: {', '.join(arrays.files) or 'none'}")
        return arrays[name]


def _read_csv(path):
    table = pd.read_csv(path)
    if pd.to_numeric(pd.Series(table.columns), errors="coerce").notna().all():  # no header: the first row holds values
        table = pd.read_csv(path, header=None)
    return _numbers(table)


def _read_parquet(path):
    return _numbers(pd.read_parquet(path))


def _numbers(table):
    if table.empty:
        return np.empty(table.shape)
    others = table.columns[[not pd.api.types.is_numeric_dtype(t) for t in table.dtypes]]
    if len(others):
        raise ValueError(f"Expected numeric columns only. Received: {', '.join(map(str, others[:5]))} of other types")
    return table.to_numpy()


_READERS = {".csv": _read_csv, ".npy": _read_npy, ".npz": _read_npz, ".parquet": _read_parquet}
_WRITERS: dict[str, Callable[..., None]] = {".csv": pd.DataFrame.to_csv, ".parquet": pd.DataFrame.to_parquet}


def score(saved_model, source, destination, batch_size=100, overwrite=False, verbose=0):
    """Scores every row of a file by the `log_likelihood` endpoint of a SavedModel.

    Args:
      saved_model: folder that `iwae_tf.export` wrote.
      source: .npy; .npz (the array named `x`, or the only one); .csv or .parquet with a row per observation, its
        values in row-major order in numeric columns.
      destination: .csv or .parquet to write, with a row per observation in the order of `source`.
      batch_size: observations scored at once; the scores do not depend on it.
      overwrite: whether an existing file is replaced.
      verbose: 1 shows a progress bar.

    Returns:
      The `DataFrame` written: `log_likelihood` and `standard_error` in nats, `effective_sample_size`.

    Raises:
      FileNotFoundError: if the model or the file is missing.
      FileExistsError: if `destination` exists and `overwrite` is false.
      ValueError: if the file is of another kind, or its rows are not such as the model takes.
    """
    source, destination = Path(source), Path(destination)
    for path, known in ((source, _READERS), (destination, _WRITERS)):
        if path.suffix not in known:
            raise ValueError(f"Expected a file that ends in {', '.join(known)}. Received: {path}")
    if not source.is_file():
        raise FileNotFoundError(f"Expected a file to score. Received: {source}, which does not exist")
    if not (Path(saved_model) / "saved_model.pb").is_file():
        raise FileNotFoundError(f"Expected the folder of a SavedModel. Received: {saved_model}")
    with written_whole(destination, overwrite) as part:
        model = tf.saved_model.load(str(saved_model))
        endpoint = model.signatures["log_likelihood"]
        spec = endpoint.structured_input_signature[1]["x"]
        x = conform(_READERS[source.suffix](source), tuple(spec.shape[1:]), spec.dtype.as_numpy_dtype)
        progress = keras.utils.Progbar(len(x), verbose=verbose, unit_name="row")
        rows = []
        for i in range(0, len(x), batch_size):
            try:
                rows.append(endpoint(x=tf.constant(x[i : i + batch_size])))
            except tf.errors.InvalidArgumentError as error:
                last = min(i + batch_size, len(x)) - 1
                raise ValueError(f"The model refuses rows {i} to {last} of {source}: {_reason(error)}") from error
            progress.update(min(i + batch_size, len(x)))
        columns = ("log_likelihood", "standard_error", "effective_sample_size")
        table = pd.DataFrame({name: np.concatenate([row[name] for row in rows]) for name in columns})
        _WRITERS[destination.suffix](table, part, index=False)
    return table


def conform(x, event_shape, dtype):
    """Returns x as the model takes it, `[n, *event_shape]` of `dtype`, if nothing is lost by it.

    Raises:
      ValueError: if x is empty, has another number of values per row, or values that are no numbers, infinite or not of
        `dtype`. Of floats NaN passes: whether values may be missing, the model knows.
    """
    x = np.asarray(x)
    size = int(np.prod(event_shape))
    if not len(x) or x[0].size != size:
        received = f"{x[0].size} values in each row" if len(x) else "no rows"
        raise ValueError(f"Expected {size} values in each row, of shape {event_shape}. Received: {received}")
    integers = np.issubdtype(dtype, np.integer)
    if x.dtype.kind not in "buif" or np.isinf(x).any() or (integers and np.isnan(x).any()):
        raise ValueError(f"Expected finite numbers. Received: {x.dtype} values, some of them missing or not finite")
    converted = x.astype(dtype)
    if integers and not np.array_equal(converted, x):
        raise ValueError(
            f"Expected {np.dtype(dtype)} values, as in training. Received: {x.dtype} in [{x.min()}, {x.max()}]"
        )
    return converted.reshape(-1, *event_shape)


def _reason(error):
    """What an assertion of the model says, without TensorFlow's account of where it stands."""
    found = re.search(r"assertion failed: \[(.*?)\] \[", error.message)
    return found.group(1) if found else error.message
