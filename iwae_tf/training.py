"""Several steps of training or evaluation as one compiled program.

Keras compiles a single step, and calls it from Python or from an interpreted loop. Here the loop over the steps is
part of the program: one call of XLA runs them all, with the data of all of them on the device.
"""

import warnings

import keras
import tensorflow as tf

#: Most steps in one execution when their number is chosen here: enough to make the call negligible.
MOST_STEPS = 100


def steps_per_execution(num_batches):
    """Chooses the steps of one execution: the largest number up to `MOST_STEPS` that divides the epoch.

    Args:
      num_batches: batches per epoch, or `None` where it is not known.
    """
    if not num_batches or num_batches < 1:
        return 10
    return max(n for n in range(1, MOST_STEPS + 1) if num_batches % n == 0)


def make_function(model, step, num_steps):
    """Makes the function that Keras calls for every execution.

    Where the model asks for XLA and an operation of it does not compile, the steps run without it from then on, after
    one warning.

    Args:
      model: a `keras.Model`, whose metrics are the logs.
      step: its `train_step` or `test_step`.
      num_steps: most steps of one execution.

    Returns:
      A function of an iterator of batches that runs up to `num_steps` steps and returns the metrics after the last.
      It raises `StopIteration` where there is no batch left.
    """

    def loop(x, sample_weight, count):
        """Runs `step` on the first `count` of the stacked batches."""

        def body(i):
            step((x[i], None, None if sample_weight is None else sample_weight[i]))
            return (i + 1,)

        tf.while_loop(lambda i: i < count, body, (tf.constant(0),), parallel_iterations=1)
        return model.get_metrics_result()

    def compiled():
        return loop if model.run_eagerly else tf.function(loop, autograph=False, jit_compile=model.jit_compile)

    program = compiled()

    def function(iterator):
        nonlocal program
        logs = None
        for group in _groups(iterator, num_steps):
            try:
                logs = program(*group)
            except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
                if not model.jit_compile or not _is_of_compiler(error):
                    raise
                # Nothing has run yet: the compiler refuses a program as a whole.
                warnings.warn(
                    f"XLA cannot compile the steps of {model.name}, which run without it: {error}", stacklevel=2
                )
                model.jit_compile = False
                program = compiled()
                logs = program(*group)
        if logs is None:
            raise StopIteration
        return logs

    return function


def _is_of_compiler(error):
    """Whether an error comes of compiling a program, rather than of running it."""
    return any(text in error.message for text in ("XLA", "tf2xla", "compil"))


def _groups(iterator, num_steps):
    """Yields stacked batches of one size, their weights, and their number: all full ones, then a partial one.

    What is stacked has room for `num_steps` full batches, so that a short execution needs no program of its own.
    """
    rows, sizes = _pull(iterator, tf.constant(num_steps))
    sizes = sizes.numpy().tolist()
    start = 0
    while sizes:
        size, count = sizes[0], next((i for i, n in enumerate(sizes) if n != sizes[0]), len(sizes))
        room = num_steps if size == max(sizes) else count
        x, *weights = (_stack(part[start : start + count * size], room, size) for part in rows)
        yield x, weights[0] if weights else None, tf.constant(count)
        start, sizes = start + count * size, sizes[count:]


def _stack(rows, room, size):
    """Reshapes `[count * size, ...]` to `[room, size, ...]`, filled up with zeros."""
    missing = room * size - rows.shape[0]
    if missing:
        rows = tf.pad(rows, [[0, missing], *[[0, 0]] * (rows.shape.rank - 1)])
    return tf.reshape(rows, [room, size, *rows.shape[1:]])


@tf.function(reduce_retracing=True)
def _pull(iterator, num_steps):
    """Takes up to `num_steps` batches off an iterator.

    Returns:
      A list of the rows of x and, where there are any, the sample weights, end to end; and the sizes of the batches.
    """

    def parts(value):
        x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(value)
        return [x] if sample_weight is None or isinstance(sample_weight, tf.NoneTensorSpec) else [x, sample_weight]

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
