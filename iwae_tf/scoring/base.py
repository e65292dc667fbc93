"""The base class of sources: rows, each with the reason if it cannot be read."""

import contextlib
import errno
import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

#: Bytes read at once.
BLOCK = 2**20


class Row(NamedTuple):
    """A row of a source.

    Attributes:
      x: the values of the row, `[size]`, or `None` if it cannot be read.
      reason: why the row cannot be read.
      line: the number of the line in a text file, counted from 1.
    """

    x: np.ndarray | None
    reason: str | None = None
    line: int | None = None


class Source:
    """The observations in a file or a folder.

    Args:
      path: the file or folder.
      event_shape: the shape of one observation of the model.
      dtype: the NumPy dtype of the model's input.
      columns: the names of the model's columns in the model's order, if it is a model of a table.
      header: whether a .csv file begins with a header; `None` decides by its first lines.

    Attributes:
      total: the number of rows, or `None` if it is unknown until all rows are read.
      where: names of the columns that identify a row.

    Raises:
      ValueError: if the file does not hold rows that match the model's input.
    """

    total: int | None = None
    where: ClassVar[tuple[str, ...]] = ("row",)

    def __init__(
        self,
        path: Path,
        event_shape: Sequence[int],
        dtype: npt.DTypeLike,
        columns: Sequence[str] = (),
        header: bool | None = None,
    ) -> None:
        self.path, self.event_shape, self.dtype = path, event_shape, np.dtype(dtype)
        self.columns, self.header = columns, header
        self.size = math.prod(event_shape)

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
        """Returns a record batch with its row numbers replaced by names, if the rows of this source have names."""
        return batch

    def fingerprint(self) -> str:
        """Returns a string that changes when the names, sizes or modification times of the files do."""
        digest = hashlib.sha256()
        for path in self.files():
            stat = path.stat()
            digest.update(f"{path.name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode(errors="surrogateescape"))
        return digest.hexdigest()

    @contextlib.contextmanager
    def reporting_damage(self, *errors: type[BaseException]) -> Iterator[None]:
        """Raises a `ValueError` in place of these errors, which libraries raise for damaged files."""
        try:
            yield
        except errors as error:
            # EINVAL comes from seeking to an offset that no file has; other codes mean that the disk failed.
            if getattr(error, "errno", None) not in (None, errno.EINVAL):
                raise
            raise ValueError(
                f"Expected an undamaged {self.path.suffix} file. Received: {self.path}: {error}"
            ) from error

    def check_size(self, size: int, count: int = 1) -> None:
        """Raises a `ValueError` if rows do not have the size of an observation, or there are no rows."""
        if not count or size != self.size:
            received = f"{size} values in each row" if count else "no rows"
            expected = f"{self.size} values in each row, of shape {self.event_shape}"
            raise ValueError(f"Expected {expected}. Received: {received}")
