"""Input data: conversion to arrays, and the checks before a model sees them."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf

from iwae_tf.data import tables
from iwae_tf.data.observation_model import ObservationModel
from iwae_tf.layers import Column, rules
from iwae_tf.types import Array

#: Rows that are also checked after preprocessing; scoring checks all of them.
NUM_PREPROCESSED = 100


def is_array(data: Any) -> bool:
    """Returns whether the data are a single container of values: a tensor, a list, a frame, a sparse matrix."""
    return isinstance(data, (list, tf.SparseTensor, tf.RaggedTensor)) or any(
        hasattr(data, name) for name in ("__array__", "toarray")
    )


def as_array(x: Array, columns: Sequence[Column] = ()) -> np.ndarray:
    """Converts any container of numbers to an array.

    Sparse data become dense. Masked entries of a masked array become NaN, which stands for missing.

    Args:
      x: an array, a tensor, nested lists, a pandas frame or series, a sparse matrix of SciPy, a `tf.SparseTensor`, or a
        masked array.
      columns: the columns of a table. A frame is then encoded by their names; see `tables.encode`.

    Raises:
      ValueError: if rows differ in length.
      TypeError: if a frame has columns that are not numeric.
    """
    data: Any = x
    if isinstance(data, tf.RaggedTensor):
        raise ValueError("Expected an array. Received: a RaggedTensor, whose rows may differ in length")
    if isinstance(data, tf.SparseTensor):
        data = tf.sparse.to_dense(data)
    elif isinstance(data, pd.DataFrame) and columns:
        return tables.encode(data, columns)
    elif isinstance(data, (pd.DataFrame, pd.Series)):
        return _of_pandas(data)
    elif isinstance(data, np.ma.MaskedArray):
        return np.where(data.mask, np.nan, data.data) if np.ma.is_masked(data) else data.data
    elif hasattr(data, "toarray"):
        return data.toarray()
    if tf.is_tensor(data) and data.dtype == tf.bfloat16:  # which NumPy does not count as a float
        data = tf.cast(data, tf.float32)
    try:
        return np.asarray(data)
    except ValueError as error:
        raise ValueError(f"Expected an array. Received: {type(data).__name__}: {error}") from error


def _of_pandas(x: pd.DataFrame | pd.Series) -> np.ndarray:
    array = x.to_numpy()
    if array.dtype != object:
        return array
    try:  # numbers and bools side by side, or pandas' own missing values
        return x.to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"Expected numeric columns; data.from_dataframe makes numbers of others. Received: {error}"
        ) from error


def as_input(model: ObservationModel, x: Array, whole: bool = True) -> np.ndarray:
    """Checks observations and returns them in the model's dtype; builds a model that is not built.

    Args:
      model: the model that reads them.
      x: data `[n, *event_shape]`, in any container that `as_array` converts.
      whole: whether these are all of the data, rather than one batch.

    Raises:
      ValueError: if the shape is not `[n, *event_shape]`, n is 0, or values are out of range or not finite.
      TypeError: if the data are not numeric, or the model refuses their dtype.
    """
    x = as_array(x, getattr(model.observation_layer, "columns", ()))
    rules.check_numeric(x)
    if not model.built and x.ndim > 1:
        model.build((None, *x.shape[1:]))
    check_input(model, x)
    if whole and model.preprocessing is not None and hasattr(model.preprocessing, "check_all"):
        model.preprocessing.check_all(x)
    dtype = input_dtype(model, x.dtype)
    model.data_dtype = model.data_dtype or dtype
    return x.astype(dtype, copy=False)


def input_dtype(model: ObservationModel, dtype: np.dtype) -> str:
    """Returns the name of the dtype in which the model reads data of `dtype`: floats in the dtype of its weights."""
    return model.dtype_policy.variable_dtype if dtype.kind == "f" else dtype.name


def fits(model: ObservationModel, shape: tuple[int, ...]) -> bool:
    """Returns whether observations of this shape fit the model, whose shape may leave a size open."""
    return tf.TensorShape(shape).is_compatible_with(model.event_shape)


def describe_shape(model: ObservationModel) -> str:
    """Describes the shape of the model's data, for error messages."""
    sizes = ("time" if size is None else str(size) for size in model.event_shape) if model.built else ("...",)
    return f"[{', '.join(('n', *sizes))}]"


def check_input(model: ObservationModel, x: np.ndarray) -> None:
    """Raises a clear error unless the array can be a batch of the model's observations; see `as_input`."""
    if not model.built or x.ndim == 0 or not fits(model, x.shape[1:]):
        raise ValueError(f"Expected data of shape {describe_shape(model)}. Received: shape {x.shape}")
    if not len(x):
        raise ValueError("Expected at least one observation. Received: none")
    likelihood, missing = model.observation_layer, model.allows_missing
    _check_values(model.preprocessing or likelihood, x, missing)
    if rules.is_floating(x) and np.isnan(x).any() and not model.reads_missing:
        raise ValueError(
            "Expected an encoder that reads NaN, such as one with layers.TableFeatures, or incomplete=True. "
            f"Received: {np.isnan(x).sum()} missing entries, for which the encoder returns NaN"
        )
    if model.preprocessing_may_break_rules:
        with tf.init_scope():  # also while a graph is traced
            processed = model.preprocess(x[:NUM_PREPROCESSED], tf.zeros(2, tf.int32)).numpy()
        _check_values(likelihood, processed, missing)


