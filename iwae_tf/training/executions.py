"""Several steps of training or evaluation as one compiled program.

Keras compiles a single step, and calls it from Python or from an interpreted loop. Here the loop over the steps is
part of the program: one call of XLA runs them all, with the data of all of them on the device.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import tensorflow as tf

from iwae_tf import compiling
from iwae_tf.data import inputs
from iwae_tf.data.observation_model import ObservationModel
from iwae_tf.data.pipelines import Execution
from iwae_tf.layers import rules

#: Most steps per execution when their number is chosen here: enough to make the call negligible.
MOST_STEPS = 100
#: Most bytes of data that such an execution receives at once.
MOST_BYTES = 2**26
#: Fewest rows, samples x observations, of a batch that is split: halves of fewer rows cost more than they gain.
FEWEST_ROWS = 500

#: What Keras logs: names of metrics and their values.
Logs = dict[str, Any]
#: Stacked x `[steps, batch, *event_shape]`, stacked sample weights or `None`, and the number of steps.
Group = tuple[tf.Tensor, tf.Tensor | None, tf.Tensor]
#: A function from `Group` to `Logs`.
Program = Callable[..., Logs]


def steps_per_execution(
    num_batches: int | None, batch_bytes: int = 1, exact: bool = False, every: int | None = None
) -> int:
    """Chooses the steps of one execution: as few executions of equal length as `MOST_STEPS` allows.

    Args:
      num_batches: batches per epoch, or `None` where their number is unknown.
      batch_bytes: bytes of one batch; large batches lower the number, so that an execution has at most `MOST_BYTES`.
      exact: whether the number must divide the epoch, because the data do not end with it.
      every: number of steps after which callbacks act, a multiple of the number of steps; see `acts_every`.
    """
    most = max(min(MOST_STEPS, MOST_BYTES // max(batch_bytes, 1)), 1)
    if num_batches and num_batches < 0:
        num_batches = None
    multiples = [n for n in (num_batches if exact else None, every) if n]
    if multiples:
        return max(n for n in range(1, most + 1) if all(multiple % n == 0 for multiple in multiples))
    if not num_batches:
        return min(10, most)
    executions = math.ceil(num_batches / most)
    return math.ceil(num_batches / executions)


def acts_every(callbacks: Iterable[keras.callbacks.Callback]) -> int | None:
    """Returns the number of steps after which callbacks act within an epoch, or `None` if none of them does.

    Keras' `TensorBoard` counts executions as steps, so with an `update_freq` every step must be an execution.
    """
    frequencies = [getattr(callback, "save_freq", None) for callback in callbacks]
    frequencies += [1 for callback in callbacks if getattr(callback, "update_freq", "epoch") != "epoch"]
    return math.gcd(*(n for n in frequencies if isinstance(n, int))) or None


def unpack(model: ObservationModel, batch: Any) -> tuple[tf.Tensor, tf.Tensor | None]:
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


def split_batch(batch: Any, num_samples: int) -> list[Any]:
    """Splits a batch for one step into two halves that a CPU computes side by side, or returns it whole.

    XLA runs independent parts of a program at the same time, but one large product after the other: two halves keep
    two cores busier than one whole, and stay closer to their caches. A GPU is busy with the whole.

    Args:
      batch: a batch as Keras hands it to a step.
      num_samples: k, samples per observation.

    Returns:
      A list of batches of equal size.
    """
    x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    size = x.shape[0] or 1
    if size % 2 or size * num_samples < FEWEST_ROWS or tf.config.list_logical_devices("GPU"):
        return [batch]
    halves = slice(size // 2), slice(size // 2, None)
    return [(x[half], None, None if sample_weight is None else sample_weight[half]) for half in halves]


@dataclasses.dataclass
class Executions:
    """The function that Keras calls for every execution, with an iterator over batches.

    Attributes:
      model: the model, whose metrics are the logs of an execution that runs nothing.
      program: runs the steps of one group of batches and returns the logs.
      take: takes the groups of one execution off the iterator; yields the arguments of `program`.
      guard: runs the program in place of a plain call, see `callbacks.NonFiniteGuard`; `None` calls it.
      num_skipped: executions still to be skipped: their data are taken and not used, since their steps ran before the
        training was interrupted.
      largest: the largest number in the uint8 data of a stream so far, or `None` before its first batch; see
        `hooks.WatchStreams`.
    """

    model: ObservationModel
    program: Program
    take: Callable[[Any, "Executions"], Iterator[tuple]]
    guard: Callable[..., Logs] | None = None
    num_skipped: int = 0
    largest: int | None = None

    def __call__(self, iterator: Any) -> Logs:
        if self.num_skipped:
            self.num_skipped -= 1
            list(self.take(iterator, self))
            return self.model.get_metrics_result()
        logs = None
        for group in self.take(iterator, self):
            logs = self.guard(self.program, *group) if self.guard else self.program(*group)
        if logs is None:
            raise StopIteration
        return logs

    def release(self) -> None:
        """Ends what the callbacks of one `fit` have set."""
        self.guard, self.num_skipped = None, 0


def make_function(
    model: ObservationModel, step: Callable[[Any], Logs], num_steps: int, keep_logs: bool = False
) -> Executions:
    """Makes the function that Keras calls for every execution.

    Where the model asks for XLA and one of its operations does not compile, the steps run without XLA from then on,
    after one warning.

    Args:
      model: the model, whose metrics are the logs.
      step: its `train_step` or `test_step`.
      num_steps: most steps of one execution.
      keep_logs: whether the logs are the return value of the last step, as for a user's own step.

    Returns:
      `Executions` of up to `num_steps` steps.
    """

    def loop(x: tf.Tensor, sample_weight: tf.Tensor | None, count: tf.Tensor) -> Logs:
        """Runs `step` on the first `count` of the stacked batches."""

        def run_step(i: tf.Tensor) -> Logs:
            return step((x[i], None, None if sample_weight is None else sample_weight[i]))

        def body(i: tf.Tensor, logs: Logs) -> tuple[tf.Tensor, Logs]:
            new = run_step(i)
            return i + 1, tf.nest.map_structure(tf.cast, new, _dtypes(logs)) if keep_logs else logs

        if keep_logs and tf.executing_eagerly():
            return [run_step(i) for i in range(int(count))][-1]
        logs = _zeros(run_step) if keep_logs else ()
        _, logs = tf.while_loop(lambda i, _: i < count, body, (tf.constant(0), logs), parallel_iterations=1)
        return logs if keep_logs else model.get_metrics_result()

    def make(jit_compile: bool) -> Program:
        return loop if model.run_eagerly else compiling.function(loop, jit_compile=jit_compile)

    def pull_batches(iterator: Any, num_steps: tf.Tensor) -> tuple:
        return _pull(model, iterator, num_steps)

    pull = compiling.function(pull_batches, reduce_retracing=True)

    def take(iterator: Any, executions: Executions) -> Iterator[Group]:
        for x, sample_weight, count in _stack_batches(model, pull, iterator, num_steps):
            if not _has_whole_executions(iterator):
                check_stream(x, executions)
            yield x, sample_weight, count

    def check_stream(x: tf.Tensor, executions: Executions) -> None:
        """Checks the first batch of a stream after preprocessing too, and keeps the largest number of uint8 data."""
        if executions.largest is None:
            inputs.check_input(model, x[0].numpy())
            executions.largest = 0
        if x.dtype == tf.uint8 and executions.largest <= 1:
            executions.largest = max(executions.largest, int(tf.reduce_max(x)))

    return Executions(model, compiling.with_fallback(model, make), take)


def _zeros(function: Callable[[tf.Tensor], Logs]) -> Logs:
    """Returns zeros with the structure of the logs that a function of the number of a step returns."""
    specs = tf.function(lambda: function(tf.constant(0)), autograph=False).get_concrete_function().structured_outputs
    return tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), specs)


def _dtypes(logs: Logs) -> Any:
    return tf.nest.map_structure(lambda value: value.dtype, logs)


def get_variables(model: ObservationModel) -> list[Any]:
    """Returns what a step changes and later steps depend on: the model's variables and the optimiser's."""
    return [*model.variables, *model.optimizer.variables]


def get_metric_variables(model: ObservationModel) -> list[Any]:
    """Returns the variables that hold the logs of the epoch so far."""
    return [variable for metric in model.metrics for variable in metric.variables]


def _stack_batches(
    model: ObservationModel, pull: Callable[..., tuple], iterator: Any, num_steps: int
) -> Iterator[Group]:
    """Yields stacked batches of equal size, their weights, and their number: all full batches, then a partial one.

    The stack has room for `num_steps` full batches, so that a short execution needs no program of its own.
    """
    if not hasattr(iterator, "element_spec"):  # Python's own batches, from `train_on_batch`
        for batch in iterator:
            x, weights = unpack(model, batch)
            yield x[tf.newaxis], None if weights is None else weights[tf.newaxis], tf.constant(1)
        return
    if _has_whole_executions(iterator):
        steps, rest = (_unpack_part(part) for part in next(iterator))
        if steps[0].shape[0]:
            x, weights = (_pad(part, num_steps) for part in steps)
            yield x, weights, tf.constant(steps[0].shape[0])
        if rest[0].shape[0]:
            x, weights = (None if part is None else part[tf.newaxis] for part in rest)
            yield x, weights, tf.constant(1)
        return
    try:
        rows, sizes, valid = pull(iterator, tf.constant(num_steps))
    except tf.errors.InvalidArgumentError as error:
        if "not compatible with expected shape" not in error.message:
            raise
        raise ValueError(f"Expected batches of observations of shape {model.event_shape}. Received: others") from error
    sizes = sizes.numpy().tolist()
    if sizes and not valid:
        _raise_invalid(model, *rows)
    start = 0
    while sizes:
        size, count = sizes[0], next((i for i, n in enumerate(sizes) if n != sizes[0]), len(sizes))
        room = num_steps if size == max(sizes) else count
        run = (part[start : start + count * size] for part in rows)
        x, *weights = (_pad(tf.reshape(part, [count, size, *part.shape[1:]]), room) for part in run)
        yield x, weights[0] if weights else None, tf.constant(count)
        start, sizes = start + count * size, sizes[count:]


def _has_whole_executions(iterator: Any) -> bool:
    """Returns whether an iterator gives `Execution`s, whose data were checked as a whole."""
    return isinstance(getattr(iterator, "element_spec", None), Execution)


def _raise_invalid(model: ObservationModel, x: tf.Tensor, weights: tf.Tensor | None = None) -> None:
    """Raises the error for rows, or weights of rows, that are not valid."""
    inputs.check_input(model, x.numpy())
    inputs.as_weights(weights, len(x))


def _pad(steps: tf.Tensor | None, room: int) -> tf.Tensor | None:
    """Pads `[count, ...]` with zeros to `[room, ...]`."""
    if steps is None or steps.shape[0] == room:
        return steps
    return tf.pad(steps, [[0, room - steps.shape[0]], *[[0, 0]] * (steps.shape.rank - 1)])


def _unpack_part(part: Any) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Returns the x and the sample weights, or `None`, of a part of an `Execution`."""
    x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(part)
    return x, None if isinstance(sample_weight, tf.NoneTensorSpec) else sample_weight


