"""The bound against the number of samples."""

import numpy as np
import pandas as pd
import tensorflow as tf
from scipy.special import logsumexp

from iwae_tf import random
from iwae_tf.checks import check_count
from iwae_tf.evaluation.batches import map_batches

#: Samples drawn at once.
CHUNK = 500


def bounds(model, data, num_samples=(1, 5, 50, 500, 5000), seed=0, verbose=0):
    """Computes L_k for several k from one set of samples, the largest k of them for each observation.

    L_k of a smaller k is the mean over as many groups of k as there are, so that small k cost nothing and are the less
    noisy. L_k rises with k in the mean, towards log p(x).

    Args:
      model: an `IWAE`.
      data: array `[n, *event_shape]` or `tf.data.Dataset` of batches, as in the training set.
      num_samples: the k.
      seed: integer seed of the preprocessing and of the samples.
      verbose: 1 shows a progress bar.

    Returns:
      A `DataFrame` with a row per k, in rising order: `num_samples`, the mean `bound` over the data, its
      `standard_error` over the observations and the `sampling_error` of the mean, NaN for the largest k, all in nats.

    Raises:
      ValueError: if the data are not such as the model takes, or a k is no integer of at least 1.

    References:
      Burda, Grosse & Salakhutdinov 2015, arXiv:1509.00519, theorem 1.
    """
    counts = sorted({check_count(k, "num_samples") for k in num_samples})
    if not counts:
        raise ValueError("Expected at least one number of samples. Received: none")
    size = min(CHUNK, counts[-1])

    def draw(x, seed):
        posterior = model.posterior(x)

        def chunk(i):
            return model.terms(x, posterior, size, random.fold_in(seed, i)).log_weights()

        return tf.map_fn(chunk, tf.range(-(-counts[-1] // size)), fn_output_signature=model.variable_dtype)

    parts: dict[int, list] = {k: [] for k in counts}
    for drawn in map_batches(model, draw, data, seed, verbose, counts[-1]):
        log_weights = drawn.numpy().astype(np.float64).reshape(-1, drawn.shape[-1])
        for k in counts:
            groups = counts[-1] // k
            grouped = log_weights[: groups * k].reshape(groups, k, -1)
            parts[k].append(logsumexp(grouped, axis=1) - np.log(k))
    rows = []
    for k, found in parts.items():
        values = np.concatenate(found, axis=1)  # [groups, n]
        groups, n = values.shape
        error = np.sqrt(values.var(0, ddof=1).sum() / groups) / n if groups > 1 else np.nan
        spread = values.mean(0).std(ddof=1) / n**0.5 if n > 1 else np.nan
        rows.append({"num_samples": k, "bound": values.mean(), "standard_error": spread, "sampling_error": error})
    return pd.DataFrame(rows)
