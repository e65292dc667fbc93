"""Files and folders that appear under their name only when they are complete."""

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd


@contextlib.contextmanager
def write_whole(
    path: str | os.PathLike, overwrite: bool = False, keep_failed: bool = False, resume: bool = False
) -> Iterator[Path]:
    """Yields a temporary path to write a file or a folder to, and renames it to `path` once all of it is on the disk.

    Args:
      path: the final path.
      overwrite: whether to replace what exists at `path`, and what an earlier call left unfinished.
      keep_failed: whether to keep what was written when an error is raised. An interrupt always keeps it.
      resume: whether to start from what an earlier call left unfinished.

    Raises:
      OSError: if the disk is full or read-only, also where a library reports that by an error of its own.
      FileExistsError: if `path` exists and `overwrite` is false, or if an unfinished one exists and both `overwrite`
        and `resume` are false.

    Example:
      ```python
      with iwae_tf.files.write_whole("scores.csv") as part:
          part.write_text("score")
      ```
    """
    path = Path(path)
    part = _part_of(path)
    check_absent(path, overwrite, resume, keep_failed)
    if not resume:
        remove(part)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
    except Exception as error:
        if not keep_failed:
            remove(part)
        for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            if os.strerror(code) in str(error) and not isinstance(error, OSError):  # as TensorFlow raises
                raise OSError(code, os.strerror(code), str(path)) from error
        raise
    _flush(part)
    old = path.with_name(f"{path.name}.old")
    if path.is_dir():  # a folder cannot be replaced in one step
        remove(old)
        path.rename(old)
    part.replace(path)
    _flush(path.parent, deep=False)
    remove(old)


def check_absent(
    path: str | os.PathLike, overwrite: bool = False, resume: bool = False, resumable: bool = False
) -> None:
    """Raises an error if something is in the way of `write_whole`.

    Args:
      path: the final path.
      overwrite: whether to replace what exists.
      resume: whether to start from what an earlier call left unfinished.
      resumable: whether the caller could do so, which the error then says.

    Raises:
      FileExistsError: if `path` exists and `overwrite` is false, or if an unfinished one exists and both `overwrite`
        and `resume` are false.
    """
    path = Path(path)
    hint = "pass overwrite (--overwrite) to replace it"
    if path.exists() and not overwrite:
        raise FileExistsError(f"Expected {path} not to exist. Received: it exists; {hint}")
    if _part_of(path).exists() and not (overwrite or resume):
        hint += ", or resume (--resume) to finish it" * resumable
        raise FileExistsError(f"Expected {path} not to exist. Received: an unfinished one exists; {hint}")


def find_in_run(run: str | os.PathLike, name: str) -> Path:
    """Returns the path of a file in the folder of a run.

    Raises:
      FileNotFoundError: if `run` is not a run folder.
    """
    path = Path(run) / name
    if not path.is_file():
        raise FileNotFoundError(f"Expected the folder of a run, with {name} in it. Received: {run}")
    return path


def check_exists(path: str | os.PathLike) -> None:
    """Raises a `FileNotFoundError` unless there is a file or a folder at a path."""
    if not Path(path).exists():
        raise FileNotFoundError(f"Expected an existing file. Received: {path}, which does not exist")


def check_saved_model(path: str | os.PathLike) -> None:
    """Raises an error unless a path is the folder of a SavedModel.

    Raises:
      FileNotFoundError: if there is no SavedModel; the message names the one in the folder of a run.
    """
    if not (Path(path) / "saved_model.pb").is_file():
        subfolder = Path(path) / "saved_model"
        hint = f"; try {subfolder}" if subfolder.is_dir() else ""
        raise FileNotFoundError(f"Expected the folder of a SavedModel. Received: {path}{hint}")


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Raises:
      ValueError: if the file is not JSON, or holds anything but an object; the message names the file.
    """
    try:
        content = json.loads(Path(path).read_text())
    except ValueError as error:
        raise ValueError(f"Expected JSON in {path}. Received: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"Expected a JSON object in {path}. Received: {type(content).__name__}")
    return content


def write_json(path: str | os.PathLike, content: Mapping[str, Any]) -> None:
    """Writes an object to a JSON file, in place of what exists."""
    with write_whole(path, overwrite=True) as part:
        part.write_text(json.dumps(content, indent=2) + "\n")


def compute_checksum(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def find_unfinished(path: str | os.PathLike) -> Path | None:
    """Returns the path of what an interrupted `write_whole` of `path` left behind, or `None`."""
    part = _part_of(Path(path))
    return part if part.exists() else None


def _part_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _flush(path: Path, deep: bool = True) -> None:
    """Waits until a file, or a folder with all of its content, is on the disk and would survive a power failure."""
    for entry in (*(path.rglob("*") if deep else ()), path):
        file = os.open(entry, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def remove(path: Path) -> None:
    """Removes a file or a folder if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class Journal:
    """A table that grows by parts, in a CSV file if there is a path, so that long work can be resumed.

    Each part is appended in one write. A part that an interrupt has truncated is dropped when the file is read again.

    Args:
      path: a CSV file, or `None`.
      origin: numbers that identify what the rows were computed from, by name: the first columns of the file.

    Raises:
      ValueError: if the file holds rows of another origin.
    """

    def __init__(self, path: str | os.PathLike | None, origin: Mapping[str, float]) -> None:
        self._path, self._origin = None if path is None else Path(path), dict(origin)
        self._parts: dict[int, pd.DataFrame] = {}
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            self._read(self._path)

    def _read(self, path: Path) -> None:
        text = path.read_text()
        lines = text[: text.rfind("\n") + 1]  # without a truncated one
        rows = pd.read_csv(io.StringIO(lines), dtype=str) if lines else pd.DataFrame()
        rows = rows.astype(float)  # through strings, since the parser of pandas may err in the last digit
        if len(rows):
            origins = rows[[name for name in self._origin if name in rows]].drop_duplicates().to_dict("records")
            if origins != [self._origin]:
                raise ValueError(f"Expected {self._path} to hold rows of {self._origin}. Received: {origins}")
            parts = {int(part["part"].iloc[0]): part for _, part in rows.groupby("part")}
            self._parts = {i: part for i, part in parts.items() if len(part) == part["part_size"].iloc[0]}
        # The file keeps the complete parts only.
        if not self._parts:
            path.unlink()
            return
        with write_whole(path, overwrite=True) as part:
            pd.concat(self._parts.values()).to_csv(part, index=False)

    def has(self, i: int, source: int) -> bool:
        """Returns whether part i is in the table.

        Args:
          i: number of the part.
          source: checksum of the data of the part.

        Raises:
          ValueError: if the table has part i of data with another checksum.
        """
        if i in self._parts and (self._parts[i].source != source).any():
            raise ValueError(f"Expected part {i} of {self._path} to be of these data. Received: rows of other data")
        return i in self._parts

    def add(self, i: int, source: int, rows: pd.DataFrame) -> None:
        """Adds part i; see `has`."""
        columns = {**self._origin, "part": i, "part_size": len(rows), "source": source}
        rows = pd.DataFrame(columns, index=rows.index).join(rows)
        self._parts[i] = rows
        if self._path is not None:
            empty = not self._path.exists() or not self._path.stat().st_size
            with self._path.open("a") as file:
                file.write(rows.to_csv(index=False, header=empty))

    def to_frame(self) -> pd.DataFrame:
        """Returns all rows without the bookkeeping columns."""
        rows = pd.concat([self._parts[i] for i in sorted(self._parts)], ignore_index=True)
        return rows.drop(columns=[*self._origin, "part", "part_size", "source"])
