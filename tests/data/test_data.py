import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits, load_iris

import iwae_tf
from iwae_tf import data
from iwae_tf.runs import Config

SIZES = {"mnist": (59600, 400, 10000), "binarized_mnist": (50000, 10000, 10000), "omniglot": (17935, 1345, 13180)}


def rows(dataset):
    return np.concatenate(list(dataset.as_numpy_iterator()))


def test_digits():
    digits = data.load("digits")
    parts = [rows(p) for p in (digits.train, digits.validation, digits.test)]
    assert [len(p) for p in parts] == [1297, 250, 250]
    assert digits.event_shape == (8, 8, 1) and digits.mean.shape == (8, 8, 1)
    assert all(p.dtype == np.uint8 and p.max() == 255 for p in parts)
    np.testing.assert_allclose(digits.mean, parts[0].mean(0) / 255, atol=1e-6)
    # The parts are the bundled digits, each once.
    expected = np.sort(np.round(load_digits().images * 255 / 16).reshape(1797, -1).sum(1))
    np.testing.assert_array_equal(np.sort(np.concatenate(parts).reshape(1797, -1).astype(int).sum(1)), expected)
    bundled = {image.tobytes(): label for image, label in zip(*load_digits(return_X_y=True), strict=True)}
    for part, labels in ((parts[1], digits.validation_labels), (parts[2], digits.test_labels)):
        values = np.round(part.reshape(250, -1) * (16 / 255))
        np.testing.assert_array_equal(labels, [bundled[row.tobytes()] for row in values])


@pytest.mark.parametrize("name", SIZES)
def test_tfds(name, tfds_dir):
    splits = data.load(name, batch_size=200, data_dir=tfds_dir)
    assert splits.event_shape == (28, 28, 1)
    parts = [rows(p) for p in (splits.train, splits.validation, splits.test)]
    assert tuple(map(len, parts)) == SIZES[name]
    assert all(p.dtype == np.uint8 and p.shape[1:] == (28, 28, 1) for p in parts)
    assert all(p.max() > 200 and p.mean() < 100 for p in parts), "white ink on black"
    if name == "binarized_mnist":
        assert set(np.unique(parts[0])) == {0, 255} and splits.test_labels is splits.validation_labels is None
    else:  # ten digits, or the 20 alphabets of the test data
        assert (len(splits.validation_labels), len(splits.test_labels)) == SIZES[name][1:]
        assert len(np.unique(splits.test_labels)) == {"mnist": 10, "omniglot": 20}[name]


def test_mnist_validation_is_the_end_of_the_training_set(tfds_dir):
    import tensorflow_datasets as tfds

    splits = data.load("mnist", data_dir=tfds_dir)
    kept = tfds.load("mnist", split="train[59600:]", data_dir=tfds_dir, download=False)
    entries = list(kept.as_numpy_iterator())
    np.testing.assert_array_equal(rows(splits.validation), np.stack([entry["image"] for entry in entries]))
    np.testing.assert_array_equal(splits.validation_labels, [entry["label"] for entry in entries])
    images, labels = map(np.stack, zip(*tfds.load("mnist", split="test[:50]", data_dir=tfds_dir, download=False,
                                                  as_supervised=True).as_numpy_iterator(), strict=True))  # fmt: skip
    np.testing.assert_array_equal(next(iter(splits.test)), images[:20])
    np.testing.assert_array_equal(splits.test_labels[:50], labels)


def test_order_is_new_in_every_epoch_and_fixed_by_the_seed():
    first, again, other = (data.load("digits", seed=seed).train for seed in (0, 0, 1))
    epochs = [[rows(d) for _ in range(2)] for d in (first, again, other)]
    np.testing.assert_array_equal(epochs[0], epochs[1])
    assert (epochs[0][0] != epochs[0][1]).any() and (epochs[0][0] != epochs[2][0]).any()
    assert epochs[0][0].astype(int).sum() == epochs[0][1].astype(int).sum() == epochs[2][0].astype(int).sum()


