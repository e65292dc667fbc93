"""Rows of .npy and .npz files."""

import contextlib
import math
import shutil
import tempfile
import tokenize
import warnings
import zipfile
import zlib

import numpy as np

from iwae_tf.scoring.rows import BLOCK, Row, Source


class Npy(Source):
    """An array in a .npy file, `[n, ...]`, in C or Fortran order."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        with self._open() as file:
            shape, self._fortran, self._of = self._header(file)
        if not shape or self._of.kind not in "buif":
            raise ValueError(f"Expected an array of rows of numbers. Received: shape {shape}, dtype {self._of}")
        self.check_size(math.prod(shape[1:]), shape[0])
        self._check_shape(shape)
        self.total = self._num_rows = shape[0]

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        """Raises an error unless rows are flat or have the model's shape, axes of length 1 aside."""
        same = [n for n in shape[1:] if n != 1] == [n for n in self.event_shape if n != 1]
        # Others of the same size, such as [3, 8, 8] for [8, 8, 3], would be scored as if transposed.
        if len(shape) != 2 and not same:
            expected = f"[n, {', '.join(map(str, self.event_shape))}] or of flat rows, [n, {self.size}]"
            raise ValueError(f"Expected an array of shape {expected}. Received: shape {list(shape)}")

    def _open(self):
        return self.path.open("rb")

    def _header(self, file):
        """Reads the header: shape, whether in Fortran order, dtype."""
        # It is Python, if it is whole; that it may be of Python 2, which NumPy warns of, is no fault.
        damages = (ValueError, SyntaxError, TypeError, tokenize.TokenError)
        with self.damaged(*damages), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                return np.lib.format.read_array_header_1_0(file)
            return np.lib.format.read_array_header_2_0(file)

    def rows(self, start):
        for block in (self._mapped if self._fortran else self._streamed)(start):
            for x in block.reshape(len(block), -1):
                yield Row(x)

    def _streamed(self, start):
        """Yields blocks of rows as they stand in the file."""
        bytes_per_row = self.size * self._of.itemsize
        at_once = max(BLOCK // bytes_per_row, 1)
        with self._open() as file:
            self._header(file)
            file.seek(start * bytes_per_row, 1)
            for i in range(start, self._num_rows, at_once):
                n = min(at_once, self._num_rows - i)
                block = file.read(n * bytes_per_row)
                if len(block) < n * bytes_per_row:
                    raise ValueError(
                        f"Expected {self.total} rows in {self.path}. Received: {i + len(block) // bytes_per_row}"
                    )
                yield np.frombuffer(block, self._of).reshape(n, self.size)

    def _mapped(self, start):
        """Yields blocks of rows whose values stand apart; what has been looked at is unmapped again."""
        with self._on_disk() as path, self.damaged(ValueError, OverflowError, OSError):
            at_once = max(BLOCK // (self.size * self._of.itemsize), 1)
            for i in range(start, self._num_rows, at_once):
                yield np.array(np.load(path, mmap_mode="r", allow_pickle=False)[i : i + at_once])

    def _on_disk(self):
        return contextlib.nullcontext(self.path)


class Npz(Npy):
    """The array named `x`, or the only one, of a .npz file."""

    @contextlib.contextmanager
    def _open(self):
        # The last is for what looks like another version, compression or encryption.
        damages = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError)
        with self.path.open("rb") as whole, self.damaged(*damages), zipfile.ZipFile(whole) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            name = names[0] if len(names) == 1 else "x.npy"
            if name not in names:
                received = ", ".join(name.removesuffix(".npy") for name in names) or "none"
                raise ValueError(f"Expected an array named x, or only one. Received: {received}")
            with archive.open(name) as file:
                yield file

    @contextlib.contextmanager
    def _on_disk(self):
        with self._open() as file, tempfile.NamedTemporaryFile(suffix=".npy") as copy:
            shutil.copyfileobj(file, copy)
            copy.flush()
            yield copy.name
