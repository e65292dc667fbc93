"""Data sets by name."""

import dataclasses
import os
import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from iwae_tf.checks import add_name, check_choice
from iwae_tf.data.sequences import from_sequences, load_polyphonic
from iwae_tf.data.splits import Splits, from_arrays
from iwae_tf.types import Array

#: The arrays of training, validation and test data; then the labels of the test and of the validation data, if any.
Arrays: TypeAlias = (
    tuple[Array, Array, Array]
    | tuple[Array, Array, Array, npt.ArrayLike]
    | tuple[Array, Array, Array, npt.ArrayLike, npt.ArrayLike]
)
#: A function from `data_dir` to the arrays.
Loader: TypeAlias = Callable[[str | os.PathLike | None], Arrays]

#: The registered data sets by name.
NAMES: dict[str, Loader] = {}


def register(name: str, load: Loader) -> None:
    """Gives a data set a name, for `load`, `runs.Config`, the command line and the tuner.

    Runs of the command line and the tuner need images, uint8 or floats in [0, 1].

    Args:
      name: the new name.
      load: function from `data_dir` (a path or `None`) to the training, validation and test data: three arrays
        `[n, *event_shape]`, as for `from_arrays`. A fourth, `[n]`, may hold the classes of the test data, and a fifth
        those of the validation data.

    Raises:
      ValueError: if the name is registered already.
      TypeError: if `load` is not a function.

    Example:
      ```python
      from sklearn.datasets import load_wine

      def load_rows(data_dir):
          rows, cultivars = load_wine(return_X_y=True)
          rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
          return rows[::2], rows[1::4], rows[3::4], cultivars[3::4], cultivars[1::4]

      data.register("wine", load_rows)
      data.load("wine").event_shape  # (13,)
      ```
    """
    add_name(NAMES, name, load, "a function from data_dir to three arrays")


def load(name: str, batch_size: int = 20, data_dir: str | os.PathLike | None = None, seed: int = 0) -> Splits:
    """Loads a data set by its name.

    The data sets of the package are images, uint8 `[batch, height, width, 1]`, white on black; `register` adds others.

    | name | train / validation / test | event shape | labels | source |
    |---|---|---|---|---|
    | `digits` | 1297 / 250 / 250 | (8, 8, 1) | digits | bundled with scikit-learn; 0..16 scaled to 0..255 |
    | `mnist` | 59600 / 400 / 10000 (Burda et al. 2015) | (28, 28, 1) | digits | TFDS |
    | `fashion_mnist` | 59600 / 400 / 10000 | (28, 28, 1) | garments, 0 to 9 | TFDS |
    | `binarized_mnist` | 50000 / 10000 / 10000, values 0 and 255 (Larochelle) | (28, 28, 1) | none | TFDS |
    | `omniglot` | 17935 / 1345 / 13180, resized from 105x105, not Burda's | (28, 28, 1) | alphabets | TFDS |
    | `digit_rows` | digits as sequences of 8 rows of binary pixels | (None, 8) | none | scikit-learn |
    | `jsb` | 229 / 76 / 77 sequences of notes (Boulanger-Lewandowski et al. 2012) | (None, 88) | none | `.mat` file |
    | `nottingham` | 694 / 173 / 170 sequences, likewise | (None, 88) | none | `.mat` file |
    | `musedata` | 524 / 135 / 124 sequences, likewise | (None, 88) | none | `.mat` file |
    | `piano_midi` | 87 / 12 / 25 sequences, likewise | (None, 88) | none | `.mat` file |

    Args:
      name: one of `NAMES`.
      batch_size: observations per batch.
      data_dir: folder of the prepared TFDS data; missing data are downloaded to it. `None` is TFDS's own folder.
      seed: integer seed of the order of the training data. The split into parts does not depend on it.

    Returns:
      `Splits`.

    Raises:
      ValueError: if the name is not registered; the message lists the names. Also if a registered data set does not
        have a label for each of the test or the validation data.
      FileNotFoundError: if the data are not in `data_dir` and cannot be downloaded.

    Example:
      ```python
      data.load("digits", batch_size=100)  # <Splits event_shape=(8, 8, 1), batches: train=13, validation=3, test=3>
      ```
    """
    train, validation, test, *labels = NAMES[check_choice(name, "name", NAMES)](data_dir)
    # Sequences of different lengths come in a list, everything else in an array.
    make = from_sequences if isinstance(train, list) else from_arrays
    splits = make(train, validation, test, batch_size, seed)
    test_labels, validation_labels, *_ = (*labels, None, None)
    return dataclasses.replace(
        splits,
        test_labels=_check_labels(test_labels, test),
        validation_labels=_check_labels(validation_labels, validation),
    )


