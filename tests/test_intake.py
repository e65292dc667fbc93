import keras
import numpy as np
import pytest
import tensorflow as tf

from iwae_tf import intake


class Sequence(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, i):
        return (np.full((3, 4), i),)


def test_first_x():
    x = np.arange(8).reshape(4, 2)
    dataset = tf.data.Dataset.from_tensor_slices((x, x)).batch(3)
    for source, expected in (
        (x, x),
        (tf.constant(x), x),
        ((x, None), x),
        (dataset, x[:3]),
        (Sequence(), np.zeros((3, 4))),
    ):
        np.testing.assert_array_equal(intake.first_x(source), expected)
    assert intake.first_x(iter([x])) is None


def test_split_validation_takes_the_last_rows():
    x = np.arange(10)
    (train, none, weight), (held, _, _) = intake.split_validation((x, None, x * 2), 0.2)
    np.testing.assert_array_equal(train, x[:8])
    np.testing.assert_array_equal(weight, 2 * x[:8])
    np.testing.assert_array_equal(held, x[8:])
    assert none is None
    assert len(intake.split_validation((x,), 0.5)[1][0]) == 5
    for fraction in (-0.1, 1.0, 0.99):  # int(10 * 0.01) leaves no row to train on
        with pytest.raises(ValueError, match="validation_split"):
            intake.split_validation((x,), fraction)


def test_x_batches():
    x = np.arange(10).reshape(5, 2)
    batches, size = intake.x_batches(x, batch_size=2)
    assert size == 3
    np.testing.assert_array_equal(np.concatenate(list(batches)), x)
    batches, size = intake.x_batches(tf.data.Dataset.from_tensor_slices((x, x)).batch(3))
    assert size == 2 and len(next(iter(batches))) == 3
    with pytest.raises(TypeError, match=r"Expected an array or a tf.data.Dataset"):
        intake.x_batches("digits")
    with pytest.raises(ValueError, match="at least one"):
        intake.x_batches(x[:0])
