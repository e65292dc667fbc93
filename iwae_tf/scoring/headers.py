"""Headers of tables: whether a line is one, and which of its columns are the model's."""

import itertools
import math
from collections.abc import Sequence

_WORDS = {"true": 1.0, "false": 0.0, **dict.fromkeys(("", "na", "n/a", "<na>", "null", "none"), math.nan)}

#: Columns from which on a header of any increasing numbers is told from a row: by chance a row is one in 40,000 times.
MANY = 8


def as_number(text: str) -> float | None:
    """Returns the number that a value of a CSV file is, NaN if it is missing, or `None` if it is none."""
    key = text.strip().lower()
    if key in _WORDS:
        return _WORDS[key]
    try:
        return None if "_" in key else float(key)  # Python allows an underscore within numbers.
    except ValueError:
        return None


def is_header(first: Sequence[str], rows: Sequence[Sequence[str]], columns: Sequence[str]) -> bool:
    """Returns whether the first line of a file is a header.

    It is one if it holds text, if it names the model's columns, if it counts 0, 1, 2, ..., as pandas heads the columns
    of an array, and from eight columns on if it counts from any number, such as pixels from 1, or if its numbers
    increase and those of none of the next lines do.

    Args:
      first: values of the first line.
      rows: values of the next lines, as many as are at hand.
      columns: names of the model's columns, or none.
    """
    numbers = [as_number(value) for value in first]
    if any(number is None for number in numbers):
        return True
    if columns and {value.strip() for value in first} == set(columns):
        return True
    if len(numbers) > 2 and _counts(numbers) and (numbers[0] == 0 or len(numbers) >= MANY):
        return True
    others = ([as_number(value) for value in row] for row in rows)
    return len(numbers) >= MANY and len(rows) > 0 and _increases(numbers) and not any(map(_increases, others))


def _counts(numbers):
    return numbers[0].is_integer() and all(b == a + 1 for a, b in itertools.pairwise(numbers))


def _increases(numbers):
    return None not in numbers and all(a < b for a, b in itertools.pairwise(numbers))


def find_columns(names: Sequence[str], columns: Sequence[str]) -> list[int] | None:
    """Finds the model's columns among those of a file.

    Args:
      names: names of the file's columns.
      columns: names of the model's columns, or none.

    Returns:
      For each column of the model its place in the file. `None` if the columns are told by their order: those of a
      model without names, or of a file that has but numbers for names, none of them the model's.

    Raises:
      ValueError: if a column of the model is missing or there twice, or the file has others. A first one without a
        name, which pandas writes the index to, is left out.
    """
    numbered = all(as_number(name) is not None for name in names)
    if not columns or (numbered and not set(names) & set(columns)):
        return None
    found = names[1:] if names and names[0] == "" else names
    faults = {
        "missing": [name for name in columns if name not in found],
        "unknown": [name for name in found if name not in columns],
        "there twice": [name for name in columns if found.count(name) > 1],
    }
    if any(faults.values()):
        received = "; ".join(f"{fault}: {', '.join(map(repr, named))}" for fault, named in faults.items() if named)
        raise ValueError(f"Expected the model's columns, {', '.join(map(repr, columns))}. Received: {received}")
    return [names.index(name) for name in columns]
