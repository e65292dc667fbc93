"""What every kind of source has in common: rows, and a reason where one cannot be read."""

import contextlib
import errno
import hashlib
import math
from typing import ClassVar, NamedTuple

import numpy as np

#: Bytes read at once.
BLOCK = 2**20


class Row(NamedTuple):
    """A row of a source.

    Attributes:
      x: its values, `[size]`, or `None` if it cannot be read.
      reason: why it cannot.
      line: of a text file, from 1 on.
    """

    x: np.ndarray | None
    reason: str | None = None
    line: int | None = None


class Source:
    """Observations in a file.

    Args:
      path: the file.
      event_shape: the shape of an observation of the model.
      dtype: NumPy's, of the model.
      columns: names of the columns of a table in the order of the model, or none.
      header: whether a .csv file begins with a header; `None` goes by what it holds.

    Attributes:
      total: how many rows there are, or `None` if only reading them shows it.
      where: names of the columns that say which row it is.

    Raises:
      ValueError: if nothing in the file can be read as rows of the model.
    """

    total: int | None = None
    where: ClassVar[tuple[str, ...]] = ("row",)

    def __init__(self, path, event_shape, dtype, columns=(), header=None):
        self.path, self.event_shape, self.dtype = path, event_shape, np.dtype(dtype)
        self.columns, self.header = columns, header
        self.size = math.prod(event_shape)

    def rows(self, start):
        """Yields a `Row` for every row from number `start` on."""
        raise NotImplementedError

    def pieces(self):
        """Yields the first row and the number of rows (`None`: all) of the parts that can be read by themselves."""
        yield 0, None

    def files(self):
        """Returns the paths that are read."""
        return [self.path]

    def named(self, batch):
        """Returns a record batch with the names of its rows, in place of their numbers where they have names."""
        return batch

    def fingerprint(self):
        """Returns a string that changes with the files: their names, sizes and times of change."""
        digest = hashlib.sha256()
        for path in self.files():
            about = path.stat()
            digest.update(f"{path.name}\0{about.st_size}\0{about.st_mtime_ns}\0".encode(errors="surrogateescape"))
        return digest.hexdigest()

    @contextlib.contextmanager
    def damaged(self, *errors):
        """Raises what a library raises of a damaged file, which may be of any of these types, as a `ValueError`."""
        try:
            yield
        except errors as error:
            if getattr(error, "errno", None) not in (None, errno.EINVAL):  # for a place that no file has
                raise  # of the disk, not of what is on it
            raise ValueError(f"Expected a whole {self.path.suffix} file. Received: {self.path}: {error}") from error

    def check_size(self, size, count=1):
        """Raises an error if rows are of another size, or there are none."""
        if not count or size != self.size:
            received = f"{size} values in each row" if count else "no rows"
            expected = f"{self.size} values in each row, of shape {self.event_shape}"
            raise ValueError(f"Expected {expected}. Received: {received}")
