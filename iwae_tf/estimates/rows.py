"""Programs that go through the rows of a batch, each on its own and several at a time."""

import os
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from iwae_tf import compiling
from iwae_tf.hierarchy import Hierarchy

#: A function of data, a number of samples (int32) and a seed (int32[2]) to tensors in any structure.
Function = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Any]
#: Rows that one call of the compiled program may go through.
GROUP = 16


def map_rows(model: Hierarchy, function: Function, spec: Any, jit_compile: bool) -> Function:
    """Makes a function that maps a compiled function over the rows of a batch.

    A result depends neither on the other rows nor on their number, bit for bit: each row is preprocessed and computed
    on its own, with a seed derived from its content. One compiled program serves batches of any size. Each of its calls
    goes through up to `GROUP` rows, and a few calls run at the same time, which keeps every core busy.

    Args:
      model: the model that preprocesses and checks the rows.
      function: a function of a preprocessed row `[1, *event_shape]`, a number of samples (int32) and a seed (int32[2]).
      spec: the `tf.TensorSpec` of its result, or a structure of them.
      jit_compile: whether XLA compiles the function.

    Returns:
      A function of data `[batch, *event_shape]`, a number of samples (int32) and a seed (int32[2]), whose results have
      a batch axis in front.
    """
    abreast = min(max(os.cpu_count() or 1, 2), 8)
    specs = tf.nest.flatten(spec)

    def run_group(
        x: tf.Tensor, count: tf.Tensor, num_samples: tf.Tensor, seeds: tf.Tensor, values: list[tf.Tensor]
    ) -> list[tf.Tensor]:
        """Goes through the first `count` rows of a group, with these values of the model's variables."""

        def add(i: tf.Tensor, *arrays: tf.TensorArray) -> tuple[tf.Tensor | tf.TensorArray, ...]:
            with keras.StatelessScope(list(zip(model.variables, values, strict=True))):
                results = tf.nest.flatten(function(x[i][tf.newaxis], num_samples, seeds[i]))
            return i + 1, *(array.write(i, result) for array, result in zip(arrays, results, strict=True))

        arrays = [tf.TensorArray(part.dtype, GROUP, element_shape=part.shape) for part in specs]
        _, *arrays = tf.while_loop(lambda i, *_: i < count, add, (0, *arrays), parallel_iterations=1)
        return [array.stack() for array in arrays]

    compiled = compiling.function(run_group, reduce_retracing=True, jit_compile=jit_compile)

    def run(x: tf.Tensor, num_samples: tf.Tensor, seed: tf.Tensor) -> Any:
        x = model.assert_rules(x)
        seeds, dtype = model.fold_in_rows(seed, x), tf.as_dtype(model.dtype_policy.variable_dtype)
        # TensorFlow runs operations with side effects one after the other, and counts those as such that assert or read
        # a variable. So both happen before the compiled calls, which run side by side for that reason alone.
        x = tf.map_fn(
            lambda row: model.preprocess_and_assert(row[0][tf.newaxis], row[1])[0],
            (x, seeds),
            fn_output_signature=dtype,
        )
        values = [tf.convert_to_tensor(variable) for variable in model.variables]
        num_rows = tf.shape(x)[0]
        num_groups = abreast * -(-num_rows // (abreast * GROUP))
        rows_of_group = -(-num_rows // tf.maximum(num_groups, 1))

        def call(group: tf.Tensor) -> list[tf.Tensor]:
            first = group * rows_of_group
            places = tf.minimum(first + tf.range(GROUP), num_rows - 1)
            count = tf.clip_by_value(num_rows - first, 0, rows_of_group)
            return compiled(tf.gather(x, places), count, num_samples, tf.gather(seeds, places), values)

        group_specs = [tf.TensorSpec([GROUP, *part.shape], part.dtype) for part in specs]
        results = tf.map_fn(call, tf.range(num_groups), parallel_iterations=abreast, fn_output_signature=group_specs)
        rows = [
            tf.reshape(result[:, :rows_of_group], [-1, *part.shape])[:num_rows]
            for result, part in zip(results, specs, strict=True)
        ]
        return tf.nest.pack_sequence_as(spec, rows)

    return compiling.function(run, reduce_retracing=True)
