"""Passes over a data set, batch by batch, after the preprocessing."""

from collections.abc import Callable, Hashable, Iterator
from typing import TypeVar

import keras
import tensorflow as tf

from iwae_tf import random
from iwae_tf.checks import check_count
from iwae_tf.compiling import cached_program
from iwae_tf.data import inputs
from iwae_tf.hierarchy import Terms
from iwae_tf.model import IWAE
from iwae_tf.types import Array

T = TypeVar("T")


def preprocess_batches(
    model: IWAE, data: Array | tf.data.Dataset, seed: int = 0, verbose: int = 0
) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Yields every batch after the preprocessing, and a seed (`int32[2]`) for further draws.

    Args:
      model: an `IWAE`.
      data: observations `[n, *event_shape]` or a `tf.data.Dataset` of batches, as given to `fit`.
      seed: integer seed.
      verbose: 1 shows a progress bar.

    Raises:
      ValueError: if the data do not match the model's input.
    """
    batches, size = inputs.iterate_x(model, data)
    progress = keras.utils.Progbar(size, verbose=verbose, unit_name="batch")
    for i, x in enumerate(batches):
        batch_seed = random.fold_in(random.as_seed(seed), i)
        yield model.preprocess(x, batch_seed), random.fold_in(batch_seed, 1)
        progress.update(i + 1)


def map_batches(
    model: IWAE,
    function: Callable[[tf.Tensor, tf.Tensor], T],
    data: Array | tf.data.Dataset,
    seed: int,
    verbose: int,
    *key: Hashable,
) -> Iterator[T]:
    """Compiles a function of x and a seed, and yields its results for the batches of `preprocess_batches`.

    Args:
      model: an `IWAE`.
      function: function of x `[batch, *event_shape]` and a seed `int32[2]`.
      data: as for `preprocess_batches`.
      seed: integer seed.
      verbose: 1 shows a progress bar.
      *key: everything that the function depends on besides the model; see `compiling.cached_program`.
    """
    run = cached_program(model, function, *key)
    for x, batch_seed in preprocess_batches(model, data, seed, verbose):
        yield run(x, batch_seed)


def score_batches(
    model: IWAE, data: Array | tf.data.Dataset, num_samples: int, seed: int = 0, verbose: int = 0
) -> Iterator[Terms]:
    """Yields the `Terms` of every batch, with `num_samples` samples per observation."""
    check_count(num_samples, "num_samples")

    def score(x: tf.Tensor, seed: tf.Tensor) -> Terms:
        return model.terms(x, model.posterior(x), num_samples, seed)

    return map_batches(model, score, data, seed, verbose, num_samples)
