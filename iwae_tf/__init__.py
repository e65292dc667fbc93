"""Importance-weighted autoencoders and their family for Keras 3 and TensorFlow Probability.

Names are loaded at their first use, so that `import iwae_tf` and `iwae-tf --help` do not wait for TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