def _check_values(layer: keras.layers.Layer, x: np.ndarray, missing: bool) -> None:
    """Checks values by the layer's own rules if it has any, without missing entries where those are allowed."""
    if missing and rules.is_floating(x) and not getattr(layer, "allows_missing", False):
        x = x[~np.isnan(x)]
    if not x.size:
        return
    if hasattr(layer, "check_data"):
        layer.check_data(x)
    else:
        rules.check([rules.finite(x)])


def check_dtype(model: ObservationModel, dtype: np.dtype) -> None:
    """Raises a `TypeError` unless the model reads data of this dtype."""
    empty = np.zeros((0, *model.smallest_shape), dtype)
    rules.check_numeric(empty)
    check_data = getattr(model.preprocessing or model.observation_layer, "check_data", None)
    if check_data:
        check_data(empty)


def as_weights(weights: npt.ArrayLike | None, size: int, check_values: bool = True) -> np.ndarray | None:
    """Converts the weights of `size` rows, `[size]` or `[size, 1]`, to floats `[size]`; `None` stays `None`.

    Raises:
      ValueError: if they have another shape, or are negative, NaN or infinite.
      TypeError: if they are not numeric.
    """
    if weights is None:
        return None
    weights = as_array(weights)
    rules.check_numeric(weights)
    if weights.shape not in ((size,), (size, 1)):
        raise ValueError(f"Expected a weight for each of {size} rows. Received: weights of shape {weights.shape}")
    weights = weights.reshape(size).astype(np.float32)
    if check_values and not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError("Expected weights that are finite and not negative. Received: others")
    return weights


def as_targets(y: npt.ArrayLike | None, size: int) -> np.ndarray | None:
    """Converts targets, which only `class_weight` reads; raises a `ValueError` unless there are `size` of them."""
    if y is None:
        return None
    y = as_array(y)
    if y.shape[:1] != (size,):
        raise ValueError(f"Expected a target for each of {size} rows. Received: targets of shape {y.shape}")
    return y


def check_length(data: tf.data.Dataset, steps: int | None, argument: str) -> None:
    """Raises a `ValueError` if a dataset is empty, or endless while the number of steps is not given."""
    if steps is None and data.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError(f"Expected {argument} for data without an end. Received: an endless dataset")
    if data.cardinality() == 0:
        raise ValueError("Expected at least one batch of data. Received: an empty dataset")


def count_batches(data: Any) -> int | None:
    """Returns the batches of a dataset, or `None` where their number is unknown."""
    size = int(data.cardinality()) if isinstance(data, tf.data.Dataset) else 0
    return size if size > 0 else None


def get_x(batch: Any) -> Any:
    """Returns the x of a batch: the batch itself, or the first entry of a tuple."""
    if isinstance(batch, dict):
        raise TypeError(
            "Expected batches of x, or tuples that begin with x; `dataset.map` makes them. "
            f"Received: a dict of {', '.join(map(str, batch))}"
        )
    return get_x(batch[0]) if isinstance(batch, tuple) and batch else batch


def iterate_x(
    model: ObservationModel, data: Array | tf.data.Dataset, batch_size: int = 100
) -> tuple[Iterator[np.ndarray], int | None]:
    """Returns an iterator over the checked x of every batch, and the number of batches or `None` if unknown.

    Args:
      model: the model that reads them.
      data: an array, which is cut into batches, or a `tf.data.Dataset` of x or of tuples that begin with x.
      batch_size: rows per batch of an array.

    Raises:
      ValueError, TypeError: as in `as_input`; also for an endless dataset.
    """
    if isinstance(data, tf.data.Dataset):
        check_length(data, None, "a dataset cut by `take`")
        return (as_input(model, get_x(batch), whole=False) for batch in data), count_batches(data)
    if not is_array(data):
        raise TypeError(f"Expected an array or a tf.data.Dataset. Received: {type(data).__name__}")
    x = as_input(model, data)
    return (x[i : i + batch_size] for i in range(0, len(x), batch_size)), -(-len(x) // batch_size)


def take_rows(model: ObservationModel, data: Array | tf.data.Dataset, count: int) -> np.ndarray:
    """Returns the checked x of the first `count` observations, or of all if there are fewer, as one array.

    Args:
      model: the model that reads them.
      data: as for `iterate_x`, but a dataset may be endless.
      count: the most observations to return.

    Raises:
      ValueError, TypeError: as in `as_input`.
    """
    if isinstance(data, tf.data.Dataset):
        data = data.take(count)
    batches, size = [], 0
    for x in iterate_x(model, data)[0]:
        batches.append(x)
        size += len(x)
        if size >= count:
            break
    if None in model.event_shape:  # Batches of sequences have numbers of steps of their own.
        longest = max(x.shape[1] for x in batches)
        rest = [(0, 0)] * (len(model.event_shape) - 1)
        batches = [
            np.pad(x, [(0, 0), (0, longest - x.shape[1]), *rest], constant_values=np.nan) if x.shape[1] < longest else x
            for x in batches
        ]
    return np.concatenate(batches)[:count]
