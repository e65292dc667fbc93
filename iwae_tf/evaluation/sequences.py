"""Bounds and effective sample sizes of models of sequences."""

import math
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from iwae_tf import random
from iwae_tf.checks import check_count
from iwae_tf.data.inputs import iterate_x
from iwae_tf.objectives import Filtering
from iwae_tf.sequences import StateSpaceModel, use
from iwae_tf.types import Array


def sequence_log_likelihood(
    model: StateSpaceModel,
    data: Array | tf.data.Dataset,
    num_samples: int = 128,
    seed: int = 0,
    verbose: int = 0,
    repeats: int = 4,
) -> pd.DataFrame:
    """Estimates log p(x) of every sequence by several particle filters.

    The score of a sequence depends on the seed and its content, neither on the others nor on its padding.

    Args:
      model: a `StateSpaceModel`.
      data: sequences `[n, time, *event]` padded with NaN, or a `tf.data.Dataset` of batches.
      num_samples: k, particles of each filter, which resamples as in training.
      seed: integer seed; the same seed gives the same table.
      verbose: 1 shows a progress bar.
      repeats: number of filters, whose spread is the standard error.

    Returns:
      A `DataFrame` with a row per sequence: `log_likelihood` in nats, the log of the mean of the filters' estimates of
      p(x); its `standard_error`; `effective_sample_size`, the mean over steps, in [1, k]; and `num_steps`.

    Raises:
      ValueError: if the data do not match the model's input, or a number is not a positive integer.

    Example:
      ```python
      chain = iwae_tf.sequences.linear_gaussian([[0.9]], [[1.0]])
      table = evaluation.sequence_log_likelihood(chain, np.zeros([5, 10, 1]), num_samples=16)
      table.log_likelihood.sum() / table.num_steps.sum()  # nats per step
      ```
    """
    check_count(num_samples, "num_samples")
    check_count(repeats, "repeats")
    batches, size = iterate_x(model, data)
    progress = keras.utils.Progbar(size, verbose=verbose, unit_name="batch")
    rows = []
    for i, x in enumerate(batches):
        scores = use.estimate_log_likelihood(
            model, tf.convert_to_tensor(x), num_samples, random.as_seed(seed), repeats=repeats
        )
        columns = {name: values.numpy().astype(np.float64) for name, values in scores._asdict().items()}
        rows.append(pd.DataFrame({**columns, "num_steps": count_steps(x)}))
        progress.update(i + 1)
    return pd.concat(rows, ignore_index=True)


def summarize_sequences(table: pd.DataFrame) -> dict[str, Any]:
    """Summarises the table of `sequence_log_likelihood`.

    Returns:
      A dict: the mean `log_likelihood` of a sequence and its `standard_error` over the sequences; `per_step`, the sum
      over the sum of the steps, and its `per_step_error`; `sampling_error`, the part of the standard error that comes
      from the particles; `effective_sample_size`; `num_observations`, the sequences, and `num_steps`; and a `verdict`
      in words. Likelihoods and errors are in nats.

    Example:
      ```python
      chain = iwae_tf.sequences.linear_gaussian([[0.9]], [[1.0]])
      table = evaluation.sequence_log_likelihood(chain, np.zeros([5, 10, 1]), num_samples=16)
      evaluation.summarize_sequences(table)["per_step"]
      ```
    """
    scores, steps, n = table.log_likelihood.to_numpy(), table.num_steps.to_numpy(), len(table)
    per_step, per_step_error = average_per_step(scores, steps)
    sampling_error = float(np.sqrt((table.standard_error**2).sum()) / n)
    return {
        "log_likelihood": float(scores.mean()),
        "standard_error": float(scores.std(ddof=1) / n**0.5) if n > 1 else math.nan,
        "per_step": per_step,
        "per_step_error": per_step_error,
        "sampling_error": sampling_error,
        "effective_sample_size": float(np.average(table.effective_sample_size, weights=steps)),
        "num_observations": n,
        "num_steps": int(steps.sum()),
        "verdict": f"{per_step:.3f} \u00b1 {per_step_error:.3f} nats per step over {n} sequences; the error of the "
        f"particles is {sampling_error * n / steps.sum():.3f}.",
    }


def average_per_step(bounds: np.ndarray, steps: np.ndarray) -> tuple[float, float]:
    """Returns the sum of bounds over the sum of steps, and its standard error by the delta method."""
    per_step = float(bounds.sum() / steps.sum())
    if len(steps) < 2:
        return per_step, math.nan
    return per_step, float((bounds - per_step * steps).std(ddof=1) / (steps.mean() * len(steps) ** 0.5))


