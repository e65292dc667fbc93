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
from iwae_tf.evaluation.sequences import sequence_log_likelihood
from iwae_tf.files import Journal
from iwae_tf.model import IWAE
from iwae_tf.sequences import StateSpaceModel
from iwae_tf.types import Array

#: Pareto k from which an estimate is not to be trusted (Vehtari et al. 2024).
UNRELIABLE = 0.7


def log_likelihood(
    model: IWAE | StateSpaceModel,
    data: Array | tf.data.Dataset,
    num_samples: int = 5000,
    seed: int = 0,
    verbose: int = 0,
    path: str | os.PathLike | None = None,
    refine: int = 0,
) -> pd.DataFrame:
    """Estimates log p(x) of every observation by L_k with k = `num_samples`.

    Each observation has its own noise, and its own draw of a random preprocessing (dynamic binarisation), so that the
    mean over the data averages over both. They depend on the seed and the content of the observation only:
    `IWAE.log_likelihood` gives the same scores, whatever the batch.

    Not to be confused with the bound that `evaluate` reports, which belongs to the objective and its own number of
    samples.

    With `refine` the estimate is sharper, and still a lower bound in the mean: for each observation q(z|x) is fitted by
    that many gradient steps, to a Gaussian with a full covariance in each layer, and the samples come from an equal
    mixture of q(z|x) and this refined q. The table then has the columns of the amortised q alone as well.

    Args:
      model: an `IWAE`, or a model of sequences, for which this is `sequence_log_likelihood` with one filter.
      data: observations `[n, *event_shape]` or a `tf.data.Dataset` of batches, as given to `fit`.
      num_samples: k, samples per observation.
      seed: integer seed; the same seed gives the same table.
      verbose: 1 shows a progress bar.
      path: a CSV file to which every batch is written once it is scored. Another call with the same model, data and
        arguments resumes there after an interrupt.
      refine: steps that refine q(z|x) for each observation, such as 50; 0 leaves it as it is.

    Returns:
      A `DataFrame` with a row per observation: `log_likelihood` and its delta-method `standard_error` in nats;
      `effective_sample_size`, in [1, k]; `pareto_k`, the shape of the tail of the weights, at which 0.7 and more mean
      that the estimate is unreliable; and `jackknife`, the estimate without its bias of order 1/k, in nats, which is
      not a lower bound. With `refine`, `amortized_log_likelihood`, `amortized_effective_sample_size` and
      `amortized_pareto_k` are those of q(z|x) alone.

    Raises:
      ValueError: if the data do not match the model's input, `num_samples` is not a positive integer, `refine` is
        negative or comes with posteriors other than diagonal Gaussians, or `path` holds the rows of another model,
        other data, or another number of samples, seed or number of steps.

    References:
      Cremer, Li & Duvenaud 2018, arXiv:1801.03558 (q optimised for each observation); Hesterberg 1995, Technometrics
      37 (defensive mixtures).

    Example:
      ```python
      table = evaluation.log_likelihood(model, splits.test, num_samples=50)
      table.log_likelihood.mean(), evaluation.summarize(table)["verdict"]
      evaluation.log_likelihood(model, x, num_samples=50, refine=20).amortized_log_likelihood.mean()
      ```
    """
    check_count(num_samples, "num_samples")
    check_count(refine, "refine", minimum=0)
    if isinstance(model, StateSpaceModel):
        if path or refine:
            raise ValueError(f"Expected neither path nor refine for sequences. Received: {path!r}, {refine}")
        return sequence_log_likelihood(model, data, num_samples, seed, verbose, repeats=1)
    batches, size = inputs.iterate_x(model, data)
    progress = keras.utils.Progbar(size, verbose=verbose, unit_name="batch")
    weights = _compute_checksum(model.get_weights()) if path else 0
    journal = Journal(path, {"num_samples": num_samples, "seed": seed, "refine": refine, "model": weights})
    for i, x in enumerate(batches):
        source = _compute_checksum([x])
        if not journal.has(i, source):
            rows = _score(model, x, num_samples, random.as_seed(seed), refine)
            if refine:
                amortized = _score(model, x, num_samples, random.as_seed(seed))
                columns = ("log_likelihood", "effective_sample_size", "pareto_k")
                rows = rows.assign(**{f"amortized_{name}": amortized[name] for name in columns})
            journal.add(i, source, rows)
        progress.update(i + 1)
    return journal.to_frame()


def _compute_checksum(arrays: Iterable[np.ndarray]) -> int:
    checksum = 0
    for array in arrays:
        checksum = zlib.crc32(np.asarray(array).tobytes(), checksum)
    return checksum


def _score(model: IWAE, x: np.ndarray, num_samples: int, seed: tf.Tensor, refine: int = 0) -> pd.DataFrame:
    """Returns the rows of a batch."""
    program = likelihood.get_program(model, refine)
    try:
        estimate = program(tf.convert_to_tensor(x), tf.constant(num_samples, tf.int32), seed)
    except NotImplementedError as error:
        raise ValueError(f"Expected posteriors that are diagonal Gaussians, since refine={refine}. {error}") from error
    rows = pd.DataFrame({name: values.numpy().astype(np.float64) for name, values in estimate.scores().items()})
    largest = estimate.largest_log_weights.numpy()
    pareto_k, jackknife = estimate_pareto_k(largest, num_samples), apply_jackknife(rows, largest, num_samples)
    return rows.assign(pareto_k=pareto_k, jackknife=jackknife)


def summarize(table: pd.DataFrame) -> dict[str, Any]:
    """Summarises the table of `log_likelihood`.

    Returns:
      A dict: the mean `log_likelihood`; its `standard_error` over the observations (their standard deviation over the
      square root of their number) and the ends of its 95 % interval, `low` and `high`; the mean `jackknife`-corrected
      estimate; `sampling_error`, the standard error of the mean for these observations, which comes from the importance
      samples alone (as in `bounds`); the mean `effective_sample_size`; `unreliable`, the share of observations with a
      Pareto k of 0.7 or more; `num_observations`; and a `verdict` in words. Likelihoods and errors are in nats. A
      refined table has a dict `amortized` as well: mean `log_likelihood`, mean `effective_sample_size` and the share
      `unreliable` of q(z|x) alone.

    Example:
      ```python
      summary = evaluation.summarize(evaluation.log_likelihood(model, x, num_samples=50))
      print(summary["log_likelihood"], summary["verdict"])
      ```
    """
    n = len(table)
    mean = float(table.log_likelihood.mean())
    error = float(table.log_likelihood.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    summary: dict[str, Any] = {
        "log_likelihood": mean,
        "standard_error": error,
        "low": mean - 1.96 * error,
        "high": mean + 1.96 * error,
        "jackknife": float(table.jackknife.mean()),
        "sampling_error": float(np.linalg.norm(table.standard_error.to_numpy(np.float64)) / n),
        "effective_sample_size": float(table.effective_sample_size.mean()),
        "unreliable": _share_of_unreliable(table.pareto_k),
        "num_observations": n,
    }
    if "amortized_log_likelihood" in table:
        summary["amortized"] = {
            "log_likelihood": float(table.amortized_log_likelihood.mean()),
            "effective_sample_size": float(table.amortized_effective_sample_size.mean()),
            "unreliable": _share_of_unreliable(table.amortized_pareto_k),
        }
    return {**summary, "verdict": _word_verdict(summary)}


def _share_of_unreliable(pareto_k: pd.Series) -> float:
    return float((pareto_k >= UNRELIABLE).mean()) if pareto_k.notna().all() else float("nan")


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
        "than this. Refine q (refine=50), or compare with evaluation.ais."
    )
