"""Passes over a data set: every batch as the likelihood sees it."""

import keras

from iwae_tf import random
from iwae_tf.checks import check_count
from iwae_tf.compiling import compiled
from iwae_tf.data import inputs


def preprocess_batches(model, data, seed=0, verbose=0):
    """Yields every batch after the preprocessing, and a seed (`int32[2]`) for what is drawn given it.

    Args:
      model: an `IWAE`.
      data: array `[n, *event_shape]` or `tf.data.Dataset` of batches, as in the training set.
      seed: integer seed.
      verbose: 1 shows a progress bar.

    Raises:
      ValueError: if the data are not such as the model takes.
    """
    parts, size = inputs.x_batches(model, data)
    progress = keras.utils.Progbar(size, verbose=verbose, unit_name="batch")
    for i, x in enumerate(parts):
        batch_seed = random.fold_in(random.as_seed(seed), i)
        yield model.preprocess(x, batch_seed), random.fold_in(batch_seed, 1)
        progress.update(i + 1)


def map_batches(model, function, data, seed, verbose, *of):
    """Yields a function of x and a seed, `compiled` (see there for `of`), of every batch; see `preprocess_batches`."""
    run = compiled(model, function, *of)
    for x, batch_seed in preprocess_batches(model, data, seed, verbose):
        yield run(x, batch_seed)


def score_batches(model, data, num_samples, seed=0, verbose=0):
    """Yields the `Terms` of every batch, of `num_samples` samples per observation."""
    check_count(num_samples, "num_samples")

    def draw(x, seed):
        return model.terms(x, model.posterior(x), num_samples, seed)

    return map_batches(model, draw, data, seed, verbose, num_samples)
