"""A data set in three parts: training, validation and test data."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from iwae_tf import random
from iwae_tf.data import inputs
from iwae_tf.data.pipelines import batches
from iwae_tf.layers import rules


@dataclass(frozen=True)
class Splits:
    """A data set in three parts, each a `tf.data.Dataset` of batches `[batch, *event_shape]`.

    Attributes:
      train: shuffled anew in every epoch, in an order that the seed fixes.
      validation: in a fixed order.
      test: in a fixed order.
      event_shape: shape of one observation.
      mean: mean of the training data, `[*event_shape]`; that of uint8 data is scaled to [0, 1].
    """

    train: tf.data.Dataset
    validation: tf.data.Dataset
    test: tf.data.Dataset
    event_shape: tuple[int, ...]
    mean: np.ndarray

    def __repr__(self):
        sizes = {name: int(getattr(self, name).cardinality()) for name in ("train", "validation", "test")}
        batches = ", ".join(f"{name}={'?' if size < 0 else size}" for name, size in sizes.items())
        return f"<Splits event_shape={self.event_shape}, batches: {batches}>"


def from_arrays(train, validation=0.1, test=0.1, batch_size=20, seed=0, incomplete=False):
    """Makes `Splits` of a user's own arrays.

    Args:
      train: `[n, *event_shape]`. uint8 is taken as 0 to 255, unless all of the data are 0 or 1, a mask; other numbers
        become float32, and masks too.
      validation: array, or the fraction of `train` to set aside at random.
      test: likewise.
      batch_size: observations per batch.
      seed: integer seed of the parts set aside and of the order of the training data.
      incomplete: whether entries may be NaN, which stands for missing; the mean is of the others.

    Returns:
      `Splits`.

    Raises:
      TypeError: if an array does not hold numbers.
      ValueError: if an array is empty or holds NaN, the shapes of observations differ, or a fraction leaves (0, 1).
    """
    parts = {"train": inputs.as_array(train)}
    if parts["train"].ndim < 2:
        raise ValueError(f"Expected train to have shape [n, *event_shape]. Received: shape {parts['train'].shape}")
    order = np.random.default_rng(seed).permutation(len(parts["train"]))
    for name, part in (("validation", validation), ("test", test)):
        if isinstance(part, (int, float)):
            if not 0 < part < 1:
                raise ValueError(f"Expected {name} to be an array or a fraction in (0, 1). Received: {part!r}")
            count = round(part * len(parts["train"]))
            parts[name], order = parts["train"][order[:count]], order[count:]
        else:
            parts[name] = inputs.as_array(part)
    parts["train"] = parts["train"][np.sort(order)]
    for name, part in parts.items():
        rules.check_numeric(part)
        found = [rules.finite(part)]
        rules.check(rules.allow_missing(found) if incomplete else found)
        if not len(part):
            raise ValueError(f"Expected at least one observation in {name}. Received: none")
        if part.shape[1:] != parts["train"].shape[1:]:
            raise ValueError(
                f"Expected {name} to have observations of the shape of train, {parts['train'].shape[1:]}. "
                f"Received: {part.shape[1:]}"
            )
    are_masks = all(part.dtype == np.uint8 and part.max() <= 1 for part in parts.values())
    for name, part in parts.items():
        parts[name] = part if part.dtype == np.uint8 and not are_masks else part.astype(np.float32)
    scale = 255.0 if parts["train"].dtype == np.uint8 else 1.0
    return Splits(
        train=batches(parts["train"], batch_size, random.derive(seed, 1)),
        validation=batches(parts["validation"], batch_size, shuffle=False),
        test=batches(parts["test"], batch_size, shuffle=False),
        event_shape=parts["train"].shape[1:],
        mean=np.asarray(
            (np.nanmean if incomplete else np.mean)(parts["train"], 0, dtype=np.float64) / scale, "float32"
        ),
    )
