"""Data sets by name."""

import socket
from pathlib import Path

import numpy as np
import tensorflow as tf

from iwae_tf.checks import check_choice
from iwae_tf.data.splits import from_arrays


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
    check_choice(name, "name", NAMES)
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
