"""Clusters: the components of a mixture prior that observations belong to."""

import numpy as np
import pandas as pd

from iwae_tf.evaluation.batches import preprocess_batches


def responsibilities(model, data, seed=0):
    """Computes the probability of each component of the prior for every observation, at the mean of q(z_L|.).

    For a model of several stochastic layers q(z_L|z_{L-1}) is taken given one sample of the layers below.

    Args:
      model: an `IWAE` whose prior is a mixture, such as `layers.GaussianMixture`.
      data: array `[n, *event_shape]` or `tf.data.Dataset` of batches, as in the training set.
      seed: integer seed of the preprocessing and of the samples.

    Returns:
      A `DataFrame` with a row per observation: the probabilities `component_0`, `component_1`, ..., and the number
      of the `most_probable` component.

    Raises:
      ValueError: if the data are not such as the model takes.
      TypeError: if the prior has no components.
    """
    if not hasattr(model.prior, "responsibilities"):
        raise TypeError(
            f"Expected a prior with components, such as layers.GaussianMixture. Received: {type(model.prior).__name__}"
        )
    parts = []
    for seen, batch_seed in preprocess_batches(model, data, seed):
        posteriors, _ = model.infer(model.posterior(seen), (), batch_seed)
        parts.append(model.prior.responsibilities(posteriors[-1].mean()).numpy())
    probabilities = np.concatenate(parts)
    table = pd.DataFrame(probabilities, columns=[f"component_{c}" for c in range(probabilities.shape[1])])
    return table.assign(most_probable=probabilities.argmax(1))
