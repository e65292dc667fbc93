"""Inputs of endpoints, in the forms that the documentation of TensorFlow Serving gives them."""

import json

import numpy as np
import pytest

from iwae_tf.scoring.saved_columns import NO_COLUMNS, SavedColumns
from iwae_tf.serving.inputs import Limits, Spec, read_inputs
from iwae_tf.serving.messages import read_request

LIMITS = Limits(max_rows=3, max_samples=100)
FLOAT, INT = np.dtype("float32"), np.dtype("int32")
X = {"x": Spec((None, 2), np.dtype("uint8"))}
REAL = {"x": Spec((None, 2), FLOAT)}
TWO = {"signal": Spec((None, 5), FLOAT), "sensor": Spec((None, 2, 2), FLOAT)}
SAMPLE = {"seed": Spec((2,), INT), "num_samples": Spec((), INT)}
SEEDED = {**X, **SAMPLE}
COLUMNS = SavedColumns(("a", "b"))


def read(content, specs, columns=NO_COLUMNS):
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return read_inputs(read_request(body), specs, columns, LIMITS)


def test_rows_and_columns_are_two_forms_of_the_same():
    signal, sensor = [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]], [[[1, 2], [3, 4]], [[4, 5], [6, 8]]]
    rows = [{"signal": signal[i], "sensor": sensor[i]} for i in range(2)]
    for content in ({"instances": rows}, {"inputs": {"sensor": sensor, "signal": signal}}):
        inputs = read(content, TWO)
        assert list(inputs) == ["signal", "sensor"] and inputs["signal"].dtype == FLOAT
        np.testing.assert_array_equal(inputs["signal"], signal)
        np.testing.assert_array_equal(inputs["sensor"], sensor)


@pytest.mark.parametrize(
    "content",
    [
        {"instances": [[1, 2], [3, 4]]},
        {"instances": [{"x": [1, 2]}, {"x": [3, 4]}]},
        {"inputs": [[1, 2], [3, 4]]},
        {"inputs": {"x": [[1.0, 2.0], [3.0, 4.0]]}},
        {"instances": [{"b": 2, "a": 1}, {"b": 4, "a": 3}]},
        {"inputs": {"b": [2, 4], "a": [1, 3]}},
    ],
)
def test_forms_of_one_input(content):
    inputs = read(content, X, columns=COLUMNS)
    np.testing.assert_array_equal(inputs["x"], np.uint8([[1, 2], [3, 4]]), strict=True)


def test_columns_beside_other_inputs():
    inputs = read({"inputs": {"b": [2], "a": [1], "seed": [0, 7], "num_samples": 5}}, SEEDED, columns=COLUMNS)
    np.testing.assert_array_equal(inputs["x"], [[1, 2]])
    np.testing.assert_array_equal(inputs["seed"], np.int32([0, 7]), strict=True)
    assert inputs["num_samples"] == 5 and inputs["num_samples"].shape == ()


def test_labels_of_categories_and_columns_that_are_not_scored():
    columns = SavedColumns(("a", "b"), {"b": ("Hull", "York")}, id_column="id", ignored=("note",))
    for town, code in (("York", 1), (1, 1), ("Hull", 0), (None, np.nan)):
        inputs = read({"instances": [{"id": "k", "note": "n", "b": town, "a": 0.5}]}, REAL, columns)
        np.testing.assert_array_equal(inputs["x"], np.float32([[0.5, code]]))
    with pytest.raises(ValueError, match=r"Expected 'Hull', 'York' in column 'b'. Received: 'Leeds'"):
        read({"instances": [{"b": "Leeds", "a": 0.5}]}, REAL, columns)


def test_missing_values_and_tokens_of_floats():
    inputs = read(b'{"instances": [[null, 0.5], [NaN, 1e-3]]}', REAL)
    np.testing.assert_array_equal(inputs["x"], np.float32([[np.nan, 0.5], [np.nan, 1e-3]]))


@pytest.mark.parametrize(
    ("body", "specs", "message"),
    [
        ({"instances": 3}, X, "a list of rows. Received: int"),
        ({"instances": []}, X, "x to be numbers of shape [n, 2]. Received: list of 0"),
        ({"inputs": {"x": []}}, X, "x to be numbers of shape [n, 2]. Received: list of 0"),
        ({"instances": [[1, 2, 3]]}, X, "x to be numbers of shape [n, 2]. Received: list of 3"),
        ({"instances": [[1, 2], [3]]}, X, "of shape [n, 2]. Received: list of 1, list of 2"),
        ({"instances": [["1", "2"]]}, X, "of shape [n, 2]. Received: str"),
        ({"instances": [[[1], [2]]]}, X, "of shape [n, 2]. Received: list of 1"),
        ({"instances": ["ab"]}, X, "of shape [n, 2]. Received: str"),
        ({"instances": [[{"b64": "AAA="}, 2]]}, X, "of shape [n, 2]. Received: dict"),
        ({"instances": [{"x": [1, 2]}, {"y": [1, 2]}]}, X, "Row 1: Expected the names x, as in row 0. Received: y"),
        ({"instances": [{"x": [1, 2]}, [1, 2]]}, X, "Row 1: Expected the names x, as in row 0. Received: list"),
        ({"inputs": {"y": [[1, 2]]}}, X, "Expected the inputs x. Received: y"),
        ({"instances": [[1, 2], [0.5, 1]]}, X, "Row 1: Expected uint8 values, as in training"),
        ({"instances": [[1, 2], [None, 1]]}, X, "Row 1: Expected finite numbers"),
        (b'{"instances": [[Infinity, 1]]}', REAL, "Row 0: Expected finite numbers"),
        (b'{"instances": [[1' + b"0" * 400 + b", 1]]}", REAL, "of shape [n, 2]. Received: int too large"),
        ({"instances": [[1, 2]] * 4}, X, "at most 3 rows. Received: 4"),
        ({"inputs": {"signal": [[1] * 5], "sensor": [[[1, 2]] * 2] * 2}}, TWO, "as many rows in every input"),
        ({"inputs": [[1] * 5]}, TWO, "values by name: signal, sensor. Received: list"),
        ({"instances": [{"seed": [0, 1], "num_samples": 1}]}, SAMPLE, "because seed, num_samples are not rows"),
        ({"inputs": {"seed": [0, 1], "num_samples": 4}}, SAMPLE, "at most 3 rows. Received: 4"),
        ({"inputs": {"seed": [0, 1], "num_samples": 0}}, SAMPLE, "num_samples must be a positive integer"),
        ({"inputs": {"seed": [0, 0.5], "num_samples": 1}}, SAMPLE, "seed: Expected int32 values"),
        ({"inputs": {"x": [[1, 2]], "seed": [0, 1], "num_samples": 101}}, SEEDED, "num_samples of at most 100"),
    ],
)  # fmt: skip
def test_wrong_requests(body, specs, message):
    with pytest.raises(ValueError) as error:
        read(body, specs)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"instances": [{"a": 1}]}, "Expected the model's columns, 'a', 'b'. Received: missing: 'b'"),
        ({"inputs": {"a": [1], "b": [1], "c": [1]}}, "Received: unknown: 'c'"),
        ({"inputs": {"a": [1, 2], "b": [1]}}, "Expected the columns to be lists of equal lengths"),
        ({"inputs": {"a": 1, "b": 1}}, "Expected the columns to be lists of equal lengths"),
    ],
)
def test_wrong_columns(content, message):
    with pytest.raises(ValueError) as error:
        read(content, REAL, columns=COLUMNS)
    assert message in str(error.value)
