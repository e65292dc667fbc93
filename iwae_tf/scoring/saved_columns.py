"""Column names in the SavedModel of a table, by which files are matched to the model."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

#: The SavedModel format reserves this folder for files of its users.
_PATH = Path("assets.extra", "iwae_tf.json")


def write_columns(saved_model: str | os.PathLike, columns: Iterable[tuple[str | int, str]]) -> None:
    """Writes the names and kinds of the columns of a table into a SavedModel.

    Args:
      saved_model: folder of the SavedModel.
      columns: name and kind of every column, in the model's order; without columns nothing is written.
    """
    content = {"columns": [{"name": str(name), "kind": kind} for name, kind in columns]}
    if content["columns"]:
        path = Path(saved_model) / _PATH
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, indent=2))


def read_columns(saved_model: str | os.PathLike) -> tuple[str, ...]:
    """Returns the column names of a SavedModel of a table, in the model's order; of other models none.

    Raises:
      ValueError: if the file of column names is damaged.
    """
    path = Path(saved_model) / _PATH
    if not path.is_file():
        return ()
    try:
        return tuple(str(column["name"]) for column in json.loads(path.read_text())["columns"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"Expected the column names of a SavedModel in {path}. Received: {error!r}") from error
