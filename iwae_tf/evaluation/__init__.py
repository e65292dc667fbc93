"""Functions of a model and data that return pandas DataFrames."""

from iwae_tf.evaluation.active_units import active_units
from iwae_tf.evaluation.annealing import ais, bdmc
from iwae_tf.evaluation.clusters import responsibilities
from iwae_tf.evaluation.gradient_snr import gradient_snr
from iwae_tf.evaluation.log_likelihood import log_likelihood, summarize

__all__ = [
    "active_units",
    "ais",
    "bdmc",
    "gradient_snr",
    "log_likelihood",
    "responsibilities",
    "summarize",
]
