"""Clusters: the components of a mixture prior that observations belong to."""

import numpy as np
import pandas as pd
import tensorflow as tf

from iwae_tf.evaluation.batches import preprocess_batches
from iwae_tf.model import IWAE
from iwae_tf.types import Array


def responsibilities(model: IWAE, data: Array | tf.data.Dataset, seed: int = 0) -> pd.DataFrame:
    """Computes the probability of each component of the prior for every observation, at the mean of q(z_L|.).

    In a model of several stochastic layers, q(z_L|z_{L-1}) is given one sample of the layers below.

    Args:
      model: an `IWAE` whose prior is a mixture, such as `layers.GaussianMixture`.
      data: observations `[n, *event_shape]` or a `tf.data.Dataset` of batches, as given to `fit`.
      seed: integer seed of the preprocessing and the samples.

    Returns:
      A `DataFrame` with a row per observation: the probabilities `component_0`, `component_1`, ..., and the index of
      the `most_probable` component.

    Raises:
      ValueError: if the data do not match the model's input.
      TypeError: if the prior has no components.

    Example:
      ```python
      mixture = iwae_tf.mlp((8, 8, 1), (2,), ((16,),), prior="mixture", preprocessing=layers.StochasticBinarization())
      evaluation.responsibilities(mixture, x).most_probable
      ```
    """
    if not hasattr(model.prior, "responsibilities"):
        raise TypeError(
            f"Expected a prior with components, such as layers.GaussianMixture. Received: {type(model.prior).__name__}"
        )
    batches = []
    for x, batch_seed in preprocess_batches(model, data, seed):
        posteriors, _ = model.infer(model.posterior(x), (), batch_seed)
        batches.append(model.prior.responsibilities(posteriors[-1].mean()).numpy())
    probabilities = np.concatenate(batches)
    table = pd.DataFrame(probabilities, columns=[f"component_{c}" for c in range(probabilities.shape[1])])
    return table.assign(most_probable=probabilities.argmax(1))
