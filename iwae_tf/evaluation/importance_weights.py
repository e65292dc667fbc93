"""The distribution of a model's importance weights."""

import numpy as np
import pandas as pd
import tensorflow as tf

from iwae_tf.evaluation.batches import score_batches
from iwae_tf.log_weights import effective_sample_size, normalized_weights
from iwae_tf.model import IWAE
from iwae_tf.types import Array

#: Normalised weight above which a sample is noticeable.
NOTICEABLE = 1e-2


def importance_weights(
    model: IWAE, data: Array | tf.data.Dataset, num_samples: int = 50, seed: int = 0
) -> pd.DataFrame:
    """Summarises the normalised importance weights of every observation.

    Args:
      model: an `IWAE`.
      data: observations `[n, *event_shape]` or a `tf.data.Dataset` of batches, as given to `fit`.
      num_samples: k, samples per observation.
      seed: integer seed of the preprocessing and the samples.

    Returns:
      A `DataFrame` with a row per observation: `effective_sample_size`, in [1, k]; `noticeable`, the number of weights
      above 1e-2; `entropy` of the weights in nats, log k if they are equal; the `largest` weight; `spread`, the
      standard deviation of log w over the samples, in nats; and the standard deviations of its parts: `spread_0` of
      log p(x|z_1), and `spread_l` of log p(z_l|z_{l+1}) - log q(z_l|z_{l-1}) for each layer l.

    Raises:
      ValueError: if the data do not match the model's input, or `num_samples` is not a positive integer.

    Example:
      ```python
      table = evaluation.importance_weights(model, x, num_samples=50)
      table.effective_sample_size.median()
      ```
    """
    tables = []
    for terms in score_batches(model, data, num_samples, seed):
        log_weights = terms.log_weights()
        spreads = enumerate([terms.reconstruction, *terms.kl_of_layers])
        weights = normalized_weights(log_weights).numpy()
        logs = np.log(np.maximum(weights, np.finfo(weights.dtype).tiny))
        columns = {
            "effective_sample_size": effective_sample_size(log_weights).numpy(),
            "noticeable": (weights > NOTICEABLE).sum(0),
            "entropy": -(weights * logs).sum(0),
            "largest": weights.max(0),
            "spread": log_weights.numpy().std(0),
            **{f"spread_{i}": values.numpy().std(0) for i, values in spreads},
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)
