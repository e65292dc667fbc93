"""Functions of a model and data that return pandas DataFrames."""

from iwae_tf.evaluation.active_units import active_units
from iwae_tf.evaluation.log_likelihood import log_likelihood, summarize

__all__ = ["active_units", "log_likelihood", "summarize"]
