"""Streams of checked batches, made from whatever `fit`, `evaluate` and `predict` are given."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from iwae_tf.data import inputs, sequences
from iwae_tf.data.observation_model import ObservationModel
from iwae_tf.data.pipelines import batches
from iwae_tf.types import Array, Data

#: Rows per batch that are assumed where a pipeline does not know its batch size, to limit the bytes of an execution.
ASSUMED_ROWS = 128
#: x, targets and sample weights; all but x may be `None`.
Rows = tuple[Any, Any, Any]


class Stream(NamedTuple):
    """Data that are ready to be iterated over.

    Attributes:
      data: a `tf.data.Dataset`, or for Keras' own kinds of data a `PyDataset` or a generator.
      num_batches: batches in one pass, or `None` where their number is unknown.
      batch_bytes: bytes of a batch, as far as they are known.
      dtype: name of the dtype in which the model reads the data, or `None` where it is unknown.
    """

    data: Any
    num_batches: int | None = None
    batch_bytes: int = 1
    dtype: str | None = None


def make_stream(
    model: ObservationModel,
    data: Data,
    y: npt.ArrayLike | None = None,
    sample_weight: npt.ArrayLike | None = None,
    batch_size: int | None = None,
    steps: int | None = None,
    draw_seed: Callable[[], int] | None = None,
    keep_targets: bool = False,
    argument: str = "steps",
) -> Stream:
    """Makes a `Stream` of any kind of data, checked as far as possible without consuming a batch.

    Args:
      model: the model that reads the data.
      data: an array in any container that `inputs.as_array` converts, a `tf.data.Dataset`, a `keras.utils.PyDataset`,
        an iterator over batches, or a data loader that Keras knows. Batches are x, or tuples `(x, y, sample_weight)`.
        For a model of sequences also a list of arrays `[time, *event]` or a `tf.RaggedTensor`.
      y: targets of an array; only `class_weight` reads them.
      sample_weight: weights of the rows of an array, `[n]` or `[n, 1]`.
      batch_size: rows per batch of an array. `None` means 32, or as many as give the number of `steps`.
      steps: batches in one pass, or `None` for all of them.
      draw_seed: draws the seed of the order in which an array is shuffled. `None` keeps its order.
      keep_targets: whether the batches contain the targets.
      argument: the name of `steps` in error messages.

    Raises:
      ValueError: if the data do not match the model's input, weights or targets do not match the rows, there are no
        targets to keep, or a dataset is empty or endless.
      TypeError: if data of this kind cannot be iterated over.
    """
    if takes_sequences(model, data):
        # Scores come in the order of the sequences, so only training puts those of similar length together.
        data = (
            sequences.batches(sequences.as_list(data, None, model.incomplete), batch_size or 32, draw_seed())
            if draw_seed
            else sequences.pad(data, None, model.incomplete)
        )
    if inputs.is_array(data):
        return _stream_arrays(model, data, y, sample_weight, batch_size, steps, draw_seed, keep_targets)
    for value, name in ((y, "y"), (sample_weight, "sample_weight")):
        if value is not None:
            raise ValueError(f"Expected {name} within the batches, (x, y, sample_weight). Received: {name} beside them")
    if isinstance(data, tf.data.Dataset):
        return _stream_dataset(model, data, steps, argument, keep_targets)
    if isinstance(data, keras.utils.PyDataset):
        if data.num_batches is None and steps is None:
            raise ValueError(f"Expected {argument} for data without an end. Received: a PyDataset without a length")
        checked = CheckedPyDataset(model, data)
        return Stream(checked, data.num_batches, checked.first[0].nbytes, checked.first[0].dtype.name)
    if hasattr(data, "__next__"):
        return _stream_iterator(model, data)
    if isinstance(data, (str, bytes, dict, tuple)) or not hasattr(data, "__iter__"):
        expected = "an array, a tf.data.Dataset, a keras.utils.PyDataset or a generator of batches"
        raise TypeError(f"Expected {expected}. Received: {type(data).__name__}")
    return Stream(data)


def _stream_arrays(
    model: ObservationModel,
    data: Array,
    y: npt.ArrayLike | None,
    sample_weight: npt.ArrayLike | None,
    batch_size: int | None,
    steps: int | None,
    draw_seed: Callable[[], int] | None,
    keep_targets: bool,
) -> Stream:
    x = inputs.as_input(model, data)
    targets, weights = inputs.as_targets(y, len(x)), inputs.as_weights(sample_weight, len(x))
    size = int(batch_size or (-(-len(x) // steps) if steps else 32))
    if size < 1 or (batch_size and size != batch_size):
        raise ValueError(f"batch_size must be a positive integer. Received: batch_size={batch_size!r}")
    targets = _require_targets(targets) if keep_targets else None
    pipeline = batches(
        x if targets is None and weights is None else (x, targets, weights),
        size,
        seed=draw_seed() if draw_seed else None,
        shuffle=draw_seed is not None,
    )
    return Stream(pipeline, inputs.count_batches(pipeline), x[:size].nbytes, x.dtype.name)


def _require_targets(y: Any) -> Any:
    if y is None:
        raise ValueError("Expected targets with class_weight. Received: none")
    return y


def _stream_dataset(
    model: ObservationModel, data: tf.data.Dataset, steps: int | None, argument: str, keep_targets: bool
) -> Stream:
    inputs.check_length(data, steps, argument)
    if keep_targets:
        _require_targets(keras.utils.unpack_x_y_sample_weight(data.element_spec)[1])
    if hasattr(data, "arrays"):  # of `pipelines.batches`
        x, _, weights = keras.utils.unpack_x_y_sample_weight(data.arrays)
        x = inputs.as_input(model, x)
        inputs.as_weights(weights, len(x))
        return Stream(data, inputs.count_batches(data), x[: data.batch_size].nbytes, x.dtype.name)
    x, _, weights = keras.utils.unpack_x_y_sample_weight(data.element_spec)
    x = inputs.get_x(x)
    if not isinstance(x, tf.TensorSpec):
        raise TypeError(f"Expected batches of dense tensors. Received: {type(x).__name__}")
    _check_spec(model, x)
    if isinstance(weights, tf.TensorSpec) and weights.shape.rank not in (None, 1) and weights.shape[1:] != [1]:
        raise ValueError(f"Expected a weight for each row. Received: weights of shape {tuple(weights.shape)}")
    dtype = np.dtype(x.dtype.as_numpy_dtype) if x.dtype != tf.bfloat16 else np.dtype(np.float32)
    inputs.check_dtype(model, dtype)
    size = (x.shape[0] if x.shape.rank else None) or ASSUMED_ROWS
    num_bytes = size * int(np.prod([n or 1 for n in x.shape[1:] or ()])) * dtype.itemsize
    return Stream(data, inputs.count_batches(data), num_bytes, inputs.input_dtype(model, dtype))


def _check_spec(model: ObservationModel, x: tf.TensorSpec) -> None:
    """Raises a clear error unless tensors of this spec can be batches of the model."""
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
        raise ValueError(f"Expected data of shape {inputs.describe_shape(model)}. Received: shape {x.shape}{hint}")


def _stream_iterator(model: ObservationModel, data: Any) -> Stream:
    first = next(data, None)
    if first is None:
        raise ValueError("Expected at least one batch of data. Received: none")
    first = _check_first(model, first)
    others = (_conform(model, batch) for batch in data)
    # A generator, since Keras refuses `itertools.chain`.
    generator = (batch for batch in itertools.chain([first], others))
    return Stream(generator, None, first[0].nbytes, first[0].dtype.name)


def _conform(model: ObservationModel, batch: Any) -> tuple:
    """Returns a batch of arrays as a tuple `(x,)`, `(x, y)` or `(x, y, sample_weight)`."""
    inputs.get_x(batch)
    x, y, weights = keras.utils.unpack_x_y_sample_weight(tuple(batch) if isinstance(batch, list) else batch)
    x = inputs.as_array(x)
    if model.built and not inputs.fits(model, x.shape[1:]):
        raise ValueError(f"Expected batches of shape {inputs.describe_shape(model)}. Received: shape {x.shape}")
    x = x.astype(inputs.input_dtype(model, x.dtype), copy=False)
    weights = inputs.as_weights(weights, len(x), check_values=False)  # values are checked where they are pulled
    if weights is not None:
        return x, np.zeros(len(x), np.float32) if y is None else y, weights
    return (x,) if y is None else (x, y)


def _check_first(model: ObservationModel, batch: Any) -> tuple:
    """Checks the first batch of a stream and returns it, so that it can be passed on like the others."""
    conformed = _conform(model, batch)
    inputs.as_input(model, conformed[0], whole=False)
    return conformed


class CheckedPyDataset(keras.utils.PyDataset):
    """A `PyDataset` with batches in the form that a model expects; it loads the batch that it checks only once."""

    def __init__(self, model: ObservationModel, data: keras.utils.PyDataset) -> None:
        super().__init__(data.workers, data.use_multiprocessing, data.max_queue_size)
        self._data, self._conform = data, lambda batch: _conform(model, batch)
        if data.num_batches == 0:
            raise ValueError("Expected at least one batch of data. Received: an empty PyDataset")
        self.first = _check_first(model, data[0])
        self._is_loaded = True

    @property
    def num_batches(self) -> int | None:
        return self._data.num_batches

    def __getitem__(self, index: int) -> tuple:
        if index == 0 and self._is_loaded:
            self._is_loaded = False
            return self.first
        return self._conform(self._data[index])

    def on_epoch_begin(self) -> None:
        self._data.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self._data.on_epoch_end()


def check_batch(
    model: ObservationModel, x: Array, y: npt.ArrayLike | None, sample_weight: npt.ArrayLike | None
) -> Rows:
    """Checks a single batch and returns its x, targets and weights, x and weights as tensors."""
    x = inputs.as_input(model, x, whole=False)
    weights = inputs.as_weights(sample_weight, len(x))
    targets = inputs.as_targets(y, len(x))
    return tf.convert_to_tensor(x), targets, None if weights is None else tf.convert_to_tensor(weights)


def takes_sequences(model: ObservationModel, data: Any) -> bool:
    """Returns whether data are sequences of different lengths, and the model is one of sequences."""
    return model.built and None in model.event_shape and sequences.are_sequences(data)


def unpack_validation_data(data: Any) -> Rows:
    """Returns the x, targets and weights of `validation_data`, which may also be a dataset or an array."""
    is_rows = isinstance(data, list) and not any(hasattr(part, "__array__") for part in data[:3])
    return keras.utils.unpack_x_y_sample_weight((data,) if is_rows else data)


def split_validation(data: Rows, fraction: float) -> tuple[Rows, Rows]:
    """Splits the last `fraction` of the rows off arrays, as `keras.Model.fit` does.

    Args:
      data: x, y and sample weights, each an array or, except x, `None`.
      fraction: share of the rows to set aside.

    Returns:
      The first rows and the last rows, each a tuple like `data`.

    Raises:
      ValueError: if x is not an array, or a part would be empty.
    """
    if not inputs.is_array(data[0]):
        raise ValueError(f"Expected an array with validation_split. Received: {type(data[0]).__name__}")
    # Frames stay frames, since their columns have names.
    arrays = [array if array is None or hasattr(array, "iloc") else inputs.as_array(array) for array in data]
    size = len(arrays[0])
    cut = int(size * (1 - fraction))
    if not 0 < fraction < 1 or not 0 < cut < size:
        raise ValueError(f"Expected validation_split to leave rows in both parts of {size}. Received: {fraction}")
    inputs.as_targets(arrays[1], size)
    inputs.as_weights(arrays[2], size)

    def select(rows: slice) -> Rows:
        x, y, weights = ((a.iloc[rows] if hasattr(a, "iloc") else a[rows]) if a is not None else None for a in arrays)
        return x, y, weights

    return select(slice(cut)), select(slice(cut, None))
