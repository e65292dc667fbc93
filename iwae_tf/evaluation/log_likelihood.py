"""Log-likelihoods of a data set, and how far they can be trusted."""

import os
import zlib
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from iwae_tf import random
from iwae_tf.checks import check_count
from iwae_tf.data import inputs
from iwae_tf.estimates import likelihood
from iwae_tf.evaluation.jackknife import apply_jackknife
from iwae_tf.evaluation.pareto import estimate_pareto_k
from iwae_tf.files import Journal
from iwae_tf.model import IWAE
from iwae_tf.types import Array

#: Pareto k from which an estimate is not to be trusted (Vehtari et al. 2024).
UNRELIABLE = 0.7


def log_likelihood(
    model: IWAE,
    data: Array | tf.data.Dataset,
    num_samples: int = 5000,
    seed: int = 0,
    verbose: int = 0,
    path: str | os.PathLike | None = None,
) -> pd.DataFrame:
    """Estimates log p(x) of every observation by L_k with k = `num_samples`.

    Each observation has its own noise, and its own draw of a random preprocessing (dynamic binarisation), so that the
    mean over the data averages over both. They depend on the seed and the content of the observation only:
    `IWAE.log_likelihood` gives the same scores, whatever the batch.

    Not to be confused with the bound that `evaluate` reports, which belongs to the objective and its own number of
    samples.

    Args:
      model: an `IWAE`.
      data: observations `[n, *event_shape]` or a `tf.data.Dataset` of batches, as given to `fit`.
      num_samples: k, samples per observation.
      seed: integer seed; the same seed gives the same table.
      verbose: 1 shows a progress bar.
      path: a CSV file to which every batch is written once it is scored. Another call with the same model, data and
        arguments resumes there after an interrupt.

    Returns:
      A `DataFrame` with a row per observation: `log_likelihood` and its delta-method `standard_error` in nats;
      `effective_sample_size`, in [1, k]; `pareto_k`, the shape of the tail of the weights, at which 0.7 and more mean
      that the estimate is unreliable; and `jackknife`, the estimate without its bias of order 1/k, in nats, which is
      not a lower bound.

    Raises:
      ValueError: if the data do not match the model's input, `num_samples` is not a positive integer, or `path` holds
        the rows of another model, other data, or another number of samples or seed.

    Example:
      ```python
      table = evaluation.log_likelihood(model, splits.test, num_samples=50)
      table.log_likelihood.mean(), evaluation.summarize(table)["verdict"]
      ```
    """
    check_count(num_samples, "num_samples")
    batches, size = inputs.iterate_x(model, data)
    progress = keras.utils.Progbar(size, verbose=verbose, unit_name="batch")
    weights = _compute_checksum(model.get_weights()) if path else 0
    journal = Journal(path, {"num_samples": num_samples, "seed": seed, "model": weights})
    for i, x in enumerate(batches):
        source = _compute_checksum([x])
        if not journal.has(i, source):
            journal.add(i, source, _score(model, x, num_samples, random.as_seed(seed)))
        progress.update(i + 1)
    return journal.to_frame()


def _compute_checksum(arrays: Iterable[np.ndarray]) -> int:
    checksum = 0
    for array in arrays:
        checksum = zlib.crc32(np.asarray(array).tobytes(), checksum)
    return checksum


def _score(model: IWAE, x: np.ndarray, num_samples: int, seed: tf.Tensor) -> pd.DataFrame:
    """Returns the rows of a batch."""
    estimate = likelihood.get_program(model)(tf.convert_to_tensor(x), tf.constant(num_samples, tf.int32), seed)
    rows = pd.DataFrame({name: values.numpy().astype(np.float64) for name, values in estimate.scores().items()})
    largest = estimate.largest_log_weights.numpy()
    pareto_k, jackknife = estimate_pareto_k(largest, num_samples), apply_jackknife(rows, largest, num_samples)
    return rows.assign(pareto_k=pareto_k, jackknife=jackknife)


def summarize(table: pd.DataFrame) -> dict[str, Any]:
    """Summarises the table of `log_likelihood`.

    Returns:
      A dict: the mean `log_likelihood`; its `standard_error` over the observations (their standard deviation over the
      square root of their number) and the ends of its 95 % interval, `low` and `high`; the mean `jackknife`-corrected
      estimate; `sampling_error`, the root mean square of the importance sampler's own standard errors; the mean
      `effective_sample_size`; `unreliable`, the share of observations with a Pareto k of 0.7 or more;
      `num_observations`; and a `verdict` in words. Likelihoods and errors are in nats.

    Example:
      ```python
      summary = evaluation.summarize(evaluation.log_likelihood(model, x, num_samples=50))
      print(summary["log_likelihood"], summary["verdict"])
      ```
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
    return {**summary, "verdict": _word_verdict(summary)}


def _word_verdict(summary: dict[str, Any]) -> str:
    """Says in words how far the mean can be trusted."""
    share, correction = summary["unreliable"], summary["jackknife"] - summary["log_likelihood"]
    if np.isnan(share):
        return "Too few samples to judge: only a lower bound in expectation. Use 25 or more samples."
    reasons = (
        f"{share:.0%} of the observations have a Pareto k of {UNRELIABLE} or more, and the jackknife corrects the mean "
        f"by {correction:+.2f} nats"
    )
    if share <= 0.05 and abs(correction) <= 0.1:
        return f"Can be trusted: {reasons}."
    if share <= 0.3:
        return f"Fair, and probably low: {reasons}. More samples would raise it."
    return (
        f"Only a lower bound: {reasons}. A few samples dominate the estimate, and the model is likely to be better "
        "than this. Compare with evaluation.ais, or train q further."
    )
