"""Requests and answers, in the forms that the documentation of TensorFlow Serving gives them."""

import json

import numpy as np
import pytest

from iwae_tf.serving.messages import read_request, write_answer


def test_signature_name():
    assert read_request(b'{"instances": []}').signature_name == "serving_default"
    assert read_request(b'{"signature_name": "", "inputs": []}').signature_name == "serving_default"
    assert read_request(b'{"signature_name": "encode", "inputs": []}').signature_name == "encode"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Expected JSON"),
        (b"\xff", "Expected JSON"),
        (b"[" * 200_000, "Expected JSON"),
        (b"[[1, 2]]", "Received: list"),
        (b"{}", "Received: no keys"),
        (b'{"examples": []}', "Received: examples"),
        (b'{"instances": [[1, 2]], "inputs": [[1, 2]]}', "either instances or inputs"),
        (b'{"instances": [[1, 2]], "signature_name": 3}', "signature_name to be a string. Received: 3"),
    ],
)
def test_bodies_that_are_no_requests(body, message):
    with pytest.raises(ValueError) as error:
        read_request(body)
    assert message in str(error.value)


def test_forms_of_answers():
    rows = [(np.float32(1), np.float32([2, 3])), (np.float32(4), np.float32([5, 6]))]
    by_row, by_output = (json.loads(write_answer(rows, ("a", "b"), by_row)) for by_row in (True, False))
    assert by_row == {"predictions": [{"a": 1.0, "b": [2.0, 3.0]}, {"a": 4.0, "b": [5.0, 6.0]}]}
    assert by_output == {"outputs": {"a": [1.0, 4.0], "b": [[2.0, 3.0], [5.0, 6.0]]}}


def test_a_single_output_loses_its_name():
    rows = [(np.float32(3.5),), (np.float32(4),), (np.float32(5.5),)]
    assert write_answer(rows, ("y",), True) == b'{"predictions":[3.5,4.0,5.5]}'
    assert write_answer(rows, ("y",), False) == b'{"outputs":[3.5,4.0,5.5]}'


def test_numbers_are_short_and_lose_nothing():
    values = np.random.default_rng(0).integers(0, 2**32, 1000, np.uint32).view(np.float32)
    assert np.isnan(values).any()
    for part in (values, values[np.isfinite(values)]):
        body = write_answer([(value,) for value in part], ("y",), True)
        np.testing.assert_array_equal(np.float32(json.loads(body)["predictions"]), part)
    assert write_answer([(np.float32(0.1),)], ("y",), True) == b'{"predictions":[0.1]}'


def test_tokens_that_strict_json_does_not_have():
    rows = [(np.float32(value),) for value in (0.1, np.nan, np.inf, -np.inf)]
    assert write_answer(rows, ("y",), True) == b'{"predictions": [0.1, NaN, Infinity, -Infinity]}'
    rows = [(np.float32(0.1), np.float32([np.nan, 0.3]))]
    assert write_answer(rows, ("a", "b"), True) == b'{"predictions": [{"a": 0.1, "b": [NaN, 0.3]}]}'
    assert read_request(b'{"instances": [1, Infinity]}').values == [1, np.inf]
