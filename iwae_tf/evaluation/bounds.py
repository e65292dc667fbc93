"""The bound against the number of samples."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import tensorflow as tf
from scipy.special import logsumexp

from iwae_tf import random
from iwae_tf.checks import check_count
from iwae_tf.evaluation.batches import map_batches
from iwae_tf.model import IWAE
from iwae_tf.types import Array

#: Samples of an observation that are drawn at once.
CHUNK = 500


def bounds(
    model: IWAE,
    data: Array | tf.data.Dataset,
    num_samples: Iterable[int] = (1, 5, 50, 500, 5000),
    seed: int = 0,
    verbose: int = 0,
) -> pd.DataFrame:
    """Computes L_k for several k from one set of samples.

    The largest k is the number of samples per observation. For a smaller k, L_k is averaged over as many groups of k
    samples as fit: it costs nothing extra and is less noisy. In expectation L_k rises with k, towards log p(x).

    Args:
      model: an `IWAE`.
      data: observations `[n, *event_shape]` or a `tf.data.Dataset` of batches, as given to `fit`.
      num_samples: the values of k.
      seed: integer seed of the preprocessing and the samples.
      verbose: 1 shows a progress bar.

    Returns:
      A `DataFrame` with a row per k, in rising order: `num_samples`, the mean `bound` over the data, its
      `standard_error` over the observations, and the `sampling_error`, the standard error of the mean for these
      observations, which comes from the samples alone; NaN for the largest k. All are in nats.

    Raises:
      ValueError: if the data do not match the model's input, or a k is not a positive integer.

    References:
      Burda, Grosse & Salakhutdinov 2015, arXiv:1509.00519, theorem 1.

    Example:
      ```python
      table = evaluation.bounds(model, x, num_samples=(1, 5, 50))
      table.bound  # rises with k
      ```
    """
    counts = sorted({check_count(k, "num_samples") for k in num_samples})
    if not counts:
        raise ValueError("Expected at least one number of samples. Received: none")
    size = min(CHUNK, counts[-1])

    def draw(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        posterior, observed = model.posterior(x), model.observe(x)

        def draw_chunk(i: tf.Tensor) -> tf.Tensor:
            return model.terms(observed, posterior, size, random.fold_in(seed, i)).log_weights()

        return tf.map_fn(draw_chunk, tf.range(-(-counts[-1] // size)), fn_output_signature=model.variable_dtype)

    estimates: dict[int, list] = {k: [] for k in counts}
    for chunks in map_batches(model, draw, data, seed, verbose, counts[-1]):
        log_weights = chunks.numpy().astype(np.float64).reshape(-1, chunks.shape[-1])
        for k in counts:
            groups = counts[-1] // k
            grouped = log_weights[: groups * k].reshape(groups, k, -1)
            estimates[k].append(logsumexp(grouped, axis=1) - np.log(k))
    rows = []
    for k, batches in estimates.items():
        values = np.concatenate(batches, axis=1)  # [groups, n]
        groups, n = values.shape
        error = np.sqrt(values.var(0, ddof=1).sum() / groups) / n if groups > 1 else np.nan
        spread = values.mean(0).std(ddof=1) / n**0.5 if n > 1 else np.nan
        rows.append({"num_samples": k, "bound": values.mean(), "standard_error": spread, "sampling_error": error})
    return pd.DataFrame(rows)
