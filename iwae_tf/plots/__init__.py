"""Functions that return matplotlib figures."""

from iwae_tf.plots.curves import activity, bounds, histories, weights
from iwae_tf.plots.images import interpolations, manifold, reconstructions, samples
from iwae_tf.plots.latent import aggregated_posterior
from iwae_tf.plots.sequences import effective_sample_size_over_time, filtered_states, piano_rolls
from iwae_tf.plots.trials import parallel_coordinates
from iwae_tf.plots.true_posterior import posteriors

__all__ = [
    "activity",
    "aggregated_posterior",
    "bounds",
    "effective_sample_size_over_time",
    "filtered_states",
    "histories",
    "interpolations",
    "manifold",
    "parallel_coordinates",
    "piano_rolls",
    "posteriors",
    "reconstructions",
    "samples",
    "weights",
]
