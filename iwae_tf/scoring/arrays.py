"""Rows of .npy and .npz files."""

import contextlib
import math
import shutil
import tempfile
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

import numpy as np

from iwae_tf.data.sequences import as_lengths
from iwae_tf.scoring.base import BLOCK, Row, Source, reporting_damage


class Npy(Source):
    """An array in a .npy file, `[n, ...]`, in C or Fortran order.

    Attributes:
      lengths: number of steps of each row of sequences, `[n]`, or `None` if padding is NaN.
    """

    lengths: np.ndarray | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        shape, self._fortran, self._file_dtype = self._read_header()
        if not shape or self._file_dtype.kind not in "buif":
            raise ValueError(f"Expected an array of rows of numbers. Received: shape {shape}, dtype {self._file_dtype}")
        self.check_size(math.prod(shape[1:]), shape[0])
        self._check_shape(shape)
        self.total = self._num_rows = shape[0]

    def resolve_shape(self, event_shape: tuple[int | None, ...]) -> tuple[int, ...]:
        if None not in event_shape:
            return event_shape  # type: ignore[return-value]
        shape = self._read_header()[0]
        if len(shape) != len(event_shape) + 1:
            expected = f"[n, time, {', '.join(map(str, event_shape[1:]))}]"
            raise ValueError(f"Expected sequences, an array of shape {expected}. Received: shape {list(shape)}")
        return tuple(shape[1] if size is None else size for size in event_shape)

    def _read_header(self) -> tuple[tuple[int, ...], bool, np.dtype]:
        with self._open() as file:
            return self._header(file)

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        """Raises an error unless rows are flat or have the model's shape, apart from axes of length 1."""
        same = [n for n in shape[1:] if n != 1] == [n for n in self.event_shape if n != 1]
        # Another shape of the same size, such as [3, 8, 8] for [8, 8, 3], would be scored as if transposed.
        if len(shape) != 2 and not same:
            expected = f"[n, {', '.join(map(str, self.event_shape))}] or of flat rows, [n, {self.size}]"
            raise ValueError(f"Expected an array of shape {expected}. Received: shape {list(shape)}")

    def _open(self) -> AbstractContextManager[IO[bytes]]:
        return self.path.open("rb")

    def _header(self, file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
        """Reads the header: the shape, whether in Fortran order, the dtype."""
        # The header is a Python literal. NumPy warns where Python 2 wrote it, which does no harm.
        errors = (ValueError, SyntaxError, TypeError, tokenize.TokenError)
        with reporting_damage(self.path, *errors), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                return np.lib.format.read_array_header_1_0(file)
            return np.lib.format.read_array_header_2_0(file)

    def rows(self, start: int) -> Iterator[Row]:
        for block in (self._map_blocks if self._fortran else self._read_blocks)(start):
            for x in block.reshape(len(block), -1):
                yield Row(x if self.lengths is None else self._cut(x, start))
                start += 1

    def _cut(self, x: np.ndarray, row: int) -> np.ndarray:
        """Returns a flat sequence with NaN in place of its padding."""
        assert self.lengths is not None
        steps = x.astype(np.float32).reshape(self.event_shape)
        steps[self.lengths[row] :] = np.nan
        return steps.reshape(-1)

    def _read_blocks(self, start: int) -> Iterator[np.ndarray]:
        """Yields blocks of rows in the order of the file."""
        bytes_per_row = self.size * self._file_dtype.itemsize
        rows_per_block = max(BLOCK // bytes_per_row, 1)
        with self._open() as file:
            self._header(file)
            file.seek(start * bytes_per_row, 1)
            for i in range(start, self._num_rows, rows_per_block):
                n = min(rows_per_block, self._num_rows - i)
                block = file.read(n * bytes_per_row)
                if len(block) < n * bytes_per_row:
                    raise ValueError(
                        f"Expected {self.total} rows in {self.path}. Received: {i + len(block) // bytes_per_row}"
                    )
                yield np.frombuffer(block, self._file_dtype).reshape(n, self.size)

    def _map_blocks(self, start: int) -> Iterator[np.ndarray]:
        """Yields blocks of rows whose values are scattered over the file; maps the file anew for each block."""
        with self._as_file() as path, reporting_damage(self.path, ValueError, OverflowError, OSError):
            rows_per_block = max(BLOCK // (self.size * self._file_dtype.itemsize), 1)
            for i in range(start, self._num_rows, rows_per_block):
                yield np.array(np.load(path, mmap_mode="r", allow_pickle=False)[i : i + rows_per_block])

    def _as_file(self) -> AbstractContextManager[Path | str]:
        """Returns a context with the path of a .npy file."""
        return contextlib.nullcontext(self.path)


#: What zipfile and NumPy raise for damaged archives; a RuntimeError for an unknown version, compression or encryption.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError)


def choose_array(archive: zipfile.ZipFile) -> str:
    """Returns the name of the array of an archive that holds the rows: `x`, or the only one.

    Raises:
      ValueError: if there are several arrays, and none is named `x`.
    """
    names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    name = names[0] if len(names) == 1 else "x"
    if name not in names:
        raise ValueError(f"Expected an array named x, or a single array. Received: {', '.join(names) or 'none'}")
    return name


class Npz(Npy):
    """The array named `x`, or the only array, of a .npz file; sequences may have `lengths` beside it, `[n]`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.is_sequential:
            return
        with reporting_damage(self.path, *DAMAGE, ValueError), np.load(self.path, allow_pickle=False) as arrays:
            lengths = arrays.get("lengths")
        if lengths is not None:
            self.lengths = as_lengths(lengths, np.full(self._num_rows, self.event_shape[0]))

    @contextlib.contextmanager
    def _open(self) -> Iterator[IO[bytes]]:
        with (
            self.path.open("rb") as binary,
            reporting_damage(self.path, *DAMAGE),
            zipfile.ZipFile(binary) as archive,
            archive.open(f"{choose_array(archive)}.npy") as file,
        ):
            yield file

    @contextlib.contextmanager
    def _as_file(self) -> Iterator[str]:
        with self._open() as file, tempfile.NamedTemporaryFile(suffix=".npy") as copy:
            shutil.copyfileobj(file, copy)
            copy.flush()
            yield copy.name
