"""The writer of scores: it keeps every batch, so that a run resumes, and names the file once it is complete."""

import contextlib
import csv
import dataclasses
import io
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from iwae_tf.scoring.base import Row, Source
from iwae_tf.scoring.endpoint import SCORES


@dataclasses.dataclass(frozen=True)
class Summary:
    """The result of scoring a source.

    Attributes:
      path: the file of scores.
      rows: the number of rows in the source.
      rejected: the number of rows without a score.
      mean_log_likelihood: the mean over the scored rows, in nats.
      rejected_path: the file that lists the rejected rows with their reasons, or `None` if there are none.
      resumed_at: the row at which an interrupted run resumed, or 0.

    Example:
      ```python
      iwae_tf.export(model, "exported", num_samples=10)
      np.save("x.npy", x)
      scoring.score("exported", "x.npy", "scores.csv").mean_log_likelihood
      ```
    """

    path: Path
    rows: int
    rejected: int
    mean_log_likelihood: float
    rejected_path: Path | None
    resumed_at: int


def check_destination(path: Path, overwrite: bool) -> None:
    """Raises an error unless scores can be written to a path.

    Raises:
      FileExistsError: if the file exists and `overwrite` is false.
      ValueError: if it is of an unknown kind.
    """
    if path.suffix.lower() not in _WRITERS:
        raise ValueError(f"Expected a file that ends in {', '.join(_WRITERS)}. Received: {path}")
    if path.exists() and not overwrite:
        raise FileExistsError(f"Expected a new file. Received: {path}, which exists; pass overwrite (--overwrite)")


def check_id_column(name: str | None) -> None:
    """Raises a `ValueError` if a column cannot be copied to the scores, because one of theirs has its name."""
    if name in (names := ("row", "file", "line", "reason", *SCORES)):
        raise ValueError(f"Expected an id_column that is none of {', '.join(names)}. Received: {name!r}")


