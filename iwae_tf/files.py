"""Files and folders that appear under their name only when they are whole."""

import contextlib
import shutil
from pathlib import Path


@contextlib.contextmanager
def written_whole(path, overwrite=False, keep_failed=False):
    """Yields a path beside `path` to write to; it takes the name `path` only when all is written.

    After an error what was written is removed, unless `keep_failed`; after an interrupt it stays.

    Raises:
      FileExistsError: if `path` exists and may not be overwritten, or an unfinished one lies beside it.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    for existing in (path, part):
        if existing.exists() and not overwrite:
            state = "an unfinished earlier one" if existing is part else "it"
            raise FileExistsError(
                f"Expected {path} to be free. Received: {state} exists; pass overwrite (--overwrite) to replace it"
            )
    _remove(part)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
    except Exception:
        if not keep_failed:
            _remove(part)
        raise
    _remove(path)
    part.rename(path)


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
