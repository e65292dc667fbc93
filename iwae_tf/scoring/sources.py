"""The kinds of sources by file name."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy.typing as npt

from iwae_tf.files import check_exists
from iwae_tf.scoring.arrays import Npy, Npz
from iwae_tf.scoring.base import Source, get_suffix
from iwae_tf.scoring.folders import open_folder
from iwae_tf.scoring.images import TFRecord
from iwae_tf.scoring.saved_columns import NO_COLUMNS, SavedColumns
from iwae_tf.scoring.tables import Csv, Parquet

KINDS: dict[str, type[Source]] = {".csv": Csv, ".npy": Npy, ".npz": Npz, ".parquet": Parquet, ".tfrecord": TFRecord}


def check_kind(path: str | os.PathLike) -> None:
    """Raises an error unless a path is a source of a known kind.

    Raises:
      FileNotFoundError: if the file does not exist.
      ValueError: if it is of another kind.
    """
    path = Path(path)
    if get_suffix(path) not in KINDS and not path.is_dir():
        raise ValueError(
            f"Expected a file that ends in {', '.join(KINDS)}, or a folder of such files or of images. Received: {path}"
        )
    check_exists(path)


def open_source(
    path: str | os.PathLike,
    event_shape: Sequence[int],
    dtype: npt.DTypeLike,
    columns: SavedColumns = NO_COLUMNS,
    header: bool | None = None,
) -> Source:
    """Makes the `Source` of a file or folder; see `Source` for the arguments.

    Raises:
      ValueError: if the rows do not match the model's input, or `header` is set for anything but .csv files.
    """
    path = Path(path)
    if path.is_dir():
        source = open_folder(path, KINDS, event_shape, dtype, columns=columns, header=header)
    else:
        source = KINDS[get_suffix(path)](path, event_shape, dtype, columns=columns, header=header)
    if header is not None and any(get_suffix(file) != ".csv" for file in source.files()):
        raise ValueError(f"Expected header for .csv files only. Received: header={header!r} for {path}")
    return source
