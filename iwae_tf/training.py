"""Several steps of training or evaluation as one compiled program.

Keras compiles a single step, and calls it from Python or from an interpreted loop. Here the loop over the steps is
part of the program: one call of XLA runs them all, with the data of all of them on the device.
"""

import dataclasses
import math
from collections.abc import Callable

import keras
import tensorflow as tf

from iwae_tf import compiling
from iwae_tf.data import Execution

#: Most steps in one execution when their number is chosen here: enough to make the call negligible.
MOST_STEPS = 100
#: Most bytes of data that such an execution is given at once.
MOST_BYTES = 2**26
#: Fewest rows, samples x observations, of a batch that is shared out: halves of fewer cost more than they gain.
FEWEST_ROWS = 500


def steps_per_execution(num_batches, batch_bytes=1, exact=False):
    """Chooses the steps of one execution: as few executions of equal length as `MOST_STEPS` allows.

    Args:
      num_batches: batches per epoch, or `None` where it is not known.
      batch_bytes: bytes of one batch; large ones lower the number, so that an execution has at most `MOST_BYTES`.
      exact: whether the number must divide the epoch, since the data do not end with it.
    """
    most = max(min(MOST_STEPS, MOST_BYTES // max(batch_bytes, 1)), 1)
    if not num_batches or num_batches < 1:
        return min(10, most)
    if exact:
        return max(n for n in range(1, most + 1) if num_batches % n == 0)
    executions = math.ceil(num_batches / most)
    return math.ceil(num_batches / executions)


def shares(data, num_samples):
    """Shares a batch out for one step: two halves that a CPU works at side by side, or the batch as it is.

    XLA runs independent parts of a program at the same time, but one large product after the other: two halves keep
    two cores busier than one whole, and stay closer to their caches. A GPU is busy with the whole.

    Args:
      data: a batch as Keras hands it to a step.
      num_samples: samples per observation.

    Returns:
      A list of such batches of equal size.
    """
    x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    size = x.shape[0] or 1
    if size % 2 or size * num_samples < FEWEST_ROWS or tf.config.list_logical_devices("GPU"):
        return [data]
    cuts = slice(size // 2), slice(size // 2, None)
    return [(x[cut], None, None if sample_weight is None else sample_weight[cut]) for cut in cuts]


@dataclasses.dataclass(frozen=True)
class Executions:
    """The function that Keras calls for every execution, of an iterator of batches.

    Attributes:
      run: what it does: some steps, whose metrics it returns, or a `StopIteration` where there is no batch left.
      take: a function that takes the same batches off the iterator, and does nothing with them.
    """

    run: Callable
    take: Callable

    def __call__(self, iterator):
        return self.run(iterator)


def make_function(model, step, num_steps, guard=lambda: None):
    """Makes the function that Keras calls for every execution.

    Where the model asks for XLA and an operation of it does not compile, the steps run without it from then on, after
    one warning.

    Args:
      model: a `keras.Model`, whose metrics are the logs.
      step: its `train_step` or `test_step`.
      num_steps: most steps of one execution.
      guard: a function that returns what is to run the program, see `callbacks.NonFiniteGuard`, or `None`.

    Returns:
      `Executions` of up to `num_steps` steps.
    """

    def loop(x, sample_weight, count):
        """Runs `step` on the first `count` of the stacked batches."""

        def body(i):
            step((x[i], None, None if sample_weight is None else sample_weight[i]))
            return (i + 1,)

        tf.while_loop(lambda i: i < count, body, (tf.constant(0),), parallel_iterations=1)
        return model.get_metrics_result()

    def make(jit_compile):
        return loop if model.run_eagerly else compiling.function(loop, jit_compile=jit_compile)

    program = compiling.with_fallback(model, make)

    def function(iterator):
        logs = None
        for group in _groups(iterator, num_steps):
            logs = watcher.run(program, *group) if (watcher := guard()) else program(*group)
        if logs is None:
            raise StopIteration
        return logs

    return Executions(function, lambda iterator: list(_groups(iterator, num_steps)))


def variables(model):
    """Returns what a step changes and later ones depend on: of the model, its seed too, and the optimiser."""
    return [*model.variables, *model.optimizer.variables]


def metric_variables(model):
    """Returns the variables that hold what is logged of the epoch so far."""
    return [variable for metric in model.metrics for variable in metric.variables]


def leave_out(model, executions):
    """Lets the next executions of an epoch take their data and do nothing, since they were done before a break.

    Args:
      model: a `keras.Model` that is being fitted.
      executions: their number.
    """
    program, left = model.train_function, executions

    def function(iterator):
        nonlocal left
        if left:
            left -= 1
            program.take(iterator)
            return model.get_metrics_result()
        model.train_function = program
        return program(iterator)

    model.train_function = function


def _groups(iterator, num_steps):
    """Yields stacked batches of one size, their weights, and their number: all full ones, then a partial one.

    What is stacked has room for `num_steps` full batches, so that a short execution needs no program of its own.
    """
    if isinstance(iterator.element_spec, Execution):
        steps, rest = (_parts(part) for part in next(iterator))
        if steps[0].shape[0]:
            yield *(_with_room(part, num_steps) for part in steps), tf.constant(steps[0].shape[0])
        if rest[0].shape[0]:
            yield *(None if part is None else part[tf.newaxis] for part in rest), tf.constant(1)
        return
    rows, sizes = _pull(iterator, tf.constant(num_steps))
    sizes = sizes.numpy().tolist()
    start = 0
    while sizes:
        size, count = sizes[0], next((i for i, n in enumerate(sizes) if n != sizes[0]), len(sizes))
        room = num_steps if size == max(sizes) else count
        parts = (part[start : start + count * size] for part in rows)
        x, *weights = (_with_room(tf.reshape(part, [count, size, *part.shape[1:]]), room) for part in parts)
        yield x, weights[0] if weights else None, tf.constant(count)
        start, sizes = start + count * size, sizes[count:]


def _with_room(steps, room):
    """Fills `[count, ...]` up to `[room, ...]` with zeros."""
    if steps is None or steps.shape[0] == room:
        return steps
    return tf.pad(steps, [[0, room - steps.shape[0]], *[[0, 0]] * (steps.shape.rank - 1)])


def _parts(value):
    """Returns the x and the sample weights, or `None`, of an element of a pipeline."""
    x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(value)
    return x, None if isinstance(sample_weight, tf.NoneTensorSpec) else sample_weight


@tf.function(reduce_retracing=True)
def _pull(iterator, num_steps):
    """Takes up to `num_steps` batches off an iterator.

    Returns:
      A list of the rows of x and, where there are any, the sample weights, end to end; and the sizes of the batches.
    """

    def parts(value):
        return [part for part in _parts(value) if part is not None]

    specs = parts(iterator.element_spec)
    arrays = [tf.TensorArray(s.dtype, 0, True, infer_shape=False, element_shape=[None, *s.shape[1:]]) for s in specs]
    sizes = tf.TensorArray(tf.int32, 0, dynamic_size=True, element_shape=[])
    batch = iterator.get_next_as_optional()
    i = tf.constant(0)
    while i < num_steps and batch.has_value():
        values = parts(batch.get_value())
        arrays = [array.write(i, value) for array, value in zip(arrays, values, strict=True)]
        sizes = sizes.write(i, tf.shape(values[0])[0])
        i += 1
        if i < num_steps:
            batch = iterator.get_next_as_optional()
    return [array.concat() for array in arrays], sizes.stack()
