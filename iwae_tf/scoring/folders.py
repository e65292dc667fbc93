"""Rows of a folder: of images, or of the files that a table or an array was split into."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from iwae_tf.scoring.base import Row, Source, get_suffix
from iwae_tf.scoring.images import Images, is_image


class Folder(Source):
    """Files of one kind, read one after the other in the order of their names, as Spark and others write a table."""

    def __init__(self, path: Path, *args: Any, paths: Sequence[Path], kind: type[Source], **kwargs: Any) -> None:
        super().__init__(path, *args, **kwargs)
        self._sources = []
        for file in paths:
            try:
                self._sources.append(kind(file, *args, **kwargs))
            except ValueError as error:
                raise ValueError(f"{error}, in {file}") from error
        id_columns = {source.id_column for source in self._sources}
        if len(id_columns) > 1:
            raise ValueError(
                f"Expected the column {self.columns.id_column!r} in every file or in none. Received: {path}"
            )
        self.id_column = id_columns.pop()
        totals = [source.total for source in self._sources if source.total is not None]
        self.total = sum(totals) if len(totals) == len(self._sources) else None

    def rows(self, start: int) -> Iterator[Row]:
        skip = start
        for source in self._sources:
            if source.total is not None:
                yield from source.rows(min(skip, source.total))
                skip = max(skip - source.total, 0)
                continue
            for row in source.rows(0):
                if skip:
                    skip -= 1
                else:
                    yield row

    def files(self) -> list[Path]:
        return [source.path for source in self._sources]


def open_folder(path: Path, kinds: Mapping[str, type[Source]], *args: Any, **kwargs: Any) -> Source:
    """Makes the `Source` of a folder of images, or of files of one of these kinds.

    Files and folders whose names begin with a dot or an underscore, such as Spark's `_SUCCESS`, are ignored.

    Args:
      path: the folder.
      kinds: dict from file suffixes to classes of sources.
      *args: the positional arguments of a `Source` after `path`.
      **kwargs: the keyword arguments of a `Source`.

    Raises:
      ValueError: if the folder holds images and files, neither, or files of several kinds, or its files do not match
        the model's input.
    """
    files = list_files(path, kinds)
    if not files:
        return Images(path, *args, **kwargs)
    return Folder(path, *args, paths=files, kind=kinds[get_suffix(files[0])], **kwargs)


def list_files(path: Path, kinds: Collection[str]) -> list[Path]:
    """Returns the files of a folder in the order of their names, or none if it is a folder of images.

    Args:
      path: the folder.
      kinds: suffixes of files.

    Raises:
      ValueError: as in `open_folder`.
    """
    visible = sorted(entry for entry in path.iterdir() if entry.name[0] not in "._")
    files = [entry for entry in visible if get_suffix(entry) in kinds and entry.is_file()]
    has_images = any(map(is_image, path.rglob("*")))
    if has_images and not files:
        return []
    others = [entry.name for entry in visible if entry not in files]
    suffixes = sorted({get_suffix(entry) for entry in files})
    if len(suffixes) != 1 or others:
        received = ", ".join([*suffixes, *others[:5]]) or "none"
        raise ValueError(
            f"Expected a folder of images only, or of files of one kind only, {', '.join(kinds)}. "
            f"Received: {received} in {path}"
        )
    return files
