"""Log-likelihoods of a data set, and how far they can be trusted."""

import functools
import zlib

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from iwae_tf import random
from iwae_tf.checks import check_count
from iwae_tf.data import inputs
from iwae_tf.estimates import likelihood
from iwae_tf.evaluation.tails import jackknifed, pareto_k
from iwae_tf.files import Journal

#: Pareto k from which an estimate is not to be trusted (Vehtari et al. 2024).
UNRELIABLE = 0.7


def log_likelihood(model, data, num_samples=5000, seed=0, verbose=0, path=None):
    """Estimates log p(x) of every observation by L_k with k = `num_samples`.

    Each observation has noise of its own, and a draw of its own where the preprocessing draws at random (dynamic
    binarisation), so that the mean over the data averages over both. Both come from the seed and from the content of
    the observation: `IWAE.log_likelihood` gives the same scores, whatever the batch.

    Args:
      model: an `IWAE`.
      data: array `[n, *event_shape]` or `tf.data.Dataset` of batches, as in the training set.
      num_samples: k, samples per observation.
      seed: integer seed; the same seed gives the same table.
      verbose: 1 shows a progress bar.
      path: a CSV file that takes every batch as soon as it is done. Called again with the same model, data and
        arguments, the function goes on where it was interrupted.

    Returns:
      A `DataFrame` with a row per observation: `log_likelihood` and its delta-method `standard_error` in nats;
      `effective_sample_size`, in [1, k]; `pareto_k`, the shape of the tail of the weights, see `tails.pareto_k`; and
      `jackknife`, the estimate with its bias of order 1/k removed, in nats, which is no lower bound.

    Raises:
      ValueError: if the data are not such as the model takes, `num_samples` is no integer of at least 1, or `path`
        holds the rows of another model, other data, or another number of samples or seed.
    """
    check_count(num_samples, "num_samples")
    parts, size = inputs.iterate_x(model, data)
    progress = keras.utils.Progbar(size, verbose=verbose, unit_name="batch")
    weights = _checksum(model.get_weights()) if path else 0
    journal = Journal(path, {"num_samples": num_samples, "seed": seed, "model": weights})
    for i, x in enumerate(parts):
        source = _checksum([x])
        if not journal.has(i, source):
            journal.add(i, source, _rows(model, x, num_samples, random.as_seed(seed)))
        progress.update(i + 1)
    return journal.to_frame()


def _checksum(arrays):
    return functools.reduce(lambda found, array: zlib.crc32(np.asarray(array).tobytes(), found), arrays, 0)


def _rows(model, x, num_samples, seed):
    """Returns the rows of a batch."""
    estimate = likelihood.get_program(model)(tf.convert_to_tensor(x), tf.constant(num_samples, tf.int32), seed)
    rows = pd.DataFrame({name: values.numpy().astype(np.float64) for name, values in estimate.scores().items()})
    largest = estimate.largest_log_weights.numpy()
    return rows.assign(pareto_k=pareto_k(largest, num_samples), jackknife=jackknifed(rows, largest, num_samples))


def summarize(table):
    """Summarises the table of `log_likelihood`.

    Returns:
      A dict: the mean `log_likelihood`; its `standard_error` over the observations (their spread over the square
      root of their number), in nats, and the ends of its 95 % interval, `low` and `high`; the mean of the
      `jackknife`-corrected estimates; the root mean square of the importance sampler's own errors, `sampling_error`, in
      nats; the mean `effective_sample_size`; `unreliable`, the share of observations whose Pareto k is 0.7 or more;
      `num_observations`; and a `verdict` in words.
    """
    n = len(table)
    mean = float(table.log_likelihood.mean())
    error = float(table.log_likelihood.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    summary = {
        "log_likelihood": mean,
        "standard_error": error,
        "low": mean - 1.96 * error,
        "high": mean + 1.96 * error,
        "jackknife": float(table.jackknife.mean()),
        "sampling_error": float(np.sqrt(np.mean(table.standard_error.to_numpy(np.float64) ** 2))),
        "effective_sample_size": float(table.effective_sample_size.mean()),
        "unreliable": float((table.pareto_k >= UNRELIABLE).mean()) if table.pareto_k.notna().all() else float("nan"),
        "num_observations": n,
    }
    return {**summary, "verdict": _verdict(summary)}


def _verdict(summary):
    """Says in words how far the mean can be trusted."""
    share, lower = summary["unreliable"], summary["jackknife"] - summary["log_likelihood"]
    if np.isnan(share):
        return "Too few samples to judge: a lower bound in the mean, and no more. Use 25 or more samples."
    text = f"{share:.0%} of the observations have a Pareto k of {UNRELIABLE} or more"
    bias = f"the jackknife puts the mean {lower:+.2f} nats from here"
    if share <= 0.05 and abs(lower) <= 0.1:
        return f"Can be trusted: {text}, and {bias}."
    if share <= 0.3:
        return f"Fair, and probably low: {text}, and {bias}. More samples would raise it."
    return (
        f"A lower bound, and no more: {text}, and {bias}. A few samples carry the estimate: the model is likely to be "
        "better than this. Compare with evaluation.ais, or train q further."
    )
