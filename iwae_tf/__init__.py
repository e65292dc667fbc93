"""Importance-weighted autoencoders and their family for Keras 3 and TensorFlow Probability.

Names are loaded at their first use, so that `import iwae_tf` and `iwae-tf --help` do not wait for TensorFlow. With any
of them, and with Keras itself, come all classes that Keras must know to load a model.
"""

import importlib
import sys

import lazy_loader
import wrapt

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name):
    if name in __all__:
        importlib.import_module("iwae_tf.builders")
    return _load(name)


@wrapt.when_imported("keras")
def _register_classes(_):
    # Where a part of the package is what imports Keras, the rest may not be imported in the middle of it.
    if not any(name.startswith("iwae_tf.") for name in sys.modules):
        importlib.import_module("iwae_tf.builders")
