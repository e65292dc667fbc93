"""TensorFlow without the notices that it writes to stderr where there is no GPU."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: The device of NVIDIA's driver: with a GPU the notices may say why it is not used.
_GPU = Path("/dev/nvidiactl")


@contextlib.contextmanager
def hide_stderr() -> Iterator[None]:
    """Hides what is written to stderr within the context, by native code too, unless an error is raised."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        except BaseException:
            file.seek(0)
            os.write(stderr, file.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)


def load_tensorflow() -> None:
    """Imports TensorFlow and lists its devices, quietly where there is no GPU.

    `TF_CPP_MIN_LOG_LEVEL` does not reach the notices of its import: they come before its logging starts.
    """
    with contextlib.nullcontext() if _GPU.exists() else hide_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()
