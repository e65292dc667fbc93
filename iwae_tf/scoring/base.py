"""The base class of sources: rows, each with the reason if it cannot be read."""

import contextlib
import errno
import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from iwae_tf.scoring.saved_columns import NO_COLUMNS, SavedColumns

#: Bytes read at once.
BLOCK = 2**20


def get_suffix(path: Path) -> str:
    """Returns the suffix of a file in lower case; that of the shard `x.tfrecord-00000-of-00004` is `.tfrecord`."""
    return re.sub(r"-\d+-of-\d+$", "", path.suffix.lower())


@contextlib.contextmanager
def reporting_damage(path: Path, *errors: type[BaseException]) -> Iterator[None]:
    """Raises a `ValueError` in place of these errors, which libraries raise for damaged files."""
    try:
        yield
    except errors as error:
        # EINVAL comes from seeking to an offset that no file has; other codes mean that the disk failed.
        if getattr(error, "errno", None) not in (None, errno.EINVAL):
            raise
        raise ValueError(f"Expected an undamaged {get_suffix(path)} file. Received: {path}: {error}") from error


class Row(NamedTuple):
    """A row of a source.

    Attributes:
      x: the values of the row, `[size]`, or `None` if it cannot be read.
      reason: why the row cannot be read.
      line: the number of the line in a text file, counted from 1.
      identifier: the value of the column that identifies rows, as text.
    """

    x: np.ndarray | None
    reason: str | None = None
    line: int | None = None
    identifier: str | None = None


class Source:
    """The observations in a file or a folder.

    Args:
      path: the file or folder.
      event_shape: the shape of one observation of the model.
      dtype: the NumPy dtype of the model's input.
      columns: the columns that the model knows by name.
      header: whether a .csv file begins with a header; `None` decides by its first lines.

    Attributes:
      total: the number of rows, or `None` if it is unknown until all rows are read.
      id_column: name of the column that identifies rows, or `None` if the source has none.
      is_sequential: whether the observations are sequences of any length.
      where: names of the columns that identify a row.

    Raises:
      ValueError: if the file does not hold rows that match the model's input.
    """

    total: int | None = None
    id_column: str | None = None
    where: ClassVar[tuple[str, ...]] = ("row",)

    def __init__(
        self,
        path: Path,
        event_shape: Sequence[int],
        dtype: npt.DTypeLike,
        columns: SavedColumns = NO_COLUMNS,
        header: bool | None = None,
    ) -> None:
        self.path, self.dtype = path, np.dtype(dtype)
        self.columns, self.header = columns, header
        self.is_sequential = None in tuple(event_shape)
        self.event_shape = self.resolve_shape(tuple(event_shape))
        self.size = math.prod(self.event_shape)

    def resolve_shape(self, event_shape: tuple[int | None, ...]) -> tuple[int, ...]:
        """Returns the shape of the observations of this source, for a model whose first axis is open.

        Raises:
          ValueError: if the axis is open and the source has no sequences.
        """
        if None in event_shape:
            raise ValueError(f"Expected a .npy or .npz file of sequences, as in training. Received: {self.path}")
        return event_shape  # type: ignore[return-value]

    def rows(self, start: int) -> Iterator[Row]:
        """Yields every row from number `start` on."""
        raise NotImplementedError

    def pieces(self) -> Iterator[tuple[int, int | None]]:
        """Yields the first row and the number of rows (`None`: all) of each piece that can be read by itself."""
        yield 0, None

    def files(self) -> list[Path]:
        """Returns the paths of the files."""
        return [self.path]

    def with_names(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Returns a record batch of results with the names of this source: of its files, or of its `id_column`."""
        names = {"identifier": self.id_column} if self.id_column else {}
        return batch.rename_columns([names.get(name, name) for name in batch.schema.names])

    def fingerprint(self) -> str:
        """Returns a string that changes when the names, sizes or modification times of the files do."""
        digest = hashlib.sha256()
        for path in self.files():
            stat = path.stat()
            digest.update(f"{path.name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def check_size(self, size: int, count: int = 1) -> None:
        """Raises a `ValueError` if rows do not have the size of an observation, or there are no rows."""
        if not count or size != self.size:
            received = f"{size} values in each row" if count else "no rows"
            expected = f"{self.size} values in each row, of shape {self.event_shape}"
            raise ValueError(f"Expected {expected}. Received: {received}")
