import numpy as np
import pytest
import tensorflow as tf

from iwae_tf import data
from iwae_tf.data.sequences import batches

LENGTHS = [3, 9, 4, 5, 17, 3, 8, 2, 6, 30, 12]


@pytest.fixture
def parts():
    return [np.full([n, 2], i, np.float32) for i, n in enumerate(LENGTHS)]


def test_padding(parts):
    padded = data.pad(parts)
    assert padded.shape == (11, 30, 2) and padded.dtype == np.float32
    np.testing.assert_array_equal((~np.isnan(padded)).all(2).sum(1), LENGTHS)
    np.testing.assert_array_equal(
        data.pad(tf.ragged.constant([[1, 2], [3]], inner_shape=()).with_values(np.float32([[1, 0], [2, 0], [3, 0]]))),
        data.pad([np.float32([[1, 0], [2, 0]]), np.float32([[3, 0]])]),
    )
    np.testing.assert_array_equal(
        data.pad(np.ones([2, 3, 1]), lengths=[3, 1])[:, :, 0], [[1, 1, 1], [1, np.nan, np.nan]]
    )


def test_every_sequence_comes_once_in_a_pass_with_the_partial_batch_at_the_end(parts):
    dataset = batches(parts, 2, seed=0)
    orders = []
    for _ in range(2):
        seen = []
        assert [len(batch) for batch in dataset] == [2, 2, 2, 2, 2, 1]
        for batch in dataset:
            lengths = (~np.isnan(batch)).all(2).sum(1)
            assert batch.shape[1] in (2, 4, 8, 16, 30) and lengths.max() <= batch.shape[1] < 2 * lengths.max()
            seen += batch.numpy()[:, 0, 0].tolist()
        assert sorted(seen) == list(range(11))
        orders.append(seen)
    assert orders[0] != orders[1]
    assert [x.numpy()[:, 0, 0].tolist() for x in batches(parts, 2, seed=0)] == [
        x.numpy()[:, 0, 0].tolist() for x in batches(parts, 2, seed=0)
    ]


def test_from_sequences(parts):
    splits = data.from_sequences(parts, validation=parts[:2], test=0.2, batch_size=3)
    assert splits.event_shape == (None, 2)
    counts = [sum(len(x) for x in part) for part in (splits.train, splits.validation, splits.test)]
    assert counts == [9, 2, 2]
    rows = np.concatenate([x.numpy().reshape(-1, 2) for x in splits.train])
    np.testing.assert_allclose(splits.mean, np.nanmean(rows, 0), rtol=1e-6)


@pytest.mark.parametrize(
    "call, expected",
    [
        (lambda: data.pad([]), "Expected at least one sequence"),
        (lambda: data.pad([np.zeros([0, 2])]), r"at least one step. Received: \(0, 2\) at 0"),
        (lambda: data.pad([np.zeros([2, 2]), np.zeros([2, 3])]), r"Expected steps of shape \(2,\), as in the first"),
        (lambda: data.pad([np.full([2, 2], np.nan)]), "finite"),
        (lambda: data.pad(np.zeros([2, 3, 1]), lengths=[4, 1]), "Expected lengths from 1 to 3. Received: 4 at 0"),
        (lambda: data.pad(np.zeros([2, 3, 1]), lengths=[0, 1]), "Received: 0 at 0"),
        (lambda: data.pad(np.zeros([2, 3, 1]), lengths=[1]), "Expected a length for each of 2 sequences"),
        (lambda: data.pad(np.zeros([1, 3, 1]), lengths=[[True, False, True]]), "all padding at the end"),
        (lambda: data.pad([np.zeros([5, 1])], num_steps=3), "Expected num_steps of at least 5"),
        (lambda: data.from_sequences([np.zeros([3, 1])] * 9, test=1.5), r"a fraction in \(0, 1\)"),
        (lambda: data.load("jsb", data_dir="nowhere"), "Expected JSB_Chorales.mat"),
    ],
)
def test_bad_sequences(call, expected):
    with pytest.raises((ValueError, FileNotFoundError), match=expected):
        call()


def test_piano_rolls(tfds_dir):
    folder = tfds_dir.parent / "data" / "polyphonic" if hasattr(tfds_dir, "parent") else None
    if folder is None or not folder.is_dir():
        pytest.skip("no piano rolls beside the prepared data")
    splits = data.load("jsb", batch_size=4, data_dir=folder)
    assert [sum(len(x) for x in part) for part in (splits.train, splits.validation, splits.test)] == [229, 76, 77]
    assert splits.event_shape == (None, 88) and splits.mean.sum() == pytest.approx(3.9, abs=0.1)
