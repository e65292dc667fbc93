"""The likelihood of a model without its inactive units."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pandas as pd
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf.evaluation.decomposition import factorize
from iwae_tf.evaluation.log_likelihood import log_likelihood
from iwae_tf.hierarchy import Terms
from iwae_tf.layers.observation import log_prob_of
from iwae_tf.model import IWAE
from iwae_tf.types import Array


def without_inactive(
    model: IWAE,
    data: Array | tf.data.Dataset,
    units: pd.DataFrame,
    num_samples: int = 5000,
    seed: int = 0,
    verbose: int = 0,
) -> pd.DataFrame:
    """Estimates log p(x) under the model without its inactive units.

    An inactive unit is fixed at its mean over the data, where the networks see a constant, and left out of p(z) and
    q(z|x). If it was truly inactive, the likelihood stays the same.

    Args:
      model: an `IWAE` whose posteriors and priors have independent units.
      data: observations `[n, *event_shape]` or a `tf.data.Dataset` of batches, as given to `fit`.
      units: the table of `active_units`, with `rotated=False`.
      num_samples: k, samples per observation.
      seed: as in `log_likelihood`.
      verbose: as in `log_likelihood`.

    Returns:
      The `DataFrame` of `log_likelihood`.

    Raises:
      ValueError: if `units` does not match the model's units, or the units of a layer are not independent; and as in
        `log_likelihood`.

    References:
      Burda, Grosse & Salakhutdinov 2015, arXiv:1509.00519, section 5.2.

    Example:
      ```python
      units = evaluation.active_units(model, splits.test)
      evaluation.without_inactive(model, x, units, num_samples=50).log_likelihood.mean()
      ```
    """
    sizes = [int(np.prod(shape)) for shape in model.latent_shapes]
    received = units.groupby("layer").unit.count().tolist()
    if received != sizes:
        raise ValueError(f"Expected a row for each of {sizes} units. Received: {received}")
    return log_likelihood(cast(IWAE, _WithoutInactive(model, units)), data, num_samples, seed, verbose)


class _WithoutInactive:
    """A model with some units fixed. Everything but the scoring is delegated to the model."""

    def __init__(self, model: IWAE, units: pd.DataFrame) -> None:
        self._model = model
        layers = [layer for _, layer in units.groupby("layer")]
        self._units = [
            (layer["active"].to_numpy().reshape(shape), layer["mean"].to_numpy(model.variable_dtype).reshape(shape))
            for layer, shape in zip(layers, model.latent_shapes, strict=True)
        ]
        self.programs: dict[tuple, Callable] = {}  # not the model's, since the scores differ

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def terms(self, x: tf.Tensor, posterior: Any, num_samples: int, seed: tf.Tensor) -> Terms:
        def fix(i: int, z: tf.Tensor) -> tf.Tensor:
            active, mean = self._units[i]
            return tf.where(active, z, mean)

        posteriors, z = self._model.infer(posterior, num_samples, seed, fix)
        observation, *priors = self._model.generative(z)
        log_q, log_p = ([self._log_prob(i, d[i], z[i]) for i in range(len(z))] for d in (posteriors, priors))
        kl = [q - p for q, p in zip(log_q, log_p, strict=True)]
        return Terms(log_prob_of(observation, x), kl, tf.add_n(log_q))

    def _log_prob(self, i: int, distribution: tfd.Distribution, z: tf.Tensor) -> tf.Tensor:
        units = factorize(distribution)
        if units is None:
            raise ValueError(f"Expected posteriors and priors with independent units. Received: {distribution}")
        log_prob = tf.where(self._units[i][0], units.log_prob(z), 0.0)
        return tf.reduce_sum(log_prob, range(-len(self._model.latent_shapes[i]), 0))
