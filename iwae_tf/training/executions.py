"""Several steps of training or evaluation as one compiled program.

Keras compiles a single step, and calls it from Python or from an interpreted loop. Here the loop over the steps is
part of the program: one call of XLA runs them all, with the data of all of them on the device.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from iwae_tf import compiling
from iwae_tf.data import inputs
from iwae_tf.data.pipelines import Execution
from iwae_tf.layers import rules

#: Most steps in one execution when their number is chosen here: enough to make the call negligible.
MOST_STEPS = 100
#: Most bytes of data that such an execution is given at once.
MOST_BYTES = 2**26
#: Fewest rows, samples x observations, of a batch that is shared out: halves of fewer cost more than they gain.
FEWEST_ROWS = 500


def steps_per_execution(num_batches, batch_bytes=1, exact=False, every=None):
    """Chooses the steps of one execution: as few executions of equal length as `MOST_STEPS` allows.

    Args:
      num_batches: batches per epoch, or `None` where it is not known.
      batch_bytes: bytes of one batch; large ones lower the number, so that an execution has at most `MOST_BYTES`.
      exact: whether the number must divide the epoch, since the data do not end with it.
      every: number of steps after which callbacks act, a multiple of the number of steps; see `acts_every`.
    """
    most = max(min(MOST_STEPS, MOST_BYTES // max(batch_bytes, 1)), 1)
    known = num_batches and num_batches > 0
    divided = [n for n in (exact and known and num_batches, every) if n]
    if divided:
        return max(n for n in range(1, most + 1) if all(number % n == 0 for number in divided))
    if not known:
        return min(10, most)
    executions = math.ceil(num_batches / most)
    return math.ceil(num_batches / executions)


def acts_every(callbacks: Iterable[keras.callbacks.Callback]) -> int | None:
    """Returns after how many steps callbacks act within an epoch, or `None` if none of them does.

    Keras' `TensorBoard` counts executions as steps, so with an `update_freq` every step must be an execution.
    """
    found = [getattr(callback, "save_freq", None) for callback in callbacks]
    found += [1 for callback in callbacks if getattr(callback, "update_freq", "epoch") != "epoch"]
    return math.gcd(*(n for n in found if isinstance(n, int))) or None


def unpack(model: Any, batch: Any) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Returns the x of a batch in the model's dtype, and the weights of its rows, `[batch]` or `None`."""
    x, _, weights = keras.utils.unpack_x_y_sample_weight(batch)
    x = tf.convert_to_tensor(x)
    if x.shape.rank is None or not x.shape[1:].is_fully_defined():
        x = tf.ensure_shape(x, [None, *model.event_shape])
    if x.dtype.is_floating:
        x = tf.cast(x, model.dtype_policy.variable_dtype)
    # Keras may have wrapped None.
    present = weights is not None and not isinstance(weights, tf.experimental.Optional)
    return x, tf.reshape(tf.cast(weights, tf.float32), [-1]) if present else None


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


@dataclasses.dataclass
class Executions:
    """The function that Keras calls for every execution, of an iterator of batches.

    Attributes:
      run: takes up to `num_steps` steps and returns the metrics; raises `StopIteration` when the data end.
      take: a function that takes the same batches off the iterator, and does nothing with them.
      largest: the largest number in the uint8 data of a stream so far, or `None` before its first batch; see
        `hooks.WatchStreams`.
    """

    run: Callable
    take: Callable
    largest: int | None = None

    def __call__(self, iterator):
        return self.run(iterator)


def make_function(model, step, num_steps, guard=lambda: None, keep_logs=False):
    """Makes the function that Keras calls for every execution.

    Where the model asks for XLA and an operation of it does not compile, the steps run without it from then on, after
    one warning.

    Args:
      model: an `IWAE`, whose metrics are the logs.
      step: its `train_step` or `test_step`.
      num_steps: most steps of one execution.
      guard: a function that returns what is to run the program, see `callbacks.NonFiniteGuard`, or `None`.
      keep_logs: whether the logs are what the last step returns, as for a user's own step.

    Returns:
      `Executions` of up to `num_steps` steps.
    """

    def loop(x, sample_weight, count):
        """Runs `step` on the first `count` of the stacked batches."""

        def one(i):
            return step((x[i], None, None if sample_weight is None else sample_weight[i]))

        def body(i, logs):
            new = one(i)
            return i + 1, tf.nest.map_structure(tf.cast, new, _dtypes(logs)) if keep_logs else logs

        if keep_logs and tf.executing_eagerly():
            return [one(i) for i in range(int(count))][-1]
        logs = _zeros(one) if keep_logs else ()
        _, logs = tf.while_loop(lambda i, _: i < count, body, (tf.constant(0), logs), parallel_iterations=1)
        return logs if keep_logs else model.get_metrics_result()

    def make(jit_compile):
        return loop if model.run_eagerly else compiling.function(loop, jit_compile=jit_compile)

    program = compiling.with_fallback(model, make)

    def pull_batches(iterator, num_steps):
        return _pull(model, iterator, num_steps)

    pull = compiling.function(pull_batches, reduce_retracing=True)

    def groups(iterator):
        for x, sample_weight, count in _groups(model, pull, iterator, num_steps):
            if not _is_whole(iterator):
                look(x)
            yield x, sample_weight, count

    def look(x):
        """Checks the first batch of a stream after the preprocessing too, and keeps the largest number of uint8."""
        if executions.largest is None:
            inputs.check(model, x[0].numpy())
            executions.largest = 0
        if x.dtype == tf.uint8 and executions.largest <= 1:
            executions.largest = max(executions.largest, int(tf.reduce_max(x)))

    def function(iterator):
        logs = None
        for group in groups(iterator):
            logs = watcher.run(program, *group) if (watcher := guard()) else program(*group)
        if logs is None:
            raise StopIteration
        return logs

    executions = Executions(function, lambda iterator: list(groups(iterator)))
    return executions


