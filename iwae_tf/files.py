"""Files and folders that appear under their name only when they are whole."""

import contextlib
import io
import shutil
from pathlib import Path

import pandas as pd


@contextlib.contextmanager
def written_whole(path, overwrite=False, keep_failed=False, resume=False):
    """Yields a path beside `path` to write to; it takes the name `path` only when all is written.

    After an error what was written is removed, unless `keep_failed`; after an interrupt it stays.

    Raises:
      FileExistsError: if `path` exists and may not be overwritten, or an unfinished one lies beside it that may not be
        overwritten and is not to be resumed.
      FileNotFoundError: if there is no unfinished one to `resume`.
    """
    path = Path(path)
    part = unfinished(path) if resume else _part_of(path)
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
    except Exception:
        if not keep_failed:
            remove(part)
        raise
    remove(path)
    part.rename(path)


def unfinished(path):
    """Returns the path of what an interrupted `written_whole` of `path` has left; a `FileNotFoundError` for nothing."""
    part = _part_of(Path(path))
    if not part.exists():
        raise FileNotFoundError(f"Expected something unfinished to resume, {part}. Received: nothing of that name")
    return part


def _part_of(path):
    return path.with_name(f"{path.name}.part")


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
        with written_whole(path, overwrite=True) as part:
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
