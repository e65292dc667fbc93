"""Columns of files, kept in the SavedModel of a table: names, labels of categories, and columns that are not scored."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

#: The SavedModel format reserves this folder for files of its users.
_PATH = Path("assets.extra", "iwae_tf.json")


class SavedColumns(NamedTuple):
    """The columns of files that a SavedModel scores.

    Attributes:
      names: names of the model's columns, in the model's order; empty if they have none.
      labels: dict from the names of categories to their labels, whose codes are 0, 1, ...
      id_column: name of the column that identifies a row, or `None`.
      ignored: names of other columns that files may have.
    """

    names: tuple[str, ...] = ()
    labels: Mapping[str, tuple[Any, ...]] = MappingProxyType({})
    id_column: str | None = None
    ignored: tuple[str, ...] = ()


#: What a model without named columns knows.
NO_COLUMNS = SavedColumns()


def write_columns(
    saved_model: str | os.PathLike,
    columns: Iterable[tuple[str | int, str, Sequence[Any]]],
    id_column: str | None = None,
    ignored: Sequence[str] = (),
) -> None:
    """Writes the columns of files into a SavedModel.

    Args:
      saved_model: folder of the SavedModel.
      columns: name, kind and categories of every column of a table, in the model's order.
      id_column: name of the column that identifies a row.
      ignored: names of other columns that files may have. Without any columns nothing is written.
    """
    described = [
        {"name": str(name), "kind": kind, **({"categories": list(categories)} if categories else {})}
        for name, kind, categories in columns
    ]
    if described or id_column or ignored:
        path = Path(saved_model) / _PATH
        path.parent.mkdir(exist_ok=True)
        content = {"columns": described, "id_column": id_column, "ignored": list(ignored)}
        path.write_text(json.dumps(content, indent=2))


def read_columns(saved_model: str | os.PathLike) -> SavedColumns:
    """Reads the columns of a SavedModel; those of a model without a table have no names.

    Raises:
      ValueError: if the file of columns is damaged.
    """
    path = Path(saved_model) / _PATH
    if not path.is_file():
        return NO_COLUMNS
    try:
        content = json.loads(path.read_text())
        columns = content["columns"]
        return SavedColumns(
            tuple(str(column["name"]) for column in columns),
            {str(column["name"]): tuple(column["categories"]) for column in columns if "categories" in column},
            content.get("id_column"),
            tuple(content.get("ignored", ())),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"Expected the columns of a SavedModel in {path}. Received: {error!r}") from error