def _zeros(function):
    """Returns zeros of the structure that a function of the number of a step returns."""
    specs = tf.function(lambda: function(tf.constant(0)), autograph=False).get_concrete_function().structured_outputs
    return tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), specs)


def _dtypes(logs):
    return tf.nest.map_structure(lambda value: value.dtype, logs)


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


def _groups(model, pull, iterator, num_steps):
    """Yields stacked batches of one size, their weights, and their number: all full ones, then a partial one.

    What is stacked has room for `num_steps` full batches, so that a short execution needs no program of its own.
    """
    if not hasattr(iterator, "element_spec"):  # batches of Python's own, from `train_on_batch`
        for batch in iterator:
            x, weights = unpack(model, batch)
            yield x[tf.newaxis], None if weights is None else weights[tf.newaxis], tf.constant(1)
        return
    if _is_whole(iterator):
        steps, rest = (_parts(part) for part in next(iterator))
        if steps[0].shape[0]:
            yield *(_with_room(part, num_steps) for part in steps), tf.constant(steps[0].shape[0])
        if rest[0].shape[0]:
            yield *(None if part is None else part[tf.newaxis] for part in rest), tf.constant(1)
        return
    try:
        rows, sizes, valid = pull(iterator, tf.constant(num_steps))
    except tf.errors.InvalidArgumentError as error:
        if "not compatible with expected shape" not in error.message:
            raise
        raise ValueError(f"Expected batches of observations of shape {model.event_shape}. Received: others") from error
    sizes = sizes.numpy().tolist()
    if sizes and not valid:
        _refuse(model, *rows)
    start = 0
    while sizes:
        size, count = sizes[0], next((i for i, n in enumerate(sizes) if n != sizes[0]), len(sizes))
        room = num_steps if size == max(sizes) else count
        parts = (part[start : start + count * size] for part in rows)
        x, *weights = (_with_room(tf.reshape(part, [count, size, *part.shape[1:]]), room) for part in parts)
        yield x, weights[0] if weights else None, tf.constant(count)
        start, sizes = start + count * size, sizes[count:]


def _is_whole(iterator):
    """Returns whether an iterator gives `Execution`s, of data that have been looked at as a whole."""
    return isinstance(getattr(iterator, "element_spec", None), Execution)


def _refuse(model, x, weights=None):
    """Raises the error of rows, or of their weights, that are not valid."""
    inputs.check(model, x.numpy())
    inputs.as_weights(weights, len(x))


def _with_room(steps, room):
    """Fills `[count, ...]` up to `[room, ...]` with zeros."""
    if steps is None or steps.shape[0] == room:
        return steps
    return tf.pad(steps, [[0, room - steps.shape[0]], *[[0, 0]] * (steps.shape.rank - 1)])


def _parts(value):
    """Returns the x and the sample weights, or `None`, of a part of an `Execution`."""
    x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(value)
    return x, None if isinstance(sample_weight, tf.NoneTensorSpec) else sample_weight


def _pull(model, iterator, num_steps):
    """Takes up to `num_steps` batches off an iterator.

    Returns:
      A list of the rows of x and, where there are any, the sample weights, end to end; the sizes of the batches; and
      whether all of it may be data of the model, which XLA could not say within its program.
    """

    def parts(batch):
        return [part for part in unpack(model, batch) if part is not None]

    x, _, weights = keras.utils.unpack_x_y_sample_weight(iterator.element_spec)
    specs = [(model.dtype_policy.variable_dtype if x.dtype.is_floating else x.dtype, model.event_shape)]
    if isinstance(weights, tf.TensorSpec):
        specs.append((tf.float32, ()))
    arrays = [tf.TensorArray(t, 0, True, infer_shape=False, element_shape=[None, *shape]) for t, shape in specs]
    sizes = tf.TensorArray(tf.int32, 0, dynamic_size=True, element_shape=[])

    def goes_on(i, batch, *_):
        return (i < num_steps) & batch.has_value()

    def add(i, batch, arrays, sizes):
        values = parts(batch.get_value())
        arrays = [array.write(i, value) for array, value in zip(arrays, values, strict=True)]
        # No batch is taken that the program has no room for.
        batch = tf.cond(i + 1 < num_steps, iterator.get_next_as_optional, lambda: batch)
        return i + 1, batch, arrays, sizes.write(i, tf.shape(values[0])[0])

    start = tf.constant(0), iterator.get_next_as_optional(), arrays, sizes
    *_, arrays, sizes = tf.while_loop(goes_on, add, start, parallel_iterations=1)
    rows = [array.concat() for array in arrays]
    valid = rules.all_valid(model.rules(rows[0]))
    for weights in rows[1:]:
        of_each_row = tf.shape(rows[0])[0] == tf.shape(weights)[0]
        valid &= of_each_row & rules.all_valid([rules.between(weights, "weights", 0, math.inf)])
    return rows, sizes.stack(), valid
