"""Rows of .csv and .parquet files."""

import contextlib
import csv
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from iwae_tf.scoring import headers, values
from iwae_tf.scoring.base import BLOCK, Row, Source, reporting_damage
from iwae_tf.scoring.saved_columns import NO_COLUMNS

#: Lines of a CSV file by which the kinds of its columns are decided.
FIRST_LINES = 100


class Csv(Source):
    """Lines of comma-separated values, with or without a header; see `headers.is_header`.

    Values are numbers or, in columns of categories, labels. Empty values, NA and similar words are missing values.
    Empty lines are ignored.
    """

    where = ("row", "line")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        first, rows = _split_first_lines(self.path)
        self._has_header = headers.is_header(first, rows, self.columns) if self.header is None else self.header
        names = [name.strip() for name in first] if self._has_header else []
        self._width = len(names) or self.size
        self._places = self._find_places(names)
        if self.columns.id_column in names:
            self.id_column = self.columns.id_column
            self._id_place = names.index(self.columns.id_column)
        labels = [self.columns.labels.get(name, ()) for name in self.columns.names] or [()] * self.size
        self._readers = [
            values.make_reader(names[i] if names else i + 1, labels_of_column)
            for i, labels_of_column in zip(self._places, labels, strict=True)
        ]
        self._check_first(rows if self._has_header else [first, *rows])

    def _find_places(self, names: Sequence[str]) -> list[int]:
        """Returns the place of each of the model's columns in a line."""
        places = headers.find_columns(names, self.columns) if names else None
        if places is None:
            places = list(range(self._width))
        if len(places) == self.size + 1 and names and not names[places[0]]:
            del places[0]  # the index, which pandas writes without a name
        self.check_size(len(places))
        return places

    def _check_first(self, lines: Sequence[Sequence[str]]) -> None:
        """Raises an error if the first lines have values in a column, and none can be read."""
        complete = [line for line in lines if len(line) == self._width]
        for i, read in zip(self._places, self._readers, strict=True):
            numbers = [values.read_or_explain(read, line[i]) for line in complete]
            present = [number for number in numbers if isinstance(number, str) or not math.isnan(number)]
            if present and all(isinstance(number, str) for number in present):
                raise ValueError(f"{present[0]}, and nothing better in the first {len(complete)} lines")

    def rows(self, start: int) -> Iterator[Row]:
        for number, line in itertools.islice(_read_lines(self.path), start + self._has_header, None):
            identifier = None
            try:
                texts = _split(line)
                if len(texts) != self._width:
                    self._check_width(len(texts))
                identifier = texts[self._id_place] if self.id_column else None
                yield Row(self._parse([texts[i] for i in self._places]), None, number, identifier)
            except (ValueError, csv.Error) as error:
                yield Row(None, str(error), number, identifier)

    def _check_width(self, width: int) -> None:
        """Raises an error for a line with more or fewer values than the others."""
        if self._width == self.size:
            self.check_size(width)
        raise ValueError(f"Expected {self._width} values, as in the header. Received: {width}")

    def _parse(self, texts: Sequence[str]) -> np.ndarray:
        """Returns the numbers of the model's columns, `[size]`."""
        if not self.columns.labels and not any("_" in text for text in texts):  # Python allows underscores in numbers.
            with contextlib.suppress(ValueError):
                return np.array([*map(float, texts)])
        return np.array([read(text) for read, text in zip(self._readers, texts, strict=True)])


def has_header(path: Path) -> bool:
    """Returns whether a .csv file begins with a header, by its first lines; see `headers.is_header`."""
    return headers.is_header(*_split_first_lines(path), NO_COLUMNS)


def _split_first_lines(path: Path) -> tuple[list[str], list[list[str]]]:
    """Returns the values of the first line of a .csv file, and those of the next lines."""
    lines = [_split_or_empty(line) for _, line in itertools.islice(_read_lines(path), FIRST_LINES + 1)]
    return (lines[0], lines[1:]) if lines else ([], [])


def _read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the number and the text of every line that is not empty."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        for number, line in enumerate(file, start=1):
            if line := line.strip():
                yield number, line


def _split(line: str) -> list[str]:
    """Splits one line by itself, so that a stray quote spoils no other line."""
    return next(csv.reader([line]), [])


def _split_or_empty(line: str) -> list[str]:
    try:
        return _split(line)
    except csv.Error:  # A value exceeds the limit of the csv module.
        return []


class Parquet(Source):
    """Columns of numbers, or of the labels of categories, in a .parquet file."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        with self._open() as file:
            schema, self.total = file.schema_arrow, file.metadata.num_rows
            index = (schema.pandas_metadata or {}).get("index_columns", ())
        if self.columns.id_column in schema.names:
            self.id_column = self.columns.id_column
        fields = [field for field in schema if field.name not in index]
        places = headers.find_columns([field.name for field in fields], self.columns)
        fields = fields if places is None else [fields[i] for i in places]
        names = self.columns.names or [field.name for field in fields]
        self._names = [field.name for field in fields]
        self._readers = [
            values.make_reader(name, self.columns.labels[name]) if name in self.columns.labels else None
            for name in names
        ]
        others = [
            field.name
            for field, read in zip(fields, self._readers, strict=True)
            if not (read or _is_numeric(field.type))
        ]
        if others:
            raise ValueError(f"Expected numeric columns. Received: {', '.join(others[:5])} of other types")
        self.check_size(len(fields))

    @contextlib.contextmanager
    def _open(self) -> Iterator[pq.ParquetFile]:
        # pandas stores its metadata as UTF-8 and JSON, which may be damaged too.
        errors = (pa.ArrowException, OSError, UnicodeDecodeError, json.JSONDecodeError)
        with (
            self.path.open("rb") as file,
            reporting_damage(self.path, *errors),
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
        names = [*self._names, *([self.id_column] if self.id_column else [])]
        with self._open() as file:
            sizes = _row_group_sizes(file)
            ends = list(itertools.accumulate(sizes))
            first = sum(end <= start for end in ends)
            skip = start - (ends[first - 1] if first else 0)
            rows_per_batch = max(BLOCK // (8 * self.size), 1)
            for batch in file.iter_batches(rows_per_batch, range(first, len(sizes)), names):
                yield from itertools.islice(self._read_batch(batch), skip, None)
                skip = max(skip - len(batch), 0)

    def _read_batch(self, batch: pa.RecordBatch) -> Iterator[Row]:
        """Yields the rows of a record batch, whose columns are in the order of the file."""
        identifiers = batch[self.id_column].to_pylist() if self.id_column else [None] * len(batch)
        # A model without names also allows duplicate names, which `select` does not.
        ordered = batch.select(self._names) if self.columns.names or self.id_column else batch
        numbers = np.empty((len(batch), self.size))
        reasons: dict[int, str] = {}
        for j, (column, read) in enumerate(zip(ordered, self._readers, strict=True)):
            if read is None:
                numbers[:, j] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
                continue
            for i, label in enumerate(column.to_pylist()):
                number = values.read_or_explain(read, "" if label is None else str(label))
                if isinstance(number, str):
                    reasons.setdefault(i, number)
                else:
                    numbers[i, j] = number
        for i, (x, identifier) in enumerate(zip(numbers, identifiers, strict=True)):
            name = None if identifier is None else str(identifier)
            yield Row(None if i in reasons else x, reasons.get(i), identifier=name)


def _row_group_sizes(file: pq.ParquetFile) -> list[int]:
    return [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]


def _is_numeric(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
