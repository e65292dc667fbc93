"""Rows of a folder: images, or the parts that a table or an array was written in."""

from collections.abc import Mapping
from pathlib import Path

from iwae_tf.scoring.images import Images, is_image
from iwae_tf.scoring.rows import Source


class Parts(Source):
    """Files of one kind, one after the other in the order of their names, as Spark and others write a table."""

    def __init__(self, path, *args, paths, kind, **kwargs):
        super().__init__(path, *args, **kwargs)
        self._parts = []
        for part in paths:
            try:
                self._parts.append(kind(part, *args, **kwargs))
            except ValueError as error:
                raise ValueError(f"{error}, in {part}") from error
        totals = [part.total for part in self._parts]
        self.total = None if None in totals else sum(totals)

    def rows(self, start):
        left = start
        for part in self._parts:
            if part.total is not None:
                yield from part.rows(min(left, part.total))
                left = max(left - part.total, 0)
                continue
            for row in part.rows(0):
                if left:
                    left -= 1
                else:
                    yield row

    def files(self):
        return [part.path for part in self._parts]


def open_folder(path: Path, kinds: Mapping[str, type[Source]], *args, **kwargs) -> Source:
    """Makes the `Source` of a folder of images, or of files of one of these kinds.

    Files and folders whose names begin with a dot or an underscore do not count, such as Spark's `_SUCCESS`.

    Args:
      path: the folder.
      kinds: dict from suffixes of files to classes of sources.
      *args: the next arguments of a `Source`.
      **kwargs: its keyword arguments.

    Raises:
      ValueError: if the folder holds both, neither, or files of several kinds; or its files are not the model's.
    """
    visible = sorted(entry for entry in path.iterdir() if entry.name[0] not in "._")
    parts = [entry for entry in visible if entry.suffix.lower() in kinds and entry.is_file()]
    has_images = any(map(is_image, path.rglob("*")))
    if has_images and not parts:
        return Images(path, *args, **kwargs)
    others = [entry.name for entry in visible if entry not in parts]
    suffixes = sorted({entry.suffix.lower() for entry in parts})
    if len(suffixes) != 1 or others:
        received = ", ".join([*suffixes, *others[:5]]) or "none"
        raise ValueError(
            f"Expected a folder of images, or of files alone that end in one of {', '.join(kinds)}. "
            f"Received: {received} in {path}"
        )
    return Parts(path, *args, paths=parts, kind=kinds[suffixes[0]], **kwargs)
