"""What the importance weights of a model look like."""

import numpy as np
import pandas as pd

from iwae_tf.evaluation.batches import score_batches
from iwae_tf.log_weights import effective_sample_size, normalized_weights

#: A sample whose normalised weight is above this counts for something.
NOTICEABLE = 1e-2


def importance_weights(model, data, num_samples=50, seed=0):
    """Summarises the normalised importance weights of every observation.

    Args:
      model: an `IWAE`.
      data: array `[n, *event_shape]` or `tf.data.Dataset` of batches, as in the training set.
      num_samples: k, samples per observation.
      seed: integer seed of the preprocessing and of the samples.

    Returns:
      A `DataFrame` with a row per observation: `effective_sample_size`, in [1, k]; `noticeable`, the number of weights
      above 1e-2; `entropy` of the weights, in nats, log k where they are equal; `largest` weight; `spread`, the
      standard deviation of log w over the samples, in nats; and that of its parts: `spread_0` of log p(x|z_1), and
      `spread_l` of log p(z_l|z_{l+1}) - log q(z_l|z_{l-1}) for each layer l.

    Raises:
      ValueError: if the data are not such as the model takes, or `num_samples` is no integer of at least 1.
    """
    rows = []
    for part in score_batches(model, data, num_samples, seed):
        log_weights = part.log_weights()
        weights = normalized_weights(log_weights).numpy()
        logs = np.log(np.maximum(weights, np.finfo(weights.dtype).tiny))
        rows.append(
            {
                "effective_sample_size": effective_sample_size(log_weights).numpy(),
                "noticeable": (weights > NOTICEABLE).sum(0),
                "entropy": -(weights * logs).sum(0),
                "largest": weights.max(0),
                "spread": log_weights.numpy().std(0),
                **{f"spread_{i}": p.numpy().std(0) for i, p in enumerate([part.reconstruction, *part.kl_of_layers])},
            }
        )
    return pd.concat(map(pd.DataFrame, rows), ignore_index=True)
