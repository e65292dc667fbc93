"""Batches for Keras, made of whatever `fit`, `evaluate` and `predict` are given."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from iwae_tf.data import batches, inputs

#: Rows per batch that are assumed where a pipeline does not know its batch size, to limit the bytes of an execution.
ASSUMED_ROWS = 128


class Feed(NamedTuple):
    """Data that are ready to be iterated over.

    Attributes:
      data: a `tf.data.Dataset`, or for Keras' own kinds a `PyDataset` or a generator.
      num_batches: batches in one pass, or `None` where their number is not known.
      batch_bytes: bytes of a batch, as far as they are known.
      dtype: name of the dtype in which the model takes the data, or `None` where it is not known.
    """

    data: Any
    num_batches: int | None = None
    batch_bytes: int = 1
    dtype: str | None = None


def make(
    model: Any, data: Any, y: Any = None, sample_weight: Any = None, batch_size: Any = None, steps: int | None = None,
    seed: Callable[[], int] | None = None, keep_targets: bool = False, argument: str = "steps",
) -> Feed:  # fmt: skip
    """Makes a `Feed` of any kind of data, checked as far as possible without consuming a batch.

    Args:
      model: an `IWAE`.
      data: an array or what `inputs.as_array` takes for one, a `tf.data.Dataset`, a `keras.utils.PyDataset`, an
        iterator of batches, or a data loader that Keras knows. Batches are x, or tuples `(x, y, sample_weight)`.
      y: targets of an array; only `class_weight` reads them.
      sample_weight: weights of the rows of an array, `[n]` or `[n, 1]`.
      batch_size: rows per batch of an array. `None` means 32, or as many as give the number of `steps`.
      steps: batches taken in one pass, or `None` for all of them.
      seed: a function that returns the seed of the order in which an array is shuffled. `None` keeps its order.
      keep_targets: whether the batches contain the targets too.
      argument: the name of `steps` in error messages.

    Raises:
      ValueError: if the data do not match the model's input, weights or targets do not match the rows, targets are to
        be kept and there are none, or a dataset is empty or endless.
      TypeError: if data of this kind cannot be iterated over.
    """
    if inputs.is_array(data):
        return _of_arrays(model, data, y, sample_weight, batch_size, steps, seed, keep_targets)
    for value, name in ((y, "y"), (sample_weight, "sample_weight")):
        if value is not None:
            raise ValueError(f"Expected {name} within the batches, (x, y, sample_weight). Received: {name} beside them")
    if isinstance(data, tf.data.Dataset):
        return _of_dataset(model, data, steps, argument, keep_targets)
    if isinstance(data, keras.utils.PyDataset):
        if data.num_batches is None and steps is None:
            raise ValueError(f"Expected {argument} for data without an end. Received: a PyDataset without a length")
        checked = Checked(model, data)
        return Feed(checked, data.num_batches, checked.first[0].nbytes, checked.first[0].dtype.name)
    if hasattr(data, "__next__"):
        first = next(data, None)
        if first is None:
            raise ValueError("Expected at least one batch of data. Received: none")
        first = _admit_first(model, first)
        rest = (_conform(model, batch) for batch in data)
        # A generator and no `itertools.chain`, which Keras does not take.
        batches_again = (batch for batch in itertools.chain([first], rest))
        return Feed(batches_again, None, first[0].nbytes, first[0].dtype.name)
    if isinstance(data, (str, bytes, dict, tuple)) or not hasattr(data, "__iter__"):
        expected = "an array, a tf.data.Dataset, a keras.utils.PyDataset or a generator of batches"
        raise TypeError(f"Expected {expected}. Received: {type(data).__name__}")
    return Feed(data)


def _of_arrays(model, data, y, sample_weight, batch_size, steps, seed, keep_targets):
    x = inputs.admit(model, data)
    y, weights = inputs.check_targets(y, len(x)), inputs.as_weights(sample_weight, len(x))
    size = int(batch_size or (-(-len(x) // steps) if steps else 32))
    if size < 1 or (batch_size and size != batch_size):
        raise ValueError(f"Expected batch_size to be a positive integer. Received: {batch_size!r}")
    y = _targets(y) if keep_targets else None
    order = {"shuffle": False} if seed is None else {"seed": seed()}
    pipeline = batches(x if y is None and weights is None else (x, y, weights), size, **order)
    return Feed(pipeline, inputs.num_batches(pipeline), x[:size].nbytes, x.dtype.name)


def _targets(y):
    if y is None:
        raise ValueError("Expected targets with class_weight. Received: none")
    return y


def _of_dataset(model, data, steps, argument, keep_targets):
    inputs.check_ends(data, steps, argument)
    if keep_targets:
        _targets(keras.utils.unpack_x_y_sample_weight(data.element_spec)[1])
    if hasattr(data, "arrays"):  # of `data.batches`
        x, _, weights = keras.utils.unpack_x_y_sample_weight(data.arrays)
        x = inputs.admit(model, x)
        inputs.as_weights(weights, len(x))
        return Feed(data, inputs.num_batches(data), x[: data.batch_size].nbytes, x.dtype.name)
    x, _, weights = keras.utils.unpack_x_y_sample_weight(data.element_spec)
    x = inputs.x_of(x)
    if not isinstance(x, tf.TensorSpec):
        raise TypeError(f"Expected batches of dense tensors. Received: {type(x).__name__}")
    _check_spec(model, x)
    if isinstance(weights, tf.TensorSpec) and weights.shape.rank not in (None, 1) and weights.shape[1:] != [1]:
        raise ValueError(f"Expected a weight for each row. Received: weights of shape {tuple(weights.shape)}")
    dtype = np.dtype(x.dtype.as_numpy_dtype) if x.dtype != tf.bfloat16 else np.dtype(np.float32)
    inputs.check_dtype(model, dtype)
    size = (x.shape[0] if x.shape.rank else None) or ASSUMED_ROWS
    num_bytes = size * int(np.prod(model.event_shape)) * dtype.itemsize
    return Feed(data, inputs.num_batches(data), num_bytes, inputs.dtype_of(model, dtype))


def _check_spec(model, x):
    """Raises a clear error unless tensors of this `tf.TensorSpec` may be batches of the model."""
    shape = x.shape[1:] if x.shape.rank else tf.TensorShape(None)
    if not model.built:
        if not shape.is_fully_defined():
            raise ValueError(
                "Expected a model that is built, or data of known shape: call the model on a batch, or `build`, first. "
                f"Received: batches of shape {x.shape}"
            )
        model.build((None, *shape))
    if not shape.is_compatible_with(model.event_shape) or x.shape.rank == 0:
        hint = "; `dataset.batch` makes batches" if x.shape == model.event_shape else ""
        raise ValueError(f"Expected data of shape {inputs.shape_of(model)}. Received: shape {x.shape}{hint}")


def _conform(model, batch):
    """Returns a batch of arrays as a tuple `(x,)`, `(x, y)` or `(x, y, sample_weight)`."""
    inputs.x_of(batch)
    x, y, weights = keras.utils.unpack_x_y_sample_weight(tuple(batch) if isinstance(batch, list) else batch)
    x = inputs.as_array(x)
    if model.built and x.shape[1:] != model.event_shape:
        raise ValueError(f"Expected batches of shape {inputs.shape_of(model)}. Received: shape {x.shape}")
    x = x.astype(inputs.dtype_of(model, x.dtype), copy=False)
    weights = inputs.as_weights(weights, len(x), check_values=False)  # which is done where they are pulled
    if weights is not None:
        return x, np.zeros(len(x), np.float32) if y is None else y, weights
    return (x,) if y is None else (x, y)


def _admit_first(model, batch):
    """Checks the first batch of a stream and returns it, so that it can be passed on like the others."""
    parts = _conform(model, batch)
    inputs.admit(model, parts[0], whole=False)
    return parts


class Checked(keras.utils.PyDataset):
    """A `PyDataset` with batches in the form that a model expects; the batch that is checked is not loaded twice."""

    def __init__(self, model: Any, data: keras.utils.PyDataset):
        super().__init__(data.workers, data.use_multiprocessing, data.max_queue_size)
        self._data, self._conform = data, lambda batch: _conform(model, batch)
        if data.num_batches == 0:
            raise ValueError("Expected at least one batch of data. Received: an empty PyDataset")
        self.first = _admit_first(model, data[0])
        self._is_loaded = True

    @property
    def num_batches(self):
        return self._data.num_batches

    def __getitem__(self, index):
        if index == 0 and self._is_loaded:
            self._is_loaded = False
            return self.first
        return self._conform(self._data[index])

    def on_epoch_begin(self):
        self._data.on_epoch_begin()

    def on_epoch_end(self):
        self._data.on_epoch_end()


def one_batch(model: Any, x: Any, y: Any, sample_weight: Any) -> tuple:
    """Checks a single batch and returns its x, targets and weights, x and weights as tensors."""
    x = inputs.admit(model, x, whole=False)
    weights = inputs.as_weights(sample_weight, len(x))
    targets = inputs.check_targets(y, len(x))
    return tf.convert_to_tensor(x), targets, None if weights is None else tf.convert_to_tensor(weights)


def parts_of(data: Any) -> tuple:
    """Returns the x, targets and weights of `validation_data`, which may also be a dataset or an array."""
    is_rows = isinstance(data, list) and not any(hasattr(part, "__array__") for part in data[:3])
    return keras.utils.unpack_x_y_sample_weight((data,) if is_rows else data)


def split_validation(data: tuple, fraction: float) -> tuple[tuple, tuple]:
    """Cuts the last `fraction` of the rows off arrays, as `keras.Model.fit` does.

    Args:
      data: x, y and sample weights, each an array or, but for x, `None`.
      fraction: share of the rows to set aside.

    Returns:
      The first rows and the last, each a tuple like `data`.

    Raises:
      ValueError: if x is no array, or a part would be empty.
    """
    if not inputs.is_array(data[0]):
        raise ValueError(f"Expected an array with validation_split. Received: {type(data[0]).__name__}")

    def rows(part, chosen):
        return part.iloc[chosen] if hasattr(part, "iloc") else part[chosen]

    # Frames stay frames, whose columns have names.
    parts: list[Any] = [p if p is None or hasattr(p, "iloc") else inputs.as_array(p) for p in data]
    size = len(parts[0])
    cut = int(size * (1 - fraction))
    if not 0 < fraction < 1 or not 0 < cut < size:
        raise ValueError(f"Expected validation_split to leave both parts some of {size} rows. Received: {fraction}")
    inputs.check_targets(parts[1], size)
    inputs.as_weights(parts[2], size)
    first, last = (
        tuple(None if part is None else rows(part, chosen) for part in parts)
        for chosen in (slice(cut), slice(cut, None))
    )
    return first, last