@pytest.mark.parametrize("size", [103, 100, 7])
@pytest.mark.parametrize("shuffle", [True, False])
def test_executions_hold_the_same_batches(size, shuffle):
    x = np.arange(size)[:, np.newaxis]
    by_batch = data.batches(x, 10, seed=3, shuffle=shuffle)
    expected = [b.tolist() for _ in range(3) for b in by_batch.as_numpy_iterator()]
    endless, in_a_pass = data.batches(x, 10, seed=3, shuffle=shuffle).executions(4), -(-len(expected) // 3 // 4)
    executions = list(endless.take(3 * in_a_pass).as_numpy_iterator())
    found = []
    for steps, rest in executions:
        found += [*steps.tolist(), *([rest.tolist()] if len(rest) else [])]
    assert found == expected
    later = data.batches(x, 10, seed=3, shuffle=shuffle).executions(4, first_pass=2)
    for again, steps in zip(later.take(in_a_pass).as_numpy_iterator(), executions[2 * in_a_pass :], strict=True):
        np.testing.assert_array_equal(again.steps, steps.steps)


def test_batches_keep_rows_together():
    x = np.arange(10.0).reshape(10, 1)
    batches = list(data.batches((x, None, x[:, 0]), 4, seed=0))
    assert [len(b[0]) for b in batches] == [4, 4, 2]
    for values, nothing, same in batches:
        assert nothing is None
        np.testing.assert_array_equal(values[:, 0], same)
    assert int(tf.data.Dataset.cardinality(data.batches(x, 3))) == 4


def test_from_arrays_sets_parts_aside():
    x = np.arange(100, dtype=np.uint8).reshape(100, 1)
    splits = data.from_arrays(x, validation=0.2, test=x[:7], batch_size=9)
    parts = [rows(p)[:, 0] for p in (splits.train, splits.validation, splits.test)]
    assert [len(p) for p in parts] == [80, 20, 7]
    assert set(parts[0]) | set(parts[1]) == set(range(100))
    np.testing.assert_allclose(splits.mean, parts[0].mean() / 255, rtol=1e-6)
    floats = data.from_arrays(x / 100.0)
    assert floats.train.element_spec.dtype == tf.float32
    np.testing.assert_allclose(floats.mean, rows(floats.train).mean(), rtol=1e-5)


def test_unknown_name():
    with pytest.raises(ValueError, match=r"digits, mnist, .*, omniglot, .*, piano_midi\. Received: 'cifar'"):
        data.load("cifar")


def test_registered_data_set():
    x = load_iris().data
    folders = []

    def load_rows(data_dir):
        folders.append(data_dir)
        return x[::2], x[1::4], x[3::4]

    data.register("iris", load_rows)
    splits = data.load("iris", batch_size=25, data_dir="folder")
    assert folders == ["folder"] and "iris" in data.NAMES and Config(dataset="iris").dataset == "iris"
    np.testing.assert_array_equal(rows(splits.validation), x[1::4].astype(np.float32))
    assert splits.test_labels is None
    model = iwae_tf.mlp(splits.event_shape, (2,), ((8,),), likelihood="normal", seed=0)
    model.compile(keras.optimizers.Adam(1e-2))
    history = model.fit(splits.train, validation_data=splits.validation, epochs=3, verbose=0).history
    assert history["val_loss"][-1] < history["val_loss"][0]
    with pytest.raises(ValueError, match=r"not registered yet. Received: 'iris'"):
        data.register("iris", load_rows)
    with pytest.raises(TypeError, match="function from data_dir to three arrays"):
        data.register("iris-rows", x)


def test_labels_of_a_registered_data_set():
    x, species = load_iris(return_X_y=True)
    data.register("iris", lambda data_dir: (x[::2], x[1::4], x[3::4], species[3::4]))
    splits = data.load("iris")
    np.testing.assert_array_equal(splits.test_labels, species[3::4])
    assert splits.validation_labels is None
    data.register("irises", lambda data_dir: (x[::2], x[1::4], x[3::4], species[3::4], species[1::4]))
    np.testing.assert_array_equal(data.load("irises").validation_labels, species[1::4])
    data.register("mislabelled", lambda data_dir: (x[::2], x[1::4], x[3::4], species))
    with pytest.raises(ValueError, match=r"a label for each of 37 observations. Received: shape \(150,\)"):
        data.load("mislabelled")


def test_missing_data_name_the_set_the_folder_and_the_ways_out(tmp_path):
    """The one thing that asks for the network, which no test has."""
    with pytest.raises(FileNotFoundError) as caught:
        data.load("mnist", data_dir=tmp_path)
    for part in ("'mnist'", str(tmp_path), "network", "--data-dir", "digits"):
        assert part in str(caught.value)
    assert "no network in tests" in str(caught.value.__cause__)
    assert not list(tmp_path.iterdir()), "nothing half-made is left behind"


def test_bad_arrays():
    x = np.zeros((10, 3), np.uint8)
    with pytest.raises(ValueError, match=r"n, \*event_shape"):
        data.from_arrays(np.zeros(5))
    with pytest.raises(ValueError, match="at least one observation in test"):
        data.from_arrays(x, test=x[:0])
    with pytest.raises(ValueError, match="at least one observation in validation"):
        data.from_arrays(x, validation=0.01)
    with pytest.raises(ValueError, match=r"shape \(3,\) in test, as in train. Received: \(4,\)"):
        data.from_arrays(x, test=np.zeros((2, 4), np.uint8))
    with pytest.raises(ValueError, match="NaN"):
        data.from_arrays(x + np.nan)
    with pytest.raises(TypeError, match="numbers"):
        data.from_arrays(np.full((3, 2), "a"))
    with pytest.raises(ValueError, match="fraction"):
        data.from_arrays(x, validation=1.5)
