"""The model without its inactive units."""

import numpy as np
import tensorflow as tf

from iwae_tf.estimates import likelihood
from iwae_tf.evaluation.decomposition import factorize
from iwae_tf.evaluation.log_likelihood import log_likelihood
from iwae_tf.hierarchy import Terms


def without_inactive(model, data, units, num_samples=5000, seed=0, verbose=0):
    """Estimates log p(x) under the model without its inactive units.

    Such a unit is fixed at its mean over the data and leaves p(z) and q(z|x), so that the networks see a constant. If
    it was inactive indeed, nothing is lost.

    Args:
      model: an `IWAE` whose posteriors and priors are of independent units.
      data: array `[n, *event_shape]` or `tf.data.Dataset` of batches, as in the training set.
      units: the table of `active_units`, of single units.
      num_samples: samples per observation.
      seed: as in `log_likelihood`.
      verbose: as in `log_likelihood`.

    Returns:
      The `DataFrame` of `log_likelihood`.

    Raises:
      ValueError: if `units` are not those of the model, or a layer is not of independent units; and as in
        `log_likelihood`.

    References:
      Burda, Grosse & Salakhutdinov 2015, arXiv:1509.00519, section 5.2.
    """
    sizes = [int(np.prod(shape)) for shape in model.latent_shapes]
    received = units.groupby("layer").unit.count().tolist()
    if received != sizes:
        raise ValueError(f"Expected a row for each of {sizes} units. Received: {received}")
    return log_likelihood(_WithoutInactive(model, units), data, num_samples, seed, verbose)


class _WithoutInactive:
    """A model of which some units are fixed; for all that scoring does not change it is the model itself."""

    def __init__(self, model, units):
        self._model = model
        layers = [part for _, part in units.groupby("layer")]
        shaped = zip(layers, model.latent_shapes, strict=True)
        self._fixed = [
            (part.active.to_numpy().reshape(shape), part["mean"].to_numpy(model.variable_dtype).reshape(shape))
            for part, shape in shaped
        ]
        self.likelihood_program = likelihood.program(self)

    def __getattr__(self, name):
        return getattr(self._model, name)

    def terms(self, x, posterior, num_samples, seed):
        def fix(i, z):
            active, mean = self._fixed[i]
            return tf.where(active, z, mean)

        posteriors, z = self._model.infer(posterior, num_samples, seed, fix)
        observation, *priors = self._model.generative(z)
        log_q, log_p = ([self._log_prob(i, d[i], z[i]) for i in range(len(z))] for d in (posteriors, priors))
        kl = [q - p for q, p in zip(log_q, log_p, strict=True)]
        return Terms(observation.log_prob(x), kl, tf.add_n(log_q))

    def _log_prob(self, i, distribution, z):
        parts = factorize(distribution)
        if parts is None:
            raise ValueError(f"Expected posteriors and priors of independent units. Received: {distribution}")
        log_prob = tf.where(self._fixed[i][0], parts.log_prob(z), 0.0)
        return tf.reduce_sum(log_prob, range(-len(self._model.latent_shapes[i]), 0))