class ScoreWriter:
    """Writes the results row by row to `<path>.part`, and what they belong to, `about`, to `<path>.part.json`.

    The first file is CSV without a header. It only grows, by one line per row of the source, in the source's order, so
    the number of complete lines is the row at which to resume.

    Args:
      path: the file of scores, .csv or .parquet.
      about: dict of JSON values that identify the model and the source.
      overwrite: whether to replace unfinished results of another model or source.

    Attributes:
      count: the number of rows written.
      any_scored: whether any of them has a score.

    Raises:
      FileExistsError: if there are unfinished results of another model or source, or an earlier list of rejected
        rows, and `overwrite` is false.
    """

    def __init__(self, path: Path, about: dict[str, Any], overwrite: bool) -> None:
        self._path = path
        self._part, self._about, self._rejected = (
            path.with_name(path.name + suffix) for suffix in (".part", ".part.json", ".rejected.csv")
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        if not self._matches(about):
            for existing in (self._part, self._rejected):
                if existing.exists() and existing.stat().st_size and not overwrite:
                    raise FileExistsError(
                        f"Expected {existing} to be missing, or of this model and source. Received: the file of "
                        "another run; pass overwrite (--overwrite) to replace it"
                    )
            self._part.unlink(missing_ok=True)
            self._about.write_text(json.dumps(about))
        self._file = self._part.open("ab")
        self.count, end = _count_lines(self._part)
        self._file.truncate(end)  # Drops a line that a kill cut short.
        self._resumed_at, self.any_scored = self.count, self.count > 0

    def _matches(self, about: dict[str, Any]) -> bool:
        """Returns whether there are unfinished results of the same model and source."""
        if not self._part.exists() or not self._about.exists():
            return False
        try:
            return json.loads(self._about.read_text()) == about
        except ValueError:
            return False

    def __enter__(self) -> "ScoreWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if kind is not None and not self.any_scored:
            self._discard()

    def _discard(self) -> None:
        for path in (self._about, self._part):
            path.unlink(missing_ok=True)

    def append(self, rows: Sequence[Row], results: Sequence[tuple | str]) -> None:
        """Writes the next rows.

        Args:
          rows: the rows.
          results: for each row a tuple of its scores, or a string with the reason why it has none.
        """
        text = io.StringIO()
        write = csv.writer(text, lineterminator="\n").writerow
        for number, (row, result) in enumerate(zip(rows, results, strict=True), start=self.count):
            if isinstance(result, str):
                write((number, *[""] * len(SCORES), row.line, _one_line(result), _one_line(row.identifier)))
            else:
                write((number, *map(str, result), "", "", _one_line(row.identifier)))
                self.any_scored = True
        self._file.write(text.getvalue().encode(errors="replace"))
        self._file.flush()
        self.count += len(rows)

    def finish(self, source: Source, dtype: np.dtype) -> Summary:
        """Writes the scores and the rejected rows to their own files.

        Args:
          source: the source of the rows, which knows their names.
          dtype: the NumPy dtype of scores.

        Raises:
          ValueError: if no row has a score.
        """
        self._file.close()
        if not self.count:
            raise ValueError(f"Expected at least one row. Received: no rows in {source.path}")
        rejected, total = 0, 0.0
        first: dict[str, Any] = {}
        for batch in self._read(dtype):
            bad = batch.filter(pc.is_valid(batch["reason"]))
            first = first or next(iter(source.with_names(bad).to_pylist()), {})
            rejected += len(bad)
            total += pc.sum(batch["log_likelihood"].cast(pa.float64())).as_py() or 0.0
        if rejected == self.count:
            self.any_scored = False
            where = ", ".join(f"{name} {first[name]}" for name in source.where)
            raise ValueError(f"None of {rejected} rows of {source.path} can be scored; {where}: {first['reason']}")
        identifiers = [source.id_column] if source.id_column else []
        self._write(self._rejected, [*source.where, *identifiers, "reason"], pc.is_valid, source, dtype)
        if not rejected:
            self._rejected.unlink()
        self._write(self._path, [source.where[0], *identifiers, *SCORES], pc.is_null, source, dtype)
        self._discard()
        mean = total / (self.count - rejected)
        return Summary(self._path, self.count, rejected, mean, self._rejected if rejected else None, self._resumed_at)

    def _read(self, dtype: np.dtype) -> pacsv.CSVStreamingReader:
        """Iterates over the results as record batches."""
        scores = {name: pa.from_numpy_dtype(dtype) for name in SCORES}
        texts = {"reason": pa.string(), "identifier": pa.string()}
        types = {"row": pa.int64(), **scores, "line": pa.int64(), **texts}
        return pacsv.open_csv(
            self._part,
            read_options=pacsv.ReadOptions(column_names=list(types)),
            # A standard error may be NaN, which is not a missing value.
            convert_options=pacsv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True),
        )

    def _write(
        self, path: Path, columns: list[str], select: Callable[[pa.Array], pa.Array], source: Source, dtype: np.dtype
    ) -> None:
        """Writes columns of the rows that `select` chooses by their reasons; names the file when it is complete."""
        temporary = path.with_name(f"{path.name}.whole")
        batches = (
            source.with_names(batch.filter(select(batch["reason"]))).select(columns) for batch in self._read(dtype)
        )
        first = next(batches)
        with _WRITERS[path.suffix.lower()](temporary, first.schema) as writer:
            for batch in itertools.chain([first], batches):
                writer.write_batch(batch)
        temporary.replace(path)


@contextlib.contextmanager
def _csv_writer(path: Path, schema: pa.Schema) -> Iterator[pacsv.CSVWriter]:
    """Opens a CSV file to write; the header is written here because pyarrow would quote it."""
    with path.open("wb") as file:
        file.write(f"{','.join(schema.names)}\n".encode())
        with pacsv.CSVWriter(
            file, schema, write_options=pacsv.WriteOptions(include_header=False, quoting_style="needed")
        ) as writer:
            yield writer


_WRITERS = {".csv": _csv_writer, ".parquet": pq.ParquetWriter}


def _one_line(text: str | None) -> str:
    """Returns a text without line breaks, which would count as rows."""
    return " ".join((text or "").split())


def _count_lines(path: Path, block_size: int = 2**20) -> tuple[int, int]:
    """Returns the number of complete lines of a file, and the offset behind the last of them."""
    count = end = offset = 0
    with path.open("rb") as file:
        while block := file.read(block_size):
            if b"\n" in block:
                count += block.count(b"\n")
                end = offset + block.rindex(b"\n") + 1
            offset += len(block)
    return count, end
