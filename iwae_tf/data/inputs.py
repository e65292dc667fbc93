"""Input data: conversion to arrays, and the checks before a model sees them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from iwae_tf.data import tables
from iwae_tf.layers import rules

#: Rows that are also checked after the preprocessing; scoring checks all of them.
FEW = 100


def is_array(data: Any) -> bool:
    """Returns whether the data are one array with values: a tensor, a list, a frame, a sparse matrix."""
    return isinstance(data, (list, tf.SparseTensor, tf.RaggedTensor)) or any(
        hasattr(data, name) for name in ("__array__", "toarray")
    )


def as_array(x: Any, columns: Sequence = ()) -> np.ndarray:
    """Converts any container of numbers to an array.

    Sparse data become dense. Entries that a masked array hides become NaN, which stands for missing.

    Args:
      x: an array, a tensor, nested lists, a pandas frame or series, a sparse matrix of SciPy, a `tf.SparseTensor`, or a
        masked array.
      columns: `layers.Column`s of a table. A frame is encoded by their names; see `tables.encode`.

    Raises:
      ValueError: if rows differ in length.
      TypeError: if a frame has columns that are not numeric.
    """
    if isinstance(x, tf.RaggedTensor):
        raise ValueError("Expected an array. Received: a RaggedTensor, whose rows may differ in length")
    if isinstance(x, tf.SparseTensor):
        x = tf.sparse.to_dense(x)
    elif isinstance(x, pd.DataFrame) and columns:
        return tables.encode(x, columns)
    elif isinstance(x, (pd.DataFrame, pd.Series)):
        return _of_pandas(x)
    elif isinstance(x, np.ma.MaskedArray):
        return np.where(x.mask, np.nan, x.data) if np.ma.is_masked(x) else x.data
    elif hasattr(x, "toarray"):
        return x.toarray()
    if tf.is_tensor(x) and x.dtype == tf.bfloat16:  # which NumPy does not take for a float
        x = tf.cast(x, tf.float32)
    try:
        return np.asarray(x)
    except ValueError as error:
        raise ValueError(f"Expected an array. Received: {type(x).__name__}: {error}") from error


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


def admit(model: Any, x: Any, whole: bool = True) -> np.ndarray:
    """Checks observations and returns them in the dtype that the model takes; builds a model that is not built.

    Args:
      model: an `IWAE`.
      x: data `[n, *event_shape]`, anything that `as_array` takes.
      whole: whether these are all of the data, rather than one batch.

    Raises:
      ValueError: if the shape is not `[n, *event_shape]`, n is 0, or values are out of range or not finite.
      TypeError: if the data are not numeric, or of a dtype that the model does not take.
    """
    x = as_array(x, getattr(model.decoder[-1], "columns", ()))
    rules.check_numeric(x)
    if not model.built and x.ndim > 1:
        model.build((None, *x.shape[1:]))
    check(model, x)
    if whole and hasattr(model.preprocessing, "check_all"):
        model.preprocessing.check_all(x)
    dtype = dtype_of(model, x.dtype)
    model.data_dtype = model.data_dtype or dtype
    return x.astype(dtype, copy=False)


def dtype_of(model: Any, dtype: np.dtype) -> str:
    """Returns the name of the dtype in which the model takes data of this one: floats in that of its weights."""
    return model.dtype_policy.variable_dtype if dtype.kind == "f" else dtype.name


def shape_of(model: Any) -> str:
    """Returns the shape of the data of a model as error messages tell it."""
    return f"[{', '.join(map(str, ('n', *model.event_shape)))}]" if model.built else "[n, ...]"


def check(model: Any, x: np.ndarray) -> None:
    """Raises a clear error unless the array may be a batch of observations of the model; see `admit`."""
    if not model.built or x.ndim == 0 or x.shape[1:] != model.event_shape:
        raise ValueError(f"Expected data of shape {shape_of(model)}. Received: shape {x.shape}")
    if not len(x):
        raise ValueError("Expected at least one observation. Received: none")
    likelihood, missing = model.decoder[-1], model.admits_missing
    _check_values(model.preprocessing or likelihood, x, missing)
    if rules.is_floating(x) and np.isnan(x).any() and not model.reads_missing:
        raise ValueError(
            "Expected an encoder that reads NaN, such as one with layers.TableFeatures, or incomplete=True. "
            f"Received: {np.isnan(x).sum()} missing entries, of which the encoder makes NaN"
        )
    if model.doubts_preprocessing:
        with tf.init_scope():  # of a graph that is being made too
            processed = model.preprocess(x[:FEW], tf.zeros(2, tf.int32)).numpy()
        _check_values(likelihood, processed, missing)


def _check_values(layer: Any, x: np.ndarray, missing: bool) -> None:
    """Checks values, but for missing ones where they are admitted, by the layer's own rules if it has any."""
    if missing and rules.is_floating(x) and not getattr(layer, "admits_missing", False):
        x = x[~np.isnan(x)]
    if not x.size:
        return
    if hasattr(layer, "check_data"):
        layer.check_data(x)
    else:
        rules.check([rules.finite(x)])