def _pull(model: ObservationModel, iterator: Any, num_steps: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
    """Takes up to `num_steps` batches off an iterator.

    Returns:
      A list of the rows of x and, where there are any, the sample weights, end to end; the sizes of the batches; and
      whether all rows are valid data of the model, which an XLA program could not report.
    """

    def get_arrays(batch: Any) -> list[tf.Tensor]:
        return [array for array in unpack(model, batch) if array is not None]

    x, _, weights = keras.utils.unpack_x_y_sample_weight(iterator.element_spec)
    specs = [(model.dtype_policy.variable_dtype if x.dtype.is_floating else x.dtype, model.event_shape)]
    if isinstance(weights, tf.TensorSpec):
        specs.append((tf.float32, ()))
    # Batches of sequences have numbers of steps of their own, and only end to end do these fit in one array.
    is_open = None in model.event_shape
    shapes = [[None] if is_open and i == 0 else [None, *shape] for i, (_, shape) in enumerate(specs)]
    arrays = [
        tf.TensorArray(t, 0, True, infer_shape=False, element_shape=s) for (t, _), s in zip(specs, shapes, strict=True)
    ]
    sizes = tf.TensorArray(tf.int32, 0, dynamic_size=True, element_shape=[2])

    def has_next(i: tf.Tensor, batch: Any, *_: Any) -> tf.Tensor:
        return (i < num_steps) & batch.has_value()

    def add(i: tf.Tensor, batch: Any, arrays: list[Any], sizes: Any) -> tuple:
        values = get_arrays(batch.get_value())
        size = tf.stack([tf.shape(values[0])[0], tf.shape(values[0])[1] if is_open else 0])
        if is_open:
            values[0] = tf.reshape(values[0], [-1])
        arrays = [array.write(i, value) for array, value in zip(arrays, values, strict=True)]
        # Takes no batch for which the program has no room.
        batch = tf.cond(i + 1 < num_steps, iterator.get_next_as_optional, lambda: batch)
        return i + 1, batch, arrays, sizes.write(i, size)

    start = tf.constant(0), iterator.get_next_as_optional(), arrays, sizes
    *_, arrays, sizes = tf.while_loop(has_next, add, start, parallel_iterations=1)
    rows = [array.concat() for array in arrays]
    counts, steps = tf.unstack(sizes.stack(), axis=1)
    if is_open:
        flat = tf.reshape(rows[0], [-1, *model.event_shape[1:]])
        padding = float("nan") if flat.dtype.is_floating else 0
        rows[0] = tf.RaggedTensor.from_row_lengths(flat, tf.repeat(steps, counts)).to_tensor(padding)
    valid = rules.are_satisfied(model.rules(rows[0]))
    for weights in rows[1:]:
        one_per_row = tf.shape(rows[0])[0] == tf.shape(weights)[0]
        valid &= one_per_row & rules.are_satisfied([rules.between(weights, "weights", 0, math.inf)])
    return rows, counts, valid
