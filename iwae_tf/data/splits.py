"""A data set in three parts: training, validation and test data."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from iwae_tf import random
from iwae_tf.data import inputs
from iwae_tf.data.pipelines import batches
from iwae_tf.layers import rules
from iwae_tf.types import Array


@dataclass(frozen=True)
class Splits:
    """A data set in three parts, each a `tf.data.Dataset` of batches `[batch, *event_shape]`.

    Attributes:
      train: training data, shuffled again in every epoch, in an order that the seed determines.
      validation: validation data, in a fixed order.
      test: test data, in a fixed order.
      event_shape: shape of one observation.
      mean: mean of the training data, `[*event_shape]`; uint8 data are first scaled to [0, 1].
      test_labels: classes of the test data, `[n]`, in their order; `None` if the data set has none.
      validation_labels: classes of the validation data, likewise.

    Example:
      ```python
      splits = data.load("digits", batch_size=100)
      splits.event_shape  # (8, 8, 1)
      splits.test_labels.shape  # (250,)
      next(iter(splits.train)).shape  # [100, 8, 8, 1]
      ```
    """

    train: tf.data.Dataset
    validation: tf.data.Dataset
    test: tf.data.Dataset
    event_shape: tuple[int, ...]
    mean: np.ndarray
    test_labels: np.ndarray | None = None
    validation_labels: np.ndarray | None = None

    def __repr__(self) -> str:
        sizes = {name: int(getattr(self, name).cardinality()) for name in ("train", "validation", "test")}
        counts = ", ".join(f"{name}={'?' if size < 0 else size}" for name, size in sizes.items())
        return f"<Splits event_shape={self.event_shape}, batches: {counts}>"


def from_arrays(
    train: Array,
    validation: Array | float = 0.1,
    test: Array | float = 0.1,
    batch_size: int = 20,
    seed: int = 0,
    incomplete: bool = False,
) -> Splits:
    """Makes `Splits` of your own arrays.

    Args:
      train: `[n, *event_shape]`. uint8 data stay uint8, pixels from 0 to 255, unless all values of the three parts are
        0 or 1, which makes them masks. Masks and all other numbers become float32.
      validation: an array, or the fraction of `train` to set aside at random.
      test: an array, or the fraction of `train` to set aside at random.
      batch_size: observations per batch.
      seed: integer seed of the choice of set-aside observations and of the order of the training data.
      incomplete: whether entries may be NaN, which stands for missing; `mean` ignores them.

    Returns:
      `Splits`.

    Raises:
      TypeError: if an array does not hold numbers.
      ValueError: if an array is empty or holds NaN, the shapes of observations differ, or a fraction is outside (0, 1).

    Example:
      ```python
      rows = np.random.default_rng(0).normal(size=[100, 3])
      splits = data.from_arrays(rows, validation=0.2, test=rows[:10], batch_size=16)
      splits  # <Splits event_shape=(3,), batches: train=5, validation=2, test=1>
      ```
    """
    arrays = {"train": inputs.as_array(train)}
    if arrays["train"].ndim < 2:
        raise ValueError(f"Expected train to have shape [n, *event_shape]. Received: shape {arrays['train'].shape}")
    rows = np.random.default_rng(seed).permutation(len(arrays["train"]))
    for name, part in (("validation", validation), ("test", test)):
        if isinstance(part, (int, float)):
            if not 0 < part < 1:
                raise ValueError(f"Expected {name} to be an array or a fraction in (0, 1). Received: {part!r}")
            count = round(part * len(arrays["train"]))
            arrays[name], rows = arrays["train"][rows[:count]], rows[count:]
        else:
            arrays[name] = inputs.as_array(part)
    arrays["train"] = arrays["train"][np.sort(rows)]
    event_shape = arrays["train"].shape[1:]
    for name, array in arrays.items():
        rules.check_numeric(array)
        finite = [rules.finite(array)]
        rules.check(rules.allow_missing(finite) if incomplete else finite)
        if not len(array):
            raise ValueError(f"Expected at least one observation in {name}. Received: none")
        if array.shape[1:] != event_shape:
            raise ValueError(
                f"Expected observations of shape {event_shape} in {name}, as in train. Received: {array.shape[1:]}"
            )
    are_masks = all(array.dtype == np.uint8 and array.max() <= 1 for array in arrays.values())
    for name, array in arrays.items():
        arrays[name] = array if array.dtype == np.uint8 and not are_masks else array.astype(np.float32)
    scale = 255.0 if arrays["train"].dtype == np.uint8 else 1.0
    mean = (np.nanmean if incomplete else np.mean)(arrays["train"], 0, dtype=np.float64) / scale
    return Splits(
        train=batches(arrays["train"], batch_size, random.derive(seed, 1)),
        validation=batches(arrays["validation"], batch_size, shuffle=False),
        test=batches(arrays["test"], batch_size, shuffle=False),
        event_shape=event_shape,
        mean=np.asarray(mean, np.float32),
    )
