"""Pipelines of batches: arrays as `tf.data.Dataset`s."""

import functools
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from iwae_tf import random


class Execution(NamedTuple):
    """The data of the steps that run as one program.

    Attributes:
      steps: full batches, each array `[steps, batch, ...]`.
      rest: the last batch of a pass if it is not full, each array `[rest, ...]`; otherwise no rows.
    """

    steps: Any
    rest: Any


def batches(arrays: Any, batch_size: int, seed: int | None = None, shuffle: bool = True) -> tf.data.Dataset:
    """Makes a pipeline of batches of arrays that share their first axis.

    Args:
      arrays: an array, or a structure of arrays and `None`.
      batch_size: rows per batch; the last batch has the remaining rows.
      seed: integer seed of the order. `None` draws another order each time.
      shuffle: whether every pass draws a new order; otherwise rows keep theirs.

    Returns:
      A `tf.data.Dataset` of batches with the structure of `arrays`. It has the attributes `arrays`, `batch_size`, and
      `executions`: a function `(num_steps, first_pass=0)` that makes an endless pipeline of the same batches, from that
      pass on, as `Execution`s for programs of `num_steps` steps.

    Example:
      ```python
      pipeline = data.batches((x, np.arange(20)), batch_size=8, seed=0)
      [len(labels) for _, labels in pipeline]  # [8, 8, 4]
      ```
    """
    arrays = keras.tree.map_structure(lambda a: None if a is None else tf.convert_to_tensor(a), arrays)
    size = len(next(a for a in keras.tree.flatten(arrays) if a is not None))

    def make_order(num_steps: int) -> tf.data.Dataset:
        """Makes the row numbers of executions: the same batches in the same order for any number of steps."""

        def make_pass(number: tf.Tensor) -> tf.data.Dataset:
            rows = tf.range(size)
            if shuffle:
                key = random.fold_in(random.as_seed(seed or 0), number)
                rows = tf.random.experimental.stateless_shuffle(rows, key)
            in_full_executions = size // (num_steps * batch_size) * num_steps * batch_size
            in_full_batches = size // batch_size * batch_size
            steps = tf.reshape(rows[:in_full_executions], [-1, num_steps, batch_size])
            executions = tf.data.Dataset.from_tensor_slices(steps).map(lambda steps: Execution(steps, steps[0, :0]))
            if in_full_executions < size:
                steps = tf.reshape(rows[in_full_executions:in_full_batches], [-1, batch_size])
                last = Execution(steps, rows[in_full_batches:])
                executions = executions.concatenate(tf.data.Dataset.from_tensors(last))
            return executions

        # One permutation of row numbers per pass and one gather per execution: `Dataset.shuffle` handles single rows.
        numbers = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).take(1)
        count = -(-size // (num_steps * batch_size))
        return numbers.flat_map(make_pass).apply(tf.data.experimental.assert_cardinality(count))

    def gather(rows: tf.Tensor) -> Any:
        return keras.tree.map_structure(lambda a: None if a is None else tf.gather(a, rows), arrays)

    @functools.lru_cache(1)  # every call of fit has the same arguments
    def executions(num_steps: int, first_pass: int = 0) -> tf.data.Dataset:
        one_pass = make_order(num_steps)
        # Skips row numbers, not data, so that each pass takes a millisecond or so.
        order = one_pass.repeat().skip(first_pass * one_pass.cardinality())
        dataset = order.map(lambda e: Execution(gather(e.steps), gather(e.rest))).prefetch(1)
        # tf.data's tuner has nothing to tune here, and its thread costs up to two seconds per call of fit.
        options = tf.data.Options()
        options.autotune.enabled = False
        options.experimental_optimization.apply_default_optimizations = False
        return dataset.with_options(options)

    dataset = make_order(1).map(lambda e: gather(tf.concat([tf.reshape(e.steps, [-1]), e.rest], 0)))
    dataset = dataset.prefetch(tf.data.AUTOTUNE)
    dataset.executions, dataset.arrays, dataset.batch_size = executions, arrays, batch_size
    return dataset
