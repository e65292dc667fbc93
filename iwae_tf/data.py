"""Data sets as `tf.data` pipelines of batches."""

import functools
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from iwae_tf import intake, random, tables
from iwae_tf.layers import rules

from_dataframe = tables.from_dataframe


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


class Execution(NamedTuple):
    """The data of the steps that run as one program.

    Attributes:
      steps: full batches, each array `[steps, batch, ...]`.
      rest: the last batch of an epoch where it is not full, each array `[rest, ...]`; no rows anywhere else.
    """

    steps: Any
    rest: Any


def batches(arrays, batch_size, seed=None, shuffle=True):
    """Makes a pipeline of batches of arrays that share their first axis.

    Args:
      arrays: an array or a structure of arrays and `None`.
      batch_size: rows per batch; the last batch holds the rest.
      seed: integer seed of the order.
      shuffle: whether the order is drawn anew at every pass.

    Returns:
      A `tf.data.Dataset` of the same structure. Its attribute `executions`, a function of a number of steps and of the
      passes to leave out, makes an endless pipeline of the same batches, pass after pass, for a program that runs so
      many steps at once: of `Execution`s. `arrays` and `batch_size` are those given.
    """
    arrays = keras.tree.map_structure(lambda a: None if a is None else tf.convert_to_tensor(a), arrays)
    size = len(next(a for a in keras.tree.flatten(arrays) if a is not None))

    def order(num_steps):
        """Makes the row numbers of executions, the same batches in the same order for any number of steps."""

        def epoch(number):
            rows = tf.range(size)
            if shuffle:
                key = random.fold_in(random.as_seed(seed or 0), number)
                rows = tf.random.experimental.stateless_shuffle(rows, key)
            whole = size // (num_steps * batch_size) * num_steps * batch_size
            full = size // batch_size * batch_size
            executions = tf.data.Dataset.from_tensor_slices(tf.reshape(rows[:whole], [-1, num_steps, batch_size]))
            executions = executions.map(lambda steps: Execution(steps, steps[0, :0]))
            if whole < size:
                last = Execution(tf.reshape(rows[whole:full], [-1, batch_size]), rows[full:])
                executions = executions.concatenate(tf.data.Dataset.from_tensors(last))
            return executions

        # One permutation of the row numbers an epoch, and one gather: tf.data's own shuffle handles every row.
        numbers = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).take(1)
        count = -(-size // (num_steps * batch_size))
        return numbers.flat_map(epoch).apply(tf.data.experimental.assert_cardinality(count))

    def gather(rows):
        return keras.tree.map_structure(lambda a: None if a is None else tf.gather(a, rows), arrays)

    @functools.lru_cache(1)  # every call of fit asks for the same
    def executions(num_steps, first_pass=0):
        passes = order(num_steps)
        # Row numbers only are drawn and left out, so that this takes a millisecond or so for each pass.
        rows = passes.repeat().skip(first_pass * passes.cardinality())
        dataset = rows.map(lambda e: Execution(gather(e.steps), gather(e.rest))).prefetch(1)
        # There is nothing to tune, and the tuner's thread costs more than the data: up to two seconds a call of fit.
        options = tf.data.Options()
        options.autotune.enabled = False
        options.experimental_optimization.apply_default_optimizations = False
        return dataset.with_options(options)

    dataset = order(1).map(lambda e: gather(tf.concat([tf.reshape(e.steps, [-1]), e.rest], 0)))
    dataset = dataset.prefetch(tf.data.AUTOTUNE)
    dataset.executions, dataset.arrays, dataset.batch_size = executions, arrays, batch_size
    return dataset


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
    parts = {"train": intake.as_array(train)}
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
            parts[name] = intake.as_array(part)
    parts["train"] = parts["train"][np.sort(order)]
    for name, part in parts.items():
        rules.check_numeric(part)
        found = [rules.finite(part)]
        rules.check(rules.admit_missing(found) if incomplete else found)
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


def load(name, batch_size=20, data_dir=None, seed=0):
    """Loads a data set of images as uint8 batches `[batch, height, width, 1]`, white on black.

    | name | train / validation / test | event shape | source |
    |---|---|---|---|
    | `digits` | 1297 / 250 / 250 | (8, 8, 1) | bundled with scikit-learn, no network; 0..16 scaled to 0..255 |
    | `mnist` | 59600 / 400 / 10000 (Burda et al. 2015) | (28, 28, 1) | TFDS |
    | `fashion_mnist` | 59600 / 400 / 10000 | (28, 28, 1) | TFDS |
    | `binarized_mnist` | 50000 / 10000 / 10000, values 0 and 255 (Larochelle) | (28, 28, 1) | TFDS |
    | `omniglot` | 17935 / 1345 / 13180, resized from 105x105: not Burda's 28x28 files | (28, 28, 1) | TFDS |

    Args:
      name: one of these.
      batch_size: observations per batch.
      data_dir: folder of the prepared TFDS data; they are downloaded to it where it lacks them. `None` is TFDS's own.
      seed: integer seed of the order of the training data. Which observation is in which part is always the same.

    Returns:
      `Splits`.

    Raises:
      ValueError: if there is no such name; the message lists those there are.
      FileNotFoundError: if the data are not in `data_dir` and cannot be downloaded.
    """
    if name not in NAMES:
        raise ValueError(f"Expected a data set among {', '.join(NAMES)}. Received: {name!r}")
    train, validation, test = _digits() if name == "digits" else _tfds(name, data_dir)
    return from_arrays(train, validation, test, batch_size, seed)


def _digits():
    from sklearn.datasets import load_digits

    images = np.round(load_digits().images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    images = images[np.random.default_rng(0).permutation(len(images))]
    return images[:1297], images[1297:1547], images[1547:]


# TFDS splits that make train, validation and test, and the host TFDS downloads the files from.
_TFDS = {
    "mnist": ("train[:59600]", "train[59600:]", "test", "storage.googleapis.com"),
    "fashion_mnist": ("train[:59600]", "train[59600:]", "test", "fashion-mnist.s3-website.eu-central-1.amazonaws.com"),
    "binarized_mnist": ("train", "validation", "test", "www.cs.toronto.edu"),
    "omniglot": ("train[:17935]", "train[17935:]", "test", "github.com"),
}

#: Names that `load` knows.
NAMES = ("digits", *_TFDS)


def _tfds(name, data_dir):
    import tensorflow_datasets as tfds

    *splits, host = _TFDS[name]
    builder = tfds.builder(name, data_dir=data_dir, try_gcs=False)
    if not builder.is_prepared():
        # Asked before TFDS is: without a network it tries for minutes, and leaves empty folders behind.
        try:
            socket.getaddrinfo(host, 443)
            builder.download_and_prepare()
        except OSError as error:
            raise FileNotFoundError(
                f"Data set {name!r} is not prepared in {Path(builder.data_dir).parent.parent} and could not be "
                f"downloaded from {host} ({error}). Either load it once where there is a network, or give the folder "
                f"of prepared TFDS data as data_dir (--data-dir). The data set 'digits' needs neither."
            ) from error
    parts = builder.as_dataset(split=splits, shuffle_files=False)
    return [np.concatenate([_as_uint8(name, batch["image"].numpy()) for batch in part.batch(1000)]) for part in parts]


def _as_uint8(name, images):
    if name == "binarized_mnist":  # values 0 and 1
        return images * np.uint8(255)
    if name == "omniglot":  # black ink on white paper, 105x105x3
        ink = 255.0 - tf.cast(images[..., :1], tf.float32)
        return tf.cast(tf.round(tf.image.resize(ink, (28, 28), method="area")), tf.uint8).numpy()
    return images
