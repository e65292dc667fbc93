"""Scores that are kept as they come, so that a killed run can be taken up, and appear under their name when all are."""

import contextlib
import csv
import dataclasses
import io
import itertools
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from iwae_tf.scoring.endpoint import SCORES


@dataclasses.dataclass(frozen=True)
class Summary:
    """What came of scoring a source.

    Attributes:
      path: the file of the scores.
      rows: rows of the source.
      rejected: how many of them have no score.
      mean_log_likelihood: of those that have one, in nats.
      rejected_path: the file that lists the others with their reasons, or `None` if there are none.
      resumed_at: the row at which the run went on, 0 if it did all.
    """

    path: Path
    rows: int
    rejected: int
    mean_log_likelihood: float
    rejected_path: Path | None
    resumed_at: int


def check_destination(path, overwrite):
    """Raises an error unless a file of scores can be written: `ValueError` for its kind, `FileExistsError` if it is."""
    if path.suffix.lower() not in _WRITERS:
        raise ValueError(f"Expected a file that ends in {', '.join(_WRITERS)}. Received: {path}")
    if path.exists() and not overwrite:
        raise FileExistsError(f"Expected {path} to be free. Received: it exists; pass overwrite (--overwrite)")


class Part:
    """The rows done so far, in `<path>.part`, and in `<path>.part.json` what they are of.

    The first is CSV without a header that only ever grows, a line for every row of the source in its order, so that the
    number of its whole lines says where to go on.

    Attributes:
      count: rows done.
      scored: whether one of them has a score.

    Raises:
      FileExistsError: if there are rows done of something else, or an earlier list of rejected rows, and `overwrite`
        is false.
    """

    def __init__(self, path, about, overwrite):
        self._path = path
        self._part, self._about, self._rejected = (
            path.with_name(path.name + suffix) for suffix in (".part", ".part.json", ".rejected.csv")
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        if not self._is_of(about):
            for existing in (self._part, self._rejected):
                if existing.exists() and existing.stat().st_size and not overwrite:
                    raise FileExistsError(
                        f"Expected {existing} to be free, or of this model and source. Received: it exists, of another "
                        "run; pass overwrite (--overwrite) to replace it"
                    )
            self._part.unlink(missing_ok=True)
            self._about.write_text(json.dumps(about))
        self._file = self._part.open("ab")
        self.count, end = _whole_lines(self._part)
        self._file.truncate(end)  # a line that a kill cut short
        self._resumed_at, self.scored = self.count, self.count > 0

    def _is_of(self, about):
        """Whether rows of the same model and source have been done."""
        if not self._part.exists() or not self._about.exists():
            return False
        try:
            return json.loads(self._about.read_text()) == about
        except ValueError:
            return False

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self._file.close()
        if kind is not None and not self.scored:
            self._discard()

    def _discard(self):
        for path in (self._about, self._part):
            path.unlink(missing_ok=True)

    def append(self, rows, results):
        """Adds the next rows.

        Args:
          rows: list of `sources.Row`.
          results: for each of them a tuple of its scores, or a string that says why it has none.
        """
        text = io.StringIO()
        write = csv.writer(text, lineterminator="\n").writerow
        for number, (row, result) in enumerate(zip(rows, results, strict=True), start=self.count):
            if isinstance(result, str):
                write((number, *[""] * len(SCORES), row.line, " ".join(result.split())))
            else:
                write((number, *map(str, result), "", ""))
                self.scored = True
        self._file.write(text.getvalue().encode(errors="replace"))
        self._file.flush()
        self.count += len(rows)

    def finish(self, source, dtype):
        """Writes the scores and the rejected rows under their names.

        Args:
          source: the `sources.Source`, which knows the names of its rows.
          dtype: NumPy's, of the scores.

        Returns:
          A `Summary`.

        Raises:
          ValueError: if no row has a score.
        """
        self._file.close()
        if not self.count:
            raise ValueError(f"Expected at least one row. Received: no rows in {source.path}")
        rejected, total = 0, 0.0
        first: dict[str, Any] = {}
        for batch in self._read(dtype):
            faults = batch.filter(pc.is_valid(batch["reason"]))
            first = first or next(iter(source.named(faults).to_pylist()), {})
            rejected += len(faults)
            total += pc.sum(batch["log_likelihood"].cast(pa.float64())).as_py() or 0.0
        if rejected == self.count:
            self.scored = False
            where = ", ".join(f"{name} {first[name]}" for name in source.where)
            raise ValueError(f"None of {rejected} rows of {source.path} can be scored; {where}: {first['reason']}")
        self._write(self._rejected, [*source.where, "reason"], pc.is_valid, source, dtype)
        if not rejected:
            self._rejected.unlink()
        self._write(self._path, [source.where[0], *SCORES], pc.is_null, source, dtype)
        self._discard()
        mean = total / (self.count - rejected)
        return Summary(self._path, self.count, rejected, mean, self._rejected if rejected else None, self._resumed_at)

    def _read(self, dtype):
        """Yields the rows done, some at a time, as record batches."""
        scores = {name: pa.from_numpy_dtype(dtype) for name in SCORES}
        types = {"row": pa.int64(), **scores, "line": pa.int64(), "reason": pa.string()}
        return pacsv.open_csv(
            self._part,
            read_options=pacsv.ReadOptions(column_names=list(types)),
            # A standard error may be NaN, which is no missing value.
            convert_options=pacsv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True),
        )

    def _write(self, path, columns, chosen, source, dtype):
        """Writes columns of the rows whose reason is `chosen`; the file takes its name when it is whole."""
        whole = path.with_name(f"{path.name}.whole")
        batches = (source.named(batch.filter(chosen(batch["reason"]))).select(columns) for batch in self._read(dtype))
        first = next(batches)
        with _WRITERS[path.suffix.lower()](whole, first.schema) as writer:
            for batch in itertools.chain([first], batches):
                writer.write_batch(batch)
        whole.replace(path)


@contextlib.contextmanager
def _csv_writer(path, schema):
    """Makes a writer of CSV; pyarrow's own header would be in quotes."""
    with path.open("wb") as file:
        file.write(f"{','.join(schema.names)}\n".encode())
        with pacsv.CSVWriter(
            file, schema, write_options=pacsv.WriteOptions(include_header=False, quoting_style="needed")
        ) as writer:
            yield writer


_WRITERS = {".csv": _csv_writer, ".parquet": pq.ParquetWriter}


def _whole_lines(path, size=2**20):
    """Returns how many lines of a file end, and the place behind the last that does."""
    count = end = place = 0
    with path.open("rb") as file:
        while block := file.read(size):
            if b"\n" in block:
                count += block.count(b"\n")
                end = place + block.rindex(b"\n") + 1
            place += len(block)
    return count, end
