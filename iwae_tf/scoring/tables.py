"""Rows of .csv and .parquet files."""

import contextlib
import csv
import itertools
import json
import math
import reprlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from iwae_tf.scoring import headers
from iwae_tf.scoring.base import BLOCK, Row, Source

#: Lines of a CSV file by which the kinds of its columns are decided.
FIRST_LINES = 100


class Csv(Source):
    """Lines of comma-separated numbers, with or without a header; see `headers.is_header`.

    Empty values, NA and similar words are missing values. Empty lines are ignored.
    """

    where = ("row", "line")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        lines = [_split_or_empty(line) for _, line in itertools.islice(self._lines(), FIRST_LINES + 1)]
        first, rows = (lines[0], lines[1:]) if lines else ([], [])
        self._has_header = headers.is_header(first, rows, self.columns) if self.header is None else self.header
        names = [name.strip() for name in first] if self._has_header else []
        self._places = headers.find_columns(names, self.columns) if names else None
        self._width = self.size if self._places is None else len(names)
        if names and self._places is None:
            self.check_size(len(names))
        self._check_text(names, rows if self._has_header else lines)

    def _check_text(self, names: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
        """Raises an error if a column of the first lines holds only text, such as categories without codes."""
        complete = [values for values in lines if len(values) == self._width]
        for i in self._places or range(self._width):
            present = [values[i] for values in complete if not math.isnan(headers.as_number(values[i]) or 0.0)]
            if present and all(headers.as_number(value) is None for value in present):
                column = repr(names[i]) if names else i + 1
                raise ValueError(
                    f"Expected numbers in column {column}. Received: text, such as {reprlib.repr(present[0])}. "
                    "For a model of a table, write table.encode(frame) to the file"
                )

    def rows(self, start: int) -> Iterator[Row]:
        for number, line in itertools.islice(self._lines(), start + self._has_header, None):
            try:
                yield Row(self._parse(line), line=number)
            except (ValueError, csv.Error) as error:
                yield Row(None, str(error), number)

    def _lines(self) -> Iterator[tuple[int, str]]:
        """Yields the number and the text of every line that is not empty."""
        with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            for number, line in enumerate(file, start=1):
                if line := line.strip():
                    yield number, line

    def _parse(self, line: str) -> np.ndarray:
        """Returns the values of a line in the model's order, `[size]`."""
        values = _split(line)
        if self._places is None:
            self.check_size(len(values))
        else:
            if len(values) != self._width:
                raise ValueError(f"Expected {self._width} values, as in the header. Received: {len(values)}")
            values = [values[i] for i in self._places]
        if "_" not in line:  # Python allows underscores in numbers.
            with contextlib.suppress(ValueError):
                return np.array([*map(float, values)])
        numbers = [headers.as_number(value) for value in values]
        if None in numbers:
            i = numbers.index(None)
            column = i + 1 if self._places is None else repr(self.columns[i])
            raise ValueError(f"Expected a number in column {column}. Received: {reprlib.repr(values[i])}")
        return np.array(numbers)


def _split(line: str) -> list[str]:
    """Splits one line by itself, so that a stray quote spoils no other line."""
    return next(csv.reader([line]), [])


def _split_or_empty(line: str) -> list[str]:
    try:
        return _split(line)
    except csv.Error:  # A value exceeds the limit of the csv module.
        return []


class Parquet(Source):
    """Numeric columns of a .parquet file."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        with self._open() as file:
            schema, self.total = file.schema_arrow, file.metadata.num_rows
            index = (schema.pandas_metadata or {}).get("index_columns", ())
        fields = [field for field in schema if field.name not in index]
        places = headers.find_columns([field.name for field in fields], self.columns)
        fields = fields if places is None else [fields[i] for i in places]
        others = [field.name for field in fields if not _is_numeric(field.type)]
        if others:
            raise ValueError(
                f"Expected numeric columns only. Received: {', '.join(others[:5])} of other types. For a model of a "
                "table, write table.encode(frame) to the file"
            )
        self._names = [field.name for field in fields]
        self.check_size(len(fields))

    @contextlib.contextmanager
    def _open(self) -> Iterator[pq.ParquetFile]:
        # pandas stores its metadata as UTF-8 and JSON, which may be damaged too.
        errors = (pa.ArrowException, OSError, UnicodeDecodeError, json.JSONDecodeError)
        with (
            self.path.open("rb") as file,
            self.reporting_damage(*errors),
            pq.ParquetFile(file, buffer_size=BLOCK) as table,
        ):
            yield table

    def pieces(self) -> Iterator[tuple[int, int | None]]:
        with self._open() as file:
            start = 0
            for size in _row_group_sizes(file):
                yield start, size
                start += size

    def rows(self, start: int) -> Iterator[Row]:
        with self._open() as file:
            sizes = _row_group_sizes(file)
            ends = list(itertools.accumulate(sizes))
            first = sum(end <= start for end in ends)
            skip = start - (ends[first - 1] if first else 0)
            rows_per_batch = max(BLOCK // (8 * self.size), 1)
            for batch in file.iter_batches(rows_per_batch, range(first, len(sizes)), self._names):
                # Batches keep the order of the file. A model without names also allows duplicate names, which
                # `select` does not.
                ordered = batch.select(self._names) if self.columns else batch
                columns = [column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False) for column in ordered]
                for x in np.stack(columns, axis=1)[skip:]:
                    yield Row(x)
                skip = max(skip - len(batch), 0)


def _row_group_sizes(file: pq.ParquetFile) -> list[int]:
    return [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]


def _is_numeric(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
