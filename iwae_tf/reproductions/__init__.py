"""The tables and figures of the literature, each from one command.

Each reproduction is a module with two functions: `configure` returns its runs, and `evaluate` makes a table, a figure
and claims of the trained runs. Names are loaded at their first use, so that the list does not wait for TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
