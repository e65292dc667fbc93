"""Rows of .csv and .parquet files."""

import contextlib
import csv
import itertools
import json
import math
import reprlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from iwae_tf.scoring.rows import BLOCK, Row, Source

_WORDS = {"true": 1.0, "false": 0.0, **dict.fromkeys(("", "na", "n/a", "<na>", "null", "none"), math.nan)}


class Csv(Source):
    """Lines of numbers with commas between them; the first is a header unless it holds numbers alone.

    Of numbers it is a header if they count 0, 1, 2, ..., as pandas heads the columns of an array. Empty values, NA and
    the like are missing. Empty lines do not count.
    """

    where = ("row", "line")

    def __init__(self, *args):
        super().__init__(*args)
        _, first = next(self._lines(), (0, ""))
        self._has_header = _is_header(_values(first))
        if self._has_header:
            self.check_size(len(_values(first)))

    def rows(self, start):
        for number, line in itertools.islice(self._lines(), start + self._has_header, None):
            try:
                yield Row(self._numbers(line), line=number)
            except (ValueError, csv.Error) as error:
                yield Row(None, str(error), number)

    def _lines(self):
        """Yields the number and the text of every line that is not empty."""
        with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            for number, line in enumerate(file, start=1):
                if line := line.strip():
                    yield number, line

    def _numbers(self, line):
        values = _values(line)
        self.check_size(len(values))
        if "_" not in line:  # which Python allows within numbers
            with contextlib.suppress(ValueError):
                return np.array([*map(float, values)])
        return np.array([_number(value, i) for i, value in enumerate(values, start=1)])


def _values(line):
    """Parses a line by itself, so that a quote too many spoils no other."""
    return next(csv.reader([line]), [])


def _is_header(values):
    try:
        numbers = [_number(value, 0) for value in values]
    except ValueError:
        return True
    return len(numbers) > 2 and numbers == list(range(len(numbers)))


def _number(value, column):
    key = value.strip().lower()
    if key in _WORDS:
        return _WORDS[key]
    with contextlib.suppress(ValueError):
        if "_" not in key:
            return float(key)
    raise ValueError(f"Expected a number in column {column}. Received: {reprlib.repr(value)}")


class Parquet(Source):
    """Numeric columns of a .parquet file."""

    def __init__(self, *args):
        super().__init__(*args)
        with self._open() as file:
            schema, self.total = file.schema_arrow, file.metadata.num_rows
            index = (schema.pandas_metadata or {}).get("index_columns", ())
        fields = [field for field in schema if field.name not in index]
        others = [field.name for field in fields if not _is_numeric(field.type)]
        if others:
            raise ValueError(f"Expected numeric columns only. Received: {', '.join(others[:5])} of other types")
        self._columns = [field.name for field in fields]
        self.check_size(len(fields), self.total)

    @contextlib.contextmanager
    def _open(self):
        # The notes of pandas are text and JSON.
        damages = (pa.ArrowException, OSError, UnicodeDecodeError, json.JSONDecodeError)
        with self.path.open("rb") as file, self.damaged(*damages), pq.ParquetFile(file, buffer_size=BLOCK) as table:
            yield table

    def pieces(self):
        with self._open() as file:
            start = 0
            for size in _sizes(file):
                yield start, size
                start += size

    def rows(self, start):
        with self._open() as file:
            sizes = _sizes(file)
            ends = list(itertools.accumulate(sizes))
            first = sum(end <= start for end in ends)
            skip = start - (ends[first - 1] if first else 0)
            at_once = max(BLOCK // (8 * self.size), 1)
            for batch in file.iter_batches(at_once, range(first, len(sizes)), self._columns):
                columns = [column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False) for column in batch]
                for x in np.stack(columns, axis=1)[skip:]:
                    yield Row(x)
                skip = max(skip - len(batch), 0)


def _sizes(file):
    """Returns the numbers of rows of the row groups."""
    return [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]


def _is_numeric(kind):
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
