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
      rest: the last batch of an epoch where it is not full, each array `[rest, ...]`; no rows anywhere else.
    """

    steps: Any
    rest: Any


def batches(arrays, batch_size, seed=None, shuffle=True):
    """Makes a pipeline of batches of arrays that share their first axis.

    Args:
      arrays: an array or a structure of arrays and `None`.
      batch_size: rows per batch; the last batch holds the rest.
      seed: integer seed of the order.
      shuffle: whether the order is drawn anew at every pass.

    Returns:
      A `tf.data.Dataset` of the same structure. Its attribute `executions`, a function of a number of steps and of the
      passes to leave out, makes an endless pipeline of the same batches, pass after pass, for a program that runs so
      many steps at once: of `Execution`s. `arrays` and `batch_size` are those given.
    """
    arrays = keras.tree.map_structure(lambda a: None if a is None else tf.convert_to_tensor(a), arrays)
    size = len(next(a for a in keras.tree.flatten(arrays) if a is not None))

    def order(num_steps):
        """Makes the row numbers of executions, the same batches in the same order for any number of steps."""

        def epoch(number):
            rows = tf.range(size)
            if shuffle:
                key = random.fold_in(random.as_seed(seed or 0), number)
                rows = tf.random.experimental.stateless_shuffle(rows, key)
            whole = size // (num_steps * batch_size) * num_steps * batch_size
            full = size // batch_size * batch_size
            executions = tf.data.Dataset.from_tensor_slices(tf.reshape(rows[:whole], [-1, num_steps, batch_size]))
            executions = executions.map(lambda steps: Execution(steps, steps[0, :0]))
            if whole < size:
                last = Execution(tf.reshape(rows[whole:full], [-1, batch_size]), rows[full:])
                executions = executions.concatenate(tf.data.Dataset.from_tensors(last))
            return executions

        # One permutation of the row numbers an epoch, and one gather: tf.data's own shuffle handles every row.
        numbers = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).take(1)
        count = -(-size // (num_steps * batch_size))
        return numbers.flat_map(epoch).apply(tf.data.experimental.assert_cardinality(count))

    def gather(rows):
        return keras.tree.map_structure(lambda a: None if a is None else tf.gather(a, rows), arrays)

    @functools.lru_cache(1)  # every call of fit asks for the same
    def executions(num_steps, first_pass=0):
        passes = order(num_steps)
        # Row numbers only are drawn and left out, so that this takes a millisecond or so for each pass.
        rows = passes.repeat().skip(first_pass * passes.cardinality())
        dataset = rows.map(lambda e: Execution(gather(e.steps), gather(e.rest))).prefetch(1)
        # There is nothing to tune, and the tuner's thread costs more than the data: up to two seconds a call of fit.
        options = tf.data.Options()
        options.autotune.enabled = False
        options.experimental_optimization.apply_default_optimizations = False
        return dataset.with_options(options)

    dataset = order(1).map(lambda e: gather(tf.concat([tf.reshape(e.steps, [-1]), e.rest], 0)))
    dataset = dataset.prefetch(tf.data.AUTOTUNE)
    dataset.executions, dataset.arrays, dataset.batch_size = executions, arrays, batch_size
    return dataset
