"""Files and folders as whole arrays or frames, to train on."""

import itertools
import json
import os
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import tensorflow as tf

from iwae_tf.scoring import arrays, base, images, sources
from iwae_tf.scoring.folders import list_files
from iwae_tf.scoring.tables import has_header


class Values(NamedTuple):
    """The rows of a file or a folder.

    Attributes:
      rows: a frame of a .csv or .parquet file, or an array `[n, *event_shape]` of anything else.
      names: names of the images of a folder, `[n]`, or `None`.
    """

    rows: np.ndarray | pd.DataFrame
    names: np.ndarray | None = None


def read(path: str | os.PathLike, limit: int | None = None) -> Values:
    """Reads the rows of a file or a folder; see `scoring.score` for the kinds.

    Args:
      path: the file or the folder.
      limit: the most rows to read.

    Raises:
      FileNotFoundError: if the file does not exist.
      ValueError: if it is of an unknown kind or damaged, holds no rows, or rows of different shapes.
    """
    path = Path(path)
    sources.check_kind(path)
    files = list_files(path, sources.KINDS) if path.is_dir() else [path]
    values = _read_images(path, limit) if not files else _read_files(files, limit)
    if not len(values.rows):
        raise ValueError(f"Expected at least one row. Received: no rows in {path}")
    return values


def read_frame(path: str | os.PathLike) -> pd.DataFrame:
    """Reads the rows of a .csv or .parquet file, or of a folder of such files; see `read`.

    Raises:
      ValueError: also if the rows have no columns.
    """
    rows = read(path).rows
    if not isinstance(rows, pd.DataFrame):
        raise ValueError(f"Expected a .csv or .parquet file. Received: {path}")
    return rows


def _read_files(files: Iterable[Path], limit: int | None) -> Values:
    parts: list[Any] = []
    for file in files:
        parts.append(_READERS[base.get_suffix(file)](file))
        if limit is not None and sum(map(len, parts)) >= limit:
            break
    if isinstance(parts[0], pd.DataFrame):
        return Values(pd.concat(parts, ignore_index=True)[:limit])
    try:
        return Values(np.concatenate(parts)[:limit])
    except ValueError as error:
        raise ValueError(f"Expected files of one shape. Received: {error}") from error


def _read_csv(path: Path) -> pd.DataFrame:
    header = 0 if has_header(path) else None
    with base.reporting_damage(path, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError):
        frame = pd.read_csv(path, header=header)
    return _drop_index(frame)


def _drop_index(frame: pd.DataFrame) -> pd.DataFrame:
    """Drops a first column that has no name and counts the rows, where `frame.to_csv` writes the index."""
    first = frame.columns[0]
    is_index = str(first) == "Unnamed: 0" and frame[first].tolist() == list(range(len(frame)))
    return frame.drop(columns=first) if is_index else frame


def _read_parquet(path: Path) -> pd.DataFrame:
    with base.reporting_damage(path, pa.ArrowException, OSError, UnicodeDecodeError, json.JSONDecodeError):
        return pd.read_parquet(path)


def _read_npy(path: Path) -> np.ndarray:
    with base.reporting_damage(path, ValueError, OSError, EOFError):
        return np.load(path, allow_pickle=False)


def _read_npz(path: Path) -> np.ndarray:
    with base.reporting_damage(path, *arrays.DAMAGE), zipfile.ZipFile(path) as archive, np.load(path) as file:
        return file[arrays.choose_array(archive)]


def _read_records(path: Path) -> np.ndarray:
    first = next(iter(tf.data.TFRecordDataset(str(path))), None)
    if first is None:
        raise ValueError(f"Expected at least one record. Received: none in {path}")
    shape, dtype = images.describe_record(first.numpy())
    return _collect(images.TFRecord(path, shape, dtype), itertools.count(), None)


def _read_images(path: Path, limit: int | None) -> Values:
    names = images.list_images(path)
    shape = images.find_shape((path / names[0]).read_bytes())
    rows = _collect(images.Images(path, shape, np.uint8), names, limit)
    return Values(rows, np.array(names[:limit]))


def _collect(source: base.Source, names: Iterable[Any], limit: int | None) -> np.ndarray:
    """Returns the rows of a source, `[n, *event_shape]`; raises a `ValueError` for a row that cannot be read."""
    rows = []
    for row, name in zip(itertools.islice(source.rows(0), limit), names, strict=False):
        if row.x is None:
            raise ValueError(f"{row.reason}; {source.where[0]} {name} of {source.path}")
        rows.append(row.x.astype(source.dtype))
    return np.stack(rows).reshape(-1, *source.event_shape)


_READERS: dict[str, Callable[[Path], np.ndarray | pd.DataFrame]] = {
    ".csv": _read_csv,
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".parquet": _read_parquet,
    ".tfrecord": _read_records,
}
