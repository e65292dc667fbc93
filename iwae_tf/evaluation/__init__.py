"""Functions of a model and data that return pandas DataFrames."""

from iwae_tf.evaluation.active_units import active_units
from iwae_tf.evaluation.annealing import ais, bdmc
from iwae_tf.evaluation.bounds import bounds
from iwae_tf.evaluation.clusters import responsibilities
from iwae_tf.evaluation.decomposition import decompose, kl_of_units
from iwae_tf.evaluation.gradient_snr import gradient_snr
from iwae_tf.evaluation.importance_weights import importance_weights
from iwae_tf.evaluation.inference_gaps import inference_gaps
from iwae_tf.evaluation.information_criteria import information_criteria
from iwae_tf.evaluation.log_likelihood import log_likelihood, summarize
from iwae_tf.evaluation.out_of_distribution import out_of_distribution
from iwae_tf.evaluation.sequences import (
    effective_sample_size_over_time,
    sequence_bounds,
    sequence_log_likelihood,
    summarize_sequences,
)
from iwae_tf.evaluation.without_inactive import without_inactive

__all__ = [
    "active_units",
    "ais",
    "bdmc",
    "bounds",
    "decompose",
    "effective_sample_size_over_time",
    "gradient_snr",
    "importance_weights",
    "inference_gaps",
    "information_criteria",
    "kl_of_units",
    "log_likelihood",
    "out_of_distribution",
    "responsibilities",
    "sequence_bounds",
    "sequence_log_likelihood",
    "summarize",
    "summarize_sequences",
    "without_inactive",
]