def sequence_bounds(
    model: StateSpaceModel, data: Array | tf.data.Dataset, num_samples: int = 128, seed: int = 0
) -> pd.DataFrame:
    """Computes the ELBO, the IWAE bound and the filter's bound of sequences, as papers of this field report them.

    Args:
      model: a `StateSpaceModel`.
      data: sequences `[n, time, *event]` padded with NaN, or a `tf.data.Dataset` of batches.
      num_samples: k of the IWAE bound, and particles of the filter, which resamples as in training.
      seed: integer seed of the preprocessing and the samples.

    Returns:
      A `DataFrame` with a row for each bound, `elbo`, `iwae` and `fivo`: `per_step`, the sum of the bounds over the sum
      of the steps, in nats; its `standard_error` over the sequences; and `per_sequence`, the mean over sequences.

    Raises:
      ValueError: if the data do not match the model's input, or `num_samples` is not a positive integer.

    References:
      Maddison et al. 2017, arXiv:1705.09279, section 5.

    Example:
      ```python
      chain = iwae_tf.sequences.linear_gaussian([[0.9]], [[1.0]])
      evaluation.sequence_bounds(chain, np.zeros([5, 10, 1]), num_samples=16).per_step
      ```
    """
    k = check_count(num_samples, "num_samples")
    filters = {
        "elbo": Filtering(1),
        "iwae": Filtering(k, when="never"),
        "fivo": use.choose_filtering(model.objective, k),
    }
    values: dict[str, list] = {name: [] for name in filters}
    lengths: list[np.ndarray] = []
    batches, _ = iterate_x(model, data)
    for i, x in enumerate(batches):
        batch_seed = random.fold_in(random.as_seed(seed), i)
        lengths.append(count_steps(x))
        for name, filtering in filters.items():
            scores = use.estimate_log_likelihood(model, tf.convert_to_tensor(x), k, batch_seed, filtering)
            values[name].append(scores.log_likelihood.numpy())
    steps = np.concatenate(lengths)
    rows = {}
    for name, parts in values.items():
        bounds = np.concatenate(parts)
        per_step, error = average_per_step(bounds, steps)
        rows[name] = {"per_step": per_step, "standard_error": error, "per_sequence": bounds.mean()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("bound")


def effective_sample_size_over_time(
    model: StateSpaceModel, data: Array | tf.data.Dataset, num_samples: int = 128, seed: int = 0
) -> pd.DataFrame:
    """Computes the effective sample size of a particle filter step by step.

    Args:
      model: a `StateSpaceModel`.
      data: sequences `[n, time, *event]` padded with NaN, or a `tf.data.Dataset` of batches.
      num_samples: k, particles, which are resampled as in training.
      seed: integer seed of the preprocessing and the samples.

    Returns:
      A `DataFrame` with a row for each step, counted from 1: `effective_sample_size`, in [1, k], before the particles
      are resampled, and `resampled`, the share of sequences whose particles are, both over the `num_sequences` that are
      that long.

    Raises:
      ValueError: if the data do not match the model's input, or `num_samples` is not a positive integer.

    Example:
      ```python
      chain = iwae_tf.sequences.linear_gaussian([[0.9]], [[1.0]])
      evaluation.effective_sample_size_over_time(chain, np.zeros([5, 10, 1]), num_samples=16).effective_sample_size
      ```
    """
    check_count(num_samples, "num_samples")
    rows = []
    batches, _ = iterate_x(model, data)
    for i, x in enumerate(batches):
        filtered = use.filter_sequences(
            model, tf.convert_to_tensor(x), num_samples, random.fold_in(random.as_seed(seed), i)
        )
        there = np.arange(x.shape[1]) < count_steps(x)[:, np.newaxis]
        _, step = np.nonzero(there)
        rows.append(
            pd.DataFrame(
                {
                    "step": step + 1,
                    "effective_sample_size": filtered.effective_sample_size.numpy()[there],
                    "resampled": filtered.resampled.numpy()[there],
                }
            )
        )
    groups = pd.concat(rows).groupby("step")
    return groups.mean().assign(num_sequences=groups.size())


def count_steps(x: np.ndarray) -> np.ndarray:
    """Returns the number of steps of each sequence up to the last one that is not missing, `[n]`."""
    present = ~np.isnan(x).reshape(*x.shape[:2], -1).all(axis=2)
    return np.max(np.where(present, np.arange(1, x.shape[1] + 1), 0), axis=1)
