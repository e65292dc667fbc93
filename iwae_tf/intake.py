"""Data at the door: what `fit`, `evaluate`, `predict` and the scoring methods are given, looked at before they run."""

import keras
import numpy as np
import tensorflow as tf

from iwae_tf.layers.base import check_finite


def is_array(data):
    """Whether the data are one array or tensor with values."""
    return hasattr(data, "__array__")


def as_array(x):
    """Returns NumPy's array of something; a `ValueError` if it has no shape, since rows differ in length."""
    try:
        return np.asarray(x)
    except ValueError as error:
        raise ValueError(f"Expected an array. Received: {type(x).__name__}: {error}") from error


def first_x(data):
    """Returns the x to be looked at, as an array: all of array data, of a dataset its first batch.

    Returns:
      `None` for a generator, which cannot be looked at without using it up.

    Raises:
      ValueError: if a dataset is empty, or rows differ in length.
      TypeError: if it is nothing that Keras takes batches from, or several arrays by name.
    """
    if isinstance(data, tf.data.Dataset):
        data = next(iter(data.take(1)), None)
        if data is None:
            raise ValueError("Expected at least one batch of data. Received: an empty dataset")
    elif isinstance(data, keras.utils.PyDataset):
        data = data[0]
    elif not isinstance(data, (tuple, list)) and not is_array(data):
        if isinstance(data, (str, bytes, dict)) or not hasattr(data, "__iter__"):
            expected = "an array, a tf.data.Dataset, a keras.utils.PyDataset or a generator of batches"
            raise TypeError(f"Expected {expected}. Received: {type(data).__name__}")
        return None
    return as_array(data[0] if isinstance(data, tuple) and data else data)


def num_batches(data):
    """Returns the batches of a dataset, or `None` where their number is not known."""
    size = int(data.cardinality()) if isinstance(data, tf.data.Dataset) else 0
    return size if size > 0 else None


def check(x, event_shape, layer, missing=False):
    """Raises a clear error if the array cannot be a batch of observations.

    Args:
      x: an array.
      event_shape: the shape of one observation.
      layer: the layer that x meets first; its `check_data`, where it has one, knows the values it takes.
      missing: whether entries may be NaN. Unless it admits them itself, the layer is then asked of the others.

    Raises:
      ValueError: if the shape is not `[n, *event_shape]`, n is 0, or values are out of range or not finite.
      TypeError: if the dtype cannot be taken.
    """
    if x.ndim == 0 or x.shape[1:] != event_shape:
        expected = ", ".join(map(str, ("n", *event_shape)))
        raise ValueError(f"Expected data of shape [{expected}]. Received: shape {x.shape}")
    if not len(x):
        raise ValueError("Expected at least one observation. Received: none")
    if missing and x.dtype.kind == "f" and not getattr(layer, "admits_missing", False):
        x = x[~np.isnan(x)]
    if x.size:
        getattr(layer, "check_data", check_finite)(x)


def split_validation(arrays, fraction):
    """Cuts the last `fraction` of the rows off each array, as `keras.Model.fit` does: the first rows and the last."""
    size = len(arrays[0])
    cut = int(size * (1 - fraction))
    if not 0 < fraction < 1 or not 0 < cut < size:
        raise ValueError(f"Expected validation_split to leave both parts some of {size} rows. Received: {fraction}")
    parts = [tuple(None if a is None else a[rows] for a in arrays) for rows in (slice(cut), slice(cut, None))]
    return parts[0], parts[1]


def x_batches(data, batch_size=100):
    """Makes an iterable of the x of every batch, and counts the batches.

    Args:
      data: an array, which is cut into batches, or a `tf.data.Dataset` of x or of tuples that begin with x.
      batch_size: rows per batch of an array.

    Returns:
      The iterable, and the number of batches or `None` where it is not known.

    Raises:
      ValueError: if there are no data, or they are no numbers.
      TypeError: if the data are neither.
    """
    if is_array(data):
        data = np.asarray(data)
        if data.ndim == 0 or data.dtype.kind not in "buif":
            raise ValueError(f"Expected numbers [n, ...]. Received: shape {data.shape}, dtype {data.dtype}")
        data = tf.data.Dataset.from_tensor_slices(data).batch(batch_size)
    if not isinstance(data, tf.data.Dataset):
        raise TypeError(f"Expected an array or a tf.data.Dataset. Received: {type(data).__name__}")
    if data.cardinality() == 0:
        raise ValueError("Expected at least one observation. Received: none")
    return (batch[0] if isinstance(batch, tuple) else batch for batch in data), num_batches(data)


def first_rows(data, count):
    """Returns the x of the first `count` observations, or of all where there are fewer, as one array.

    Args:
      data: as for `x_batches`.
      count: observations to return at most.

    Raises:
      ValueError: if there are no data.
      TypeError: if the data are neither an array nor a dataset.
    """
    parts, size = [], 0
    for x in x_batches(data)[0]:
        parts.append(np.asarray(x))
        size += len(x)
        if size >= count:
            break
    return np.concatenate(parts)[:count]
