import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy import sparse

import iwae_tf
from iwae_tf import data, layers, objectives
from iwae_tf.data import inputs, streams

X = np.arange(12, dtype=np.float32).reshape(6, 2)
NAN = np.nan


@pytest.fixture(scope="module")
def model():
    return iwae_tf.mlp((2,), (1,), ((3,),), likelihood="normal", objective=objectives.ELBO())


ALIKE = {
    "array": X,
    "tensor": tf.constant(X),
    "bfloat16": tf.constant(X, tf.bfloat16),
    "lists": X.tolist(),
    "frame": pd.DataFrame(X, index=list("fedcba")),
    "ints and floats": pd.DataFrame({"a": X[:, 0].astype(int), "b": X[:, 1]}),
    "pandas' own dtypes": pd.DataFrame({"a": pd.array(X[:, 0].astype(int), "Int64"), "b": X[:, 1]}),
    "sparse matrix": sparse.csr_matrix(X),
    "sparse array": sparse.coo_array(X),
    "sparse tensor": tf.sparse.from_dense(X),
    "masked array that hides nothing": np.ma.masked_array(X, np.zeros_like(X, bool)),
}


@pytest.mark.parametrize("kind", ALIKE)
def test_as_array(kind):
    array = inputs.as_array(ALIKE[kind])
    assert inputs.is_array(ALIKE[kind]) and isinstance(array, np.ndarray)
    np.testing.assert_array_equal(array, X)


def test_what_is_hidden_or_absent_is_missing():
    masked = inputs.as_array(np.ma.masked_array([[-999, 1], [2, 3]], [[True, False], [False, False]]))
    np.testing.assert_array_equal(masked, [[NAN, 1], [2, 3]])
    frame = pd.DataFrame({"a": pd.array([1, None], "Int64"), "b": [True, False]})
    np.testing.assert_array_equal(inputs.as_array(frame), [[1, 1], [NAN, 0]])


@pytest.mark.parametrize(
    ("x", "error"),
    [
        ([[1], [1, 2]], ValueError),
        (tf.ragged.constant([[1], [1, 2]]), ValueError),
        (pd.DataFrame({"a": ["x"]}), TypeError),
    ],
)
def test_what_is_no_array(x, error):
    with pytest.raises(error, match=r"Expected .* Received"):
        inputs.as_array(x)


def test_a_frame_of_a_table_goes_by_the_names_of_its_columns():
    frame = pd.DataFrame({"a": [0.5, 1.5, 2.5], "b": ["x", "y", "x"]})
    table = data.from_dataframe(frame)
    model = iwae_tf.tabular(table, (2,), ((3,),), objective=objectives.ELBO(), seed=0)
    np.testing.assert_array_equal(model.as_input(frame[["b", "a"]]), table.array)
    np.testing.assert_array_equal(
        model.log_likelihood(frame[["b", "a"]], 5, seed=0), model.log_likelihood(table.array, 5, seed=0)
    )
    with pytest.raises(ValueError, match="b"):
        model.log_likelihood(frame[["a"]], 5)


def test_admit_gives_floats_the_dtype_of_the_model(model):
    assert inputs.as_input(model, X.astype(np.float64)).dtype == np.float32
    assert inputs.as_input(model, X.astype(np.int16)).dtype == np.int16


def test_admit_in_a_graph_that_is_being_made():
    model = iwae_tf.mlp((2,), (1,), ((3,),), objective=objectives.ELBO(), preprocessing=layers.StochasticBinarization())
    run = tf.function(lambda: model.log_weights(X > 3, 2, seed=0))
    np.testing.assert_allclose(run(), model.log_weights(X > 3, 2, seed=0), rtol=1e-5)


def test_split_validation_takes_the_last_rows():
    x = np.arange(10)
    (train, none, weight), (held, _, _) = streams.split_validation((x, None, x * 2), 0.2)
    np.testing.assert_array_equal(train, x[:8])
    np.testing.assert_array_equal(weight, 2 * x[:8])
    np.testing.assert_array_equal(held, x[8:])
    assert none is None
    assert len(streams.split_validation((x, None, None), 0.5)[1][0]) == 5
    for fraction in (-0.1, 1.0, 0.99):  # int(10 * 0.01) leaves no row to train on
        with pytest.raises(ValueError, match="validation_split"):
            streams.split_validation((x, None, None), fraction)
    frame = pd.DataFrame({"a": range(10)}, index=range(10, 0, -1))
    assert streams.split_validation((frame, None, None), 0.2)[1][0].a.tolist() == [8, 9], "rows, not labels"


def test_x_batches(model):
    batches, size = inputs.iterate_x(model, X, batch_size=4)
    assert size == 2
    np.testing.assert_array_equal(np.concatenate(list(batches)), X)
    batches, size = inputs.iterate_x(model, tf.data.Dataset.from_tensor_slices((X, X)).batch(4))
    assert size == 2 and len(next(iter(batches))) == 4
    with pytest.raises(TypeError, match=r"Expected an array or a tf.data.Dataset"):
        inputs.iterate_x(model, "digits")
    with pytest.raises(ValueError, match="at least one"):
        inputs.iterate_x(model, X[:0])


def test_first_rows(model):
    dataset = tf.data.Dataset.from_tensor_slices(X).batch(4)
    for source in (X, dataset, dataset.repeat()):
        np.testing.assert_array_equal(inputs.take_rows(model, source, 5), X[:5])
    assert len(inputs.take_rows(model, X, 100)) == 6


@pytest.mark.parametrize("weights", [np.ones(6), np.ones((6, 1)), [1] * 6, pd.Series(np.ones(6)), tf.ones(6)])
def test_weights(weights):
    made = inputs.as_weights(weights, 6)
    assert made.shape == (6,) and made.dtype == np.float32


@pytest.mark.parametrize("weights", [np.ones(5), np.ones((6, 2)), 1.0, [-1] * 6, [NAN] * 6, [np.inf] * 6])
def test_weights_that_cannot_be(weights):
    with pytest.raises(ValueError, match=r"Expected .*weight.* Received"):
        inputs.as_weights(weights, 6)
