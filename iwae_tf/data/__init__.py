"""Data: data sets by name, batches, tables, and the checks of input data."""

from iwae_tf.data.catalog import NAMES, load, register
from iwae_tf.data.pipelines import batches
from iwae_tf.data.sequences import from_sequences, pad
from iwae_tf.data.splits import Splits, from_arrays
from iwae_tf.data.tables import Table, from_dataframe

__all__ = [
    "NAMES",
    "Splits",
    "Table",
    "batches",
    "from_arrays",
    "from_dataframe",
    "from_sequences",
    "load",
    "pad",
    "register",
]