def check_dtype(model: Any, dtype: np.dtype) -> None:
    """Raises a `TypeError` unless the model takes data of this dtype."""
    nothing = np.zeros((0, *model.event_shape), dtype)
    rules.check_numeric(nothing)
    check_data = getattr(model.preprocessing or model.decoder[-1], "check_data", None)
    if check_data:
        check_data(nothing)


def as_weights(weights: Any, size: int, check_values: bool = True) -> np.ndarray | None:
    """Converts the weights of `size` rows, `[size]` or `[size, 1]`, to floats `[size]`; `None` stays `None`.

    Raises:
      ValueError: if the shape is another one, or weights are negative, NaN or infinite.
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


def check_targets(y: Any, size: int) -> Any:
    """Returns targets, which only `class_weight` uses; raises a `ValueError` unless there are `size` of them."""
    if y is None:
        return None
    y = as_array(y)
    if y.shape[:1] != (size,):
        raise ValueError(f"Expected a target for each of {size} rows. Received: targets of shape {y.shape}")
    return y


def check_ends(data: tf.data.Dataset, steps: int | None, argument: str) -> None:
    """Raises a `ValueError` if a dataset is empty, or endless while the number of steps is not given."""
    if steps is None and data.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError(f"Expected {argument} for data without an end. Received: an endless dataset")
    if data.cardinality() == 0:
        raise ValueError("Expected at least one batch of data. Received: an empty dataset")


def num_batches(data: Any) -> int | None:
    """Returns the batches of a dataset, or `None` where their number is not known."""
    size = int(data.cardinality()) if isinstance(data, tf.data.Dataset) else 0
    return size if size > 0 else None


def x_of(batch: Any) -> Any:
    """Returns the x of a batch: the batch itself, or the first part of a tuple."""
    if isinstance(batch, dict):
        raise TypeError(
            "Expected batches of x, or tuples that begin with x; `dataset.map` makes them. "
            f"Received: a dict of {', '.join(map(str, batch))}"
        )
    return x_of(batch[0]) if isinstance(batch, tuple) and batch else batch


def x_batches(model: Any, data: Any, batch_size: int = 100) -> tuple[Iterator[np.ndarray], int | None]:
    """Makes an iterator over the checked x of every batch, and counts the batches.

    Args:
      model: an `IWAE`.
      data: an array, which is cut into batches, or a `tf.data.Dataset` of x or of tuples that begin with x.
      batch_size: rows per batch of an array.

    Returns:
      The iterator, and the number of batches or `None` where it is not known.

    Raises:
      ValueError, TypeError: as in `admit`; also for an endless dataset.
    """
    if isinstance(data, tf.data.Dataset):
        check_ends(data, None, "a dataset cut by `take`")
        return (admit(model, x_of(batch), whole=False) for batch in data), num_batches(data)
    if not is_array(data):
        raise TypeError(f"Expected an array or a tf.data.Dataset. Received: {type(data).__name__}")
    x = admit(model, data)
    return (x[i : i + batch_size] for i in range(0, len(x), batch_size)), -(-len(x) // batch_size)


def first_rows(model: Any, data: Any, count: int) -> np.ndarray:
    """Returns the checked x of the first `count` observations, or of all where there are fewer, as one array.

    Args:
      model: an `IWAE`.
      data: as for `x_batches`, but a dataset may be endless.
      count: observations to return at most.

    Raises:
      ValueError, TypeError: as in `admit`.
    """
    if isinstance(data, tf.data.Dataset):
        data = data.take(count)
    parts, size = [], 0
    for x in x_batches(model, data)[0]:
        parts.append(x)
        size += len(x)
        if size >= count:
            break
    return np.concatenate(parts)[:count]
