"""What a SavedModel of a table says of its columns, so that files of other tables can be matched by name."""

import json
from collections.abc import Iterable
from pathlib import Path

#: In the folder that the SavedModel format sets aside for files of its users.
_PLACE = Path("assets.extra", "iwae_tf.json")


def write_columns(saved_model: str | Path, columns: Iterable[tuple[str | int, str]]) -> None:
    """Writes the names and the kinds of the columns of a table into a SavedModel.

    Args:
      saved_model: the folder of the SavedModel.
      columns: name and kind of every column, in the order of the model; if there are none, nothing is written.
    """
    content = {"columns": [{"name": str(name), "kind": kind} for name, kind in columns]}
    if content["columns"]:
        path = Path(saved_model) / _PLACE
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, indent=2))


def read_columns(saved_model: str | Path) -> tuple[str, ...]:
    """Reads the names of the columns of a SavedModel of a table, in their order; of another model there are none.

    Raises:
      ValueError: if the file that says so is damaged.
    """
    path = Path(saved_model) / _PLACE
    if not path.is_file():
        return ()
    try:
        return tuple(str(column["name"]) for column in json.loads(path.read_text())["columns"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"Expected the columns of a SavedModel in {path}. Received: {error!r}") from error
