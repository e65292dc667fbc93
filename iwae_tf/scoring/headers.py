"""Headers of tables: whether a line is a header, and where it puts the model's columns."""

import itertools
import math
from collections.abc import Sequence

from iwae_tf.scoring.saved_columns import SavedColumns

_WORDS = {"true": 1.0, "false": 0.0, **dict.fromkeys(("", "na", "n/a", "<na>", "null", "none"), math.nan)}

#: Columns from which a line of increasing numbers is taken for a header: one row in 40,000 increases by chance.
MIN_INCREASING = 8


def as_number(text: str) -> float | None:
    """Returns the number that a value of a CSV file stands for: NaN if it is missing, `None` if it is not a number."""
    key = text.strip().lower()
    if key in _WORDS:
        return _WORDS[key]
    try:
        return None if "_" in key else float(key)  # Python allows underscores in numbers.
    except ValueError:
        return None


def is_header(first: Sequence[str], rows: Sequence[Sequence[str]], columns: SavedColumns) -> bool:
    """Returns whether the first line of a file is a header.

    A header holds text or the names of the model's columns; or it counts 0, 1, 2, ..., as pandas names the columns of
    an array. From eight columns on, it may also count from any number, such as pixels from 1, or hold increasing
    numbers where none of the next lines do.

    Args:
      first: values of the first line.
      rows: values of the next lines, as many as there are.
      columns: the columns that the model knows by name.
    """
    numbers = [as_number(value) for value in first]
    if any(number is None for number in numbers):
        return True
    if columns.names and {value.strip() for value in first} >= set(columns.names):
        return True
    if len(numbers) > 2 and _counts(numbers) and (numbers[0] == 0 or len(numbers) >= MIN_INCREASING):
        return True
    others = ([as_number(value) for value in row] for row in rows)
    return len(numbers) >= MIN_INCREASING and len(rows) > 0 and _increases(numbers) and not any(map(_increases, others))


def _counts(numbers: Sequence[float | None]) -> bool:
    present = [number for number in numbers if number is not None]
    return present[0].is_integer() and all(b == a + 1 for a, b in itertools.pairwise(present))


def _increases(numbers: Sequence[float | None]) -> bool:
    present = [number for number in numbers if number is not None]
    return len(present) == len(numbers) and all(a < b for a, b in itertools.pairwise(present))


def find_columns(names: Sequence[str], columns: SavedColumns) -> list[int] | None:
    """Finds the model's columns among the columns of a file.

    The column that identifies rows and columns that the model ignores are left out. A first column without a name,
    where pandas writes the index, is left out if the model's columns have names.

    Args:
      names: names of the file's columns.
      columns: the columns that the model knows by name.

    Returns:
      The place of each of the model's columns in the file. `None` if columns are matched by their order: the model has
      no names, or the file has only numbers for names, none of them the model's.

    Raises:
      ValueError: if a column of the model is missing or duplicated, or the file has other columns.
    """
    others = {columns.id_column, *columns.ignored}
    places = [i for i, name in enumerate(names) if name not in others]
    numbered = all(as_number(names[i]) is not None for i in places)
    if not columns.names or (numbered and not set(names) & set(columns.names)):
        return places if len(places) < len(names) else None
    check_columns([names[i] for i in places if i or names[i]], columns.names)
    return [names.index(name) for name in columns.names]


def check_columns(names: Sequence[str], columns: Sequence[str]) -> None:
    """Raises a `ValueError` if a column of the model is missing or duplicated, or there are other columns.

    Args:
      names: names of the columns of the data.
      columns: names of the model's columns.
    """
    problems = {
        "missing": [name for name in columns if name not in names],
        "unknown": [name for name in names if name not in columns],
        "duplicated": [name for name in columns if names.count(name) > 1],
    }
    if any(problems.values()):
        received = "; ".join(f"{problem}: {', '.join(map(repr, bad))}" for problem, bad in problems.items() if bad)
        raise ValueError(f"Expected the model's columns, {', '.join(map(repr, columns))}. Received: {received}")
