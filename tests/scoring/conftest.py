import functools

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from iwae_tf.scoring import endpoint

LOADED = functools.cache(endpoint.Scorer)


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch):
    """Keeps SavedModels from test to test: loading and compiling one takes seconds."""
    monkeypatch.setattr(endpoint, "Scorer", LOADED)


@pytest.fixture(scope="session")
def expected(small, x):
    """The log-likelihoods of the twenty digits by the model itself."""
    return small.log_likelihood(x, 50, seed=0).numpy()


def feature(values):
    """Makes a feature of floats, of integers, or of one string of bytes."""
    if isinstance(values, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[values]))
    if values.dtype.kind == "f":
        return tf.train.Feature(float_list=tf.train.FloatList(value=values.ravel()))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values.ravel()))


def write_records(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


def example(values, name="x"):
    return tf.train.Example(features=tf.train.Features(feature={name: feature(values)})).SerializeToString()


def write(x, path):
    """Writes observations to a file of the kind that its name says."""
    table = pd.DataFrame(x.reshape(len(x), int(np.prod(x.shape[1:])))).rename(columns=lambda i: f"pixel_{i}")
    {
        ".npy": lambda: np.save(path, x),
        ".npz": lambda: np.savez_compressed(path, x=x, label=np.zeros(len(x))),
        ".csv": lambda: table.to_csv(path, index=False),
        ".parquet": lambda: table.to_parquet(path, row_group_size=6),
        ".tfrecord": lambda: write_records(path, map(example, x)),
    }[path.suffix]()
    return path


def read(path):
    """Reads scores."""
    return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