def _check_labels(labels: npt.ArrayLike | None, part: Array) -> np.ndarray | None:
    """Returns the labels of a part, if it has any, as an array, one for each observation."""
    if labels is None:
        return None
    labels = np.asarray(labels)
    if labels.shape != (n := len(np.asarray(part)),):
        raise ValueError(f"Expected a label for each of {n} observations. Received: shape {labels.shape}")
    return labels


def _load_digits(data_dir: str | os.PathLike | None) -> Arrays:
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.images))
    images = np.round(digits.images[order] * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    labels = digits.target[order]
    return images[:1297], images[1297:1547], images[1547:], labels[1547:], labels[1297:1547]


def _load_digit_rows(data_dir: str | os.PathLike | None) -> tuple[Any, ...]:
    """Loads digits as sequences of 8 rows, from top to bottom, of 8 binary pixels."""
    parts = (np.asarray(part)[..., 0] for part in _load_digits(data_dir)[:3])
    return tuple(list((part >= 128).astype(np.uint8)) for part in parts)


def _load_tfds(
    name: str,
    splits: Sequence[str],
    host: str,
    convert: Callable[[np.ndarray], np.ndarray] | None,
    label: str | None,
    data_dir: str | os.PathLike | None,
) -> Arrays:
    """Loads images of TFDS.

    Args:
      name: name of the data set in TFDS.
      splits: the TFDS splits that make training, validation and test data.
      host: the host from which TFDS downloads the files.
      convert: function from a batch of images of TFDS to uint8 `[batch, height, width, 1]`, white on black. `None`
        keeps the images.
      label: the feature of TFDS that holds the class of an image; `None` if there is none.
      data_dir: folder of the prepared data.
    """
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=data_dir, try_gcs=False)
    if not builder.is_prepared():
        # Looks up the host first: without a network TFDS would try for minutes, and leave empty folders behind.
        try:
            socket.getaddrinfo(host, 443)
            builder.download_and_prepare()
        except OSError as error:
            raise FileNotFoundError(
                f"Data set {name!r} is not prepared in {Path(builder.data_dir).parent.parent} and could not be "
                f"downloaded from {host} ({error}). Load it once on a machine with a network, or pass the folder of "
                "prepared TFDS data as data_dir (--data-dir). The data set 'digits' needs neither."
            ) from error
    arrays, labels = [], []
    for dataset in builder.as_dataset(split=list(splits), shuffle_files=False):
        images, classes = [], []
        for batch in dataset.batch(1000).as_numpy_iterator():
            images.append(convert(batch["image"]) if convert else batch["image"])
            classes.append(batch.get(label, ()))
        arrays.append(np.concatenate(images))
        labels.append(np.concatenate(classes))
    train, validation, test = arrays
    return (train, validation, test, labels[2], labels[1]) if label else (train, validation, test)


def _scale_mask(images: np.ndarray) -> np.ndarray:
    """Scales values 0 and 1 to 0 and 255."""
    return images * np.uint8(255)


def _invert_and_resize(images: np.ndarray) -> np.ndarray:
    """Converts black ink on white paper, `[batch, 105, 105, 3]`, to white ink on black, `[batch, 28, 28, 1]`."""
    ink = 255.0 - tf.cast(images[..., :1], tf.float32)
    return tf.cast(tf.round(tf.image.resize(ink, (28, 28), method="area")), tf.uint8).numpy()


#: The data sets of TFDS: the splits, the host, the conversion and the label, as for `_load_tfds`.
_TFDS: dict[str, tuple[Sequence[str], str, Callable[[np.ndarray], np.ndarray] | None, str | None]] = {
    "mnist": (("train[:59600]", "train[59600:]", "test"), "storage.googleapis.com", None, "label"),
    "fashion_mnist": (
        ("train[:59600]", "train[59600:]", "test"),
        "fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        None,
        "label",
    ),
    "binarized_mnist": (("train", "validation", "test"), "www.cs.toronto.edu", _scale_mask, None),
    "omniglot": (("train[:17935]", "train[17935:]", "test"), "github.com", _invert_and_resize, "alphabet"),
}

#: The files of piano rolls.
_POLYPHONIC = {
    "jsb": "JSB_Chorales.mat",
    "nottingham": "Nottingham.mat",
    "musedata": "MuseData.mat",
    "piano_midi": "Piano_midi.mat",
}

register("digits", _load_digits)
for _name, _row in _TFDS.items():
    register(_name, partial(_load_tfds, _name, *_row))
register("digit_rows", _load_digit_rows)
for _name, _file in _POLYPHONIC.items():
    register(_name, partial(load_polyphonic, _file))
