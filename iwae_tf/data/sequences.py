"""Sequences of different lengths: padded, in buckets of similar length."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from iwae_tf import random
from iwae_tf.checks import check_count
from iwae_tf.data.inputs import as_array
from iwae_tf.data.splits import Splits
from iwae_tf.layers import rules

#: Batches whose rows are sorted by length together, so that a batch has sequences of similar length.
WINDOW = 8


def pad(
    sequences: Iterable[npt.ArrayLike] | tf.RaggedTensor | npt.ArrayLike,
    lengths: npt.ArrayLike | None = None,
    incomplete: bool = False,
    num_steps: int | None = None,
) -> np.ndarray:
    """Pads sequences with NaN, which stands for steps that are not there.

    Args:
      sequences: a list of arrays `[time, *event]` of any lengths, a `tf.RaggedTensor`, or an array
        `[n, time, *event]`.
      lengths: `[n]`, the number of steps of each sequence of an array; or a mask `[n, time]` of the steps that are
        there. `None` keeps all steps.
      incomplete: whether entries of x may be NaN, which stands for missing.
      num_steps: number of steps to pad to. `None` is the longest sequence.

    Returns:
      float32 `[n, num_steps, *event]`.

    Raises:
      TypeError: if a sequence does not hold numbers.
      ValueError: if a sequence is empty or holds NaN, the shapes of the steps differ, lengths do not fit the data, or
        there is no sequence.

    Example:
      ```python
      data.pad([np.zeros([3, 2]), np.ones([5, 2])]).shape  # (2, 5, 2)
      ```
    """
    parts = as_list(sequences, lengths, incomplete)
    longest = max(len(part) for part in parts)
    if num_steps is not None and num_steps < longest:
        raise ValueError(f"Expected num_steps of at least {longest}, the longest sequence. Received: {num_steps}")
    padded = np.full((len(parts), num_steps or longest, *parts[0].shape[1:]), np.nan, np.float32)
    for row, part in zip(padded, parts, strict=True):
        row[: len(part)] = part
    return padded


def are_sequences(data: Any) -> bool:
    """Returns whether data are a `tf.RaggedTensor` or a list of arrays `[time, *event]`."""
    if isinstance(data, tf.RaggedTensor):
        return True
    return isinstance(data, list) and bool(data) and all(np.ndim(part) >= 2 for part in data)


def as_list(
    sequences: Iterable[npt.ArrayLike] | tf.RaggedTensor | npt.ArrayLike,
    lengths: npt.ArrayLike | None = None,
    incomplete: bool = False,
) -> list[np.ndarray]:
    """Returns sequences as a list of checked arrays `[time, *event]`; see `pad`."""
    if isinstance(sequences, tf.RaggedTensor):
        sequences = [row.numpy() for row in sequences]
    parts = [as_array(part) for part in sequences]  # type: ignore[union-attr]
    if not parts:
        raise ValueError("Expected at least one sequence. Received: none")
    if lengths is not None:
        counts = as_lengths(lengths, [len(part) for part in parts])
        parts = [part[:length] for part, length in zip(parts, counts, strict=True)]
    event = parts[0].shape[1:]
    for i, part in enumerate(parts):
        rules.check_numeric(part)
        if part.ndim < 2 or not len(part):
            raise ValueError(f"Expected sequences [time, *event] of at least one step. Received: {part.shape} at {i}")
        if part.shape[1:] != event:
            raise ValueError(f"Expected steps of shape {event}, as in the first. Received: {part.shape[1:]} at {i}")
        finite = [rules.finite(part)]
        rules.check(rules.allow_missing(finite) if incomplete else finite)
        if incomplete and np.isnan(part[-1].astype(np.float64)).all():
            raise ValueError(f"Expected sequences that end with a step that is not missing. Received: sequence {i}")
    return parts


def as_lengths(lengths: npt.ArrayLike, limits: Sequence[int] | np.ndarray) -> np.ndarray:
    """Returns lengths, or those of a mask, as integers `[n]`, each from 1 to its limit."""
    array = np.asarray(lengths)
    if array.ndim == 2:
        counts = array.astype(bool).sum(axis=1)
        if not (array.astype(bool) == (np.arange(array.shape[1]) < counts[:, np.newaxis])).all():
            raise ValueError("Expected a mask with all padding at the end. Received: steps after padding")
        array = counts
    if array.shape != (len(limits),) or array.dtype.kind not in "iu":
        raise ValueError(f"Expected a length for each of {len(limits)} sequences. Received: {array.dtype}{array.shape}")
    for i, (length, limit) in enumerate(zip(array, limits, strict=True)):
        if not 0 < length <= limit:
            raise ValueError(f"Expected lengths from 1 to {limit}. Received: {length} at {i}")
    return array


def from_sequences(
    train: Iterable[npt.ArrayLike] | tf.RaggedTensor,
    validation: Iterable[npt.ArrayLike] | tf.RaggedTensor | float = 0.1,
    test: Iterable[npt.ArrayLike] | tf.RaggedTensor | float = 0.1,
    batch_size: int = 4,
    seed: int = 0,
    incomplete: bool = False,
) -> Splits:
    """Makes `Splits` of sequences of different lengths.

    Sequences are padded with NaN to the next power of two of their length, or to the longest, and a batch holds
    sequences of similar length: the steps of a model stop at the longest of a batch.

    Args:
      train: a list of arrays `[time, *event]`, or a `tf.RaggedTensor`.
      validation: the same, or the fraction of `train` to set aside at random.
      test: the same, or the fraction of `train` to set aside at random.
      batch_size: sequences per batch.
      seed: integer seed of the choice of set-aside sequences and of the order of the training data.
      incomplete: whether entries may be NaN, which stands for missing.

    Returns:
      `Splits` of batches float32 `[batch, time, *event]`; `mean` is that of the steps of the training data.

    Raises:
      TypeError, ValueError: as in `pad`; also if a fraction is outside (0, 1).

    Example:
      ```python
      rng = np.random.default_rng(0)
      splits = data.from_sequences([rng.normal(size=[n, 3]) for n in range(5, 25)])
      splits.event_shape  # (None, 3)
      ```
    """
    parts = {"train": as_list(train, None, incomplete)}
    rows = np.random.default_rng(seed).permutation(len(parts["train"]))
    for name, part in (("validation", validation), ("test", test)):
        if isinstance(part, (int, float)):
            if not 0 < part < 1:
                raise ValueError(f"Expected {name} to be sequences or a fraction in (0, 1). Received: {part!r}")
            count = max(1, round(part * len(parts["train"])))
            parts[name], rows = [parts["train"][i] for i in rows[:count]], rows[count:]
        else:
            parts[name] = as_list(part, None, incomplete)
    parts["train"] = [parts["train"][i] for i in np.sort(rows)]
    event = parts["train"][0].shape[1:]
    for name, part in parts.items():
        if part[0].shape[1:] != event:
            raise ValueError(f"Expected steps of shape {event} in {name}, as in train. Received: {part[0].shape[1:]}")
    scale = 255.0 if parts["train"][0].dtype == np.uint8 and max(part.max() for part in parts["train"]) > 1 else 1.0
    total = sum(np.nansum(part, axis=0, dtype=np.float64) for part in parts["train"])
    count = sum((~np.isnan(part.astype(np.float64))).sum(axis=0) for part in parts["train"])
    return Splits(
        train=batches(parts["train"], batch_size, random.derive(seed, 1)),
        validation=batches(parts["validation"], batch_size, shuffle=False),
        test=batches(parts["test"], batch_size, shuffle=False),
        event_shape=(None, *event),  # type: ignore[arg-type]
        mean=np.asarray(total / np.maximum(count, 1) / scale, np.float32),
    )


def batches(
    sequences: Sequence[np.ndarray], batch_size: int, seed: int | None = None, shuffle: bool = True
) -> tf.data.Dataset:
    """Makes a pipeline of padded batches of sequences of similar length.

    Args:
      sequences: arrays `[time, *event]`.
      batch_size: sequences per batch; the last batch has the remaining ones.
      seed: integer seed of the order.
      shuffle: whether every pass draws a new order. Otherwise the order is that of the lengths, which are sorted; use
        `pad` to score sequences in their own order.

    Returns:
      A `tf.data.Dataset` of batches float32 `[batch, time, *event]`.
    """
    check_count(batch_size, "batch_size")
    lengths = np.array([len(part) for part in sequences])
    # Few different numbers of steps, since each has a compiled program of its own.
    sizes = tf.constant(np.minimum(2 ** np.ceil(np.log2(lengths)).astype(int), lengths.max()), tf.int32)
    event = sequences[0].shape[1:]
    ragged = tf.RaggedTensor.from_row_lengths(np.concatenate(list(sequences)), lengths)
    n, count = len(lengths), -(-len(lengths) // batch_size)
    window = WINDOW * batch_size if shuffle else n

    def make_pass(number: tf.Tensor) -> tf.data.Dataset:
        """Makes the rows of every batch of a pass; rows of -1 are none."""
        key = random.fold_in(random.as_seed(seed or 0), number)
        rows = tf.range(n)
        if shuffle:
            rows = tf.random.experimental.stateless_shuffle(rows, random.fold_in(key, 0))
        places = tf.range(n) // window * (int(lengths.max()) + 1) + tf.gather(tf.constant(lengths, tf.int32), rows)
        rows = tf.gather(rows, tf.argsort(places, stable=True))
        of_batches = tf.reshape(tf.pad(rows, [[0, count * batch_size - n]], constant_values=-1), [count, batch_size])
        if shuffle:
            # The batch that is not full comes last.
            full = n // batch_size
            order = tf.random.experimental.stateless_shuffle(tf.range(full), random.fold_in(key, 1))
            of_batches = tf.gather(of_batches, tf.concat([order, tf.range(full, count)], 0))
        return tf.data.Dataset.from_tensor_slices(of_batches)

    def gather(rows: tf.Tensor) -> tf.Tensor:
        rows = tf.boolean_mask(rows, rows >= 0)
        batch = tf.cast(tf.gather(ragged, rows), tf.float32)
        batch = batch.to_tensor(np.nan, shape=[None, None, *event])
        room = tf.reduce_max(tf.gather(sizes, rows)) - tf.shape(batch)[1]
        padded = tf.pad(batch, [[0, 0], [0, room], *[[0, 0]] * len(event)], constant_values=np.nan)
        return tf.ensure_shape(padded, [None, None, *event])

    numbers = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).take(1)
    dataset = numbers.flat_map(make_pass).apply(tf.data.experimental.assert_cardinality(count))
    return dataset.map(gather).prefetch(tf.data.AUTOTUNE)


def load_polyphonic(file: str, data_dir: Any) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Loads a `.mat` file of piano rolls (Boulanger-Lewandowski et al. 2012): uint8 `[time, 88]`, notes 21 to 108.

    Raises:
      FileNotFoundError: if the file is not in `data_dir`.
    """
    from scipy.io import loadmat

    path = Path(data_dir or ".") / file
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected {file} of Boulanger-Lewandowski et al. 2012 in data_dir (--data-dir). Received: {path}"
        )
    content = loadmat(path)
    train, validation, test = (
        [np.asarray(roll, np.uint8) for roll in content[name].ravel()]
        for name in ("traindata", "validdata", "testdata")
    )
    return train, validation, test
