"""Importance-weighted autoencoders and their family for Keras 3 and TensorFlow Probability.

Names are loaded at their first use, so that `import iwae_tf` and `iwae-tf --help` do not wait for TensorFlow.
Importing Keras, before or after, registers every class needed to load a saved model.
"""

import importlib
import os
import pkgutil
import sys
from importlib import metadata

import lazy_loader
import wrapt

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name):
    if name == "__version__":
        return metadata.version("iwae-tf")
    if not name.startswith("__"):
        _check_backend()
    return _load(name)


def _check_backend():
    """Raises a clear error if Keras runs on anything else than TensorFlow, or would if it were imported."""
    settings = getattr(sys.modules.get("keras"), "config", None)
    backend = settings.backend() if settings else os.environ.get("KERAS_BACKEND") or "tensorflow"
    if backend != "tensorflow":
        raise ImportError(
            f"Expected Keras with the backend 'tensorflow'. Received: {backend!r}; set the environment variable "
            "KERAS_BACKEND=tensorflow before Keras is imported"
        )


def _register_classes(imported):
    """Imports the rest of the package once Keras is there, unless a part of it is in the middle of its own import."""
    if "keras" not in sys.modules:
        return
    _check_backend()
    parts = [module for name, module in sys.modules.items() if name.startswith(f"{__name__}.") and module != imported]
    if not any(getattr(part.__spec__, "_initializing", False) for part in parts):
        importlib.import_module(f"{__name__}.builders")


for _name in ["keras", *(part.name for part in pkgutil.iter_modules(__path__, f"{__name__}."))]:
    wrapt.when_imported(_name)(_register_classes)
