"""Log-likelihoods of a data set."""

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from iwae_tf import intake, random
from iwae_tf.objectives.base import check_count


def log_likelihood(model, data, num_samples=5000, seed=0, verbose=0):
    """Estimates log p(x) of every observation by L_k with k = `num_samples`.

    Where the preprocessing draws at random (dynamic binarisation), each observation gets a draw of its own, so that
    the mean over the data averages over these too.

    Args:
      model: an `IWAE`.
      data: array `[n, *event_shape]` or `tf.data.Dataset` of batches, as in the training set.
      num_samples: k, samples per observation.
      seed: integer seed; the same seed gives the same table.
      verbose: 1 shows a progress bar.

    Returns:
      A `DataFrame` with a row per observation: `log_likelihood` and its `standard_error` in nats, and
      `effective_sample_size`, in [1, k].

    Raises:
      ValueError: if the data are not such as the model takes, or `num_samples` is no integer of at least 1.
    """
    check_count(num_samples, "num_samples")
    seed, k = random.as_seed(seed), tf.constant(num_samples, tf.int32)
    parts, size = intake.x_batches(data)
    progress = keras.utils.Progbar(size, verbose=verbose, unit_name="batch")
    rows = []
    for i, x in enumerate(parts):
        seen = model.preprocess(model.admit(x), random.fold_in(seed, i))
        rows.append(model.likelihood_program(seen, k, seed, preprocess=False)._asdict())
        progress.update(i + 1)
    return pd.DataFrame({name: np.concatenate([row[name] for row in rows]) for name in rows[0]})


def summarize(table):
    """Summarises the table of `log_likelihood`.

    Returns:
      A dict: the mean `log_likelihood`; its `standard_error` over the observations (their spread over the square
      root of their number), in nats; the root mean square of the importance sampler's own errors,
      `sampling_error`, in nats; the mean `effective_sample_size`; `num_observations`.
    """
    n = len(table)
    return {
        "log_likelihood": float(table.log_likelihood.mean()),
        "standard_error": float(table.log_likelihood.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan"),
        "sampling_error": float(np.sqrt(np.mean(table.standard_error.to_numpy(np.float64) ** 2))),
        "effective_sample_size": float(table.effective_sample_size.mean()),
        "num_observations": n,
    }
