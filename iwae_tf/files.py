"""Files and folders that appear under their name only when they are whole."""

import contextlib
import errno
import io
import json
import os
import shutil
from pathlib import Path

import pandas as pd


@contextlib.contextmanager
def write_whole(path, overwrite=False, keep_failed=False, resume=False):
    """Yields a path beside `path` to write to; it takes the name `path` only when all is written, and on the disk.

    After an error what was written is removed, unless `keep_failed`; after an interrupt it stays. With `resume` what an
    earlier call has left is still there.

    Raises:
      OSError: also where a library says in an error of its own that the disk is full or read-only.
      FileExistsError: if `path` exists and may not be overwritten, or an unfinished one lies beside it that may not be
        overwritten and is not to be resumed.
    """
    path = Path(path)
    part = _part_of(path)
    hint = "pass overwrite (--overwrite) to replace it"
    if path.exists() and not overwrite:
        raise FileExistsError(f"Expected {path} to be free. Received: it exists; {hint}")
    if part.exists() and not (overwrite or resume):
        hint += ", or resume (--resume) to go on with it" * keep_failed
        raise FileExistsError(f"Expected {path} to be free. Received: an unfinished earlier one exists; {hint}")
    if not resume:
        remove(part)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
    except Exception as error:
        if not keep_failed:
            remove(part)
        for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            if os.strerror(code) in str(error) and not isinstance(error, OSError):  # TensorFlow's are none
                raise OSError(code, os.strerror(code), str(path)) from error
        raise
    _flush(part)
    old = path.with_name(f"{path.name}.old")
    if path.is_dir():  # which cannot be replaced at once
        remove(old)
        path.rename(old)
    part.replace(path)
    _flush(path.parent, deep=False)
    remove(old)


def read_json(path):
    """Returns what a JSON file holds, a dict; a `ValueError` names the file if it is damaged."""
    try:
        held = json.loads(Path(path).read_text())
    except ValueError as error:
        raise ValueError(f"Expected JSON in {path}. Received: {error}") from error
    if not isinstance(held, dict):
        raise ValueError(f"Expected a JSON object in {path}. Received: {type(held).__name__}")
    return held


def find_unfinished(path):
    """Returns the path of what an interrupted `write_whole` of `path` has left, or `None`."""
    part = _part_of(Path(path))
    return part if part.exists() else None


def _part_of(path):
    return path.with_name(f"{path.name}.part")


def _flush(path, deep=True):
    """Waits until a file, or a folder and all in it, is on the disk and would survive a loss of power."""
    for found in (*(path.rglob("*") if deep else ()), path):
        file = os.open(found, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def remove(path):
    """Removes a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class Journal:
    """Rows of a table that are kept part by part, in a CSV file if there is a path, so that long work can be taken up.

    Every part goes to the file in one piece, and a piece that an interrupt has cut short is left out on reading.

    Args:
      path: a CSV file, or `None`.
      about: dict of numbers or strings that say what the rows are of, the first columns of the file.

    Raises:
      ValueError: if the file holds the rows of something else.
    """

    def __init__(self, path, about):
        self._path, self._about = None if path is None else Path(path), about
        self._parts = {}
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            self._read(self._path)

    def _read(self, path):
        text = path.read_text()
        whole = text[: text.rfind("\n") + 1]
        rows = pd.read_csv(io.StringIO(whole), dtype=str) if whole else pd.DataFrame()
        rows = rows.astype(float)  # by way of strings, since the parser of pandas is off in the last digit
        if len(rows):
            found = rows[[name for name in self._about if name in rows]].drop_duplicates().to_dict("records")
            if found != [self._about]:
                raise ValueError(f"Expected {self._path} to hold rows of {self._about}. Received: {found}")
            sizes = rows.groupby("part").part_size.first()
            complete = [i for i, part in rows.groupby("part") if len(part) == sizes[i]]
            rows = rows[rows.part.isin(complete)]
            self._parts = dict(iter(rows.groupby("part")))
        # What an interrupt has cut short goes.
        if rows.empty:
            path.unlink()
            return
        with write_whole(path, overwrite=True) as part:
            rows.to_csv(part, index=False)

    def has(self, i, source):
        """Whether part i is there; a `ValueError` if it is of another `source`, a number that stands for its data."""
        if i in self._parts and (self._parts[i].source != source).any():
            raise ValueError(f"Expected part {i} of {self._path} to be of these data. Received: rows of others")
        return i in self._parts

    def add(self, i, source, rows):
        """Adds part i, a `DataFrame`."""
        about = {**self._about, "part": i, "part_size": len(rows), "source": source}
        rows = pd.DataFrame(about, index=rows.index).join(rows)
        self._parts[i] = rows
        if self._path is not None:
            empty = not self._path.exists() or not self._path.stat().st_size
            with self._path.open("a") as file:
                file.write(rows.to_csv(index=False, header=empty))

    def table(self):
        """Returns all rows, without what they are of."""
        rows = pd.concat([self._parts[i] for i in sorted(self._parts)], ignore_index=True)
        return rows.drop(columns=[*self._about, "part", "part_size", "source"])
