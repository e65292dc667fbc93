"""Requests and answers in the JSON of TensorFlow Serving's REST API."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson


class Request(NamedTuple):
    """A request to an endpoint.

    Attributes:
      signature_name: the name of the endpoint.
      by_row: whether the values come row by row (`instances`) rather than input by input (`inputs`).
      values: the values, as JSON has them.
    """

    signature_name: str
    by_row: bool
    values: Any


def read_request(body: bytes) -> Request:
    """Reads the body of a request.

    Raises:
      ValueError: if it is not JSON, or not a request.
    """
    try:
        content = _load(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"Expected JSON. Received: {error}") from error
    keys = [key for key in ("instances", "inputs") if isinstance(content, dict) and key in content]
    if len(keys) != 1:
        received = ", ".join(content) or "no keys" if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"Expected a JSON object with either instances or inputs. Received: {received}")
    name = content.get("signature_name", "")
    if not isinstance(name, str):
        raise ValueError(f"Expected signature_name to be a string. Received: {name!r}")
    return Request(name or "serving_default", keys[0] == "instances", content[keys[0]])


def _load(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except ValueError:  # The body may hold the tokens NaN and Infinity, which strict JSON does not have.
        return json.loads(body)


def write_answer(rows: Sequence[tuple], outputs: Sequence[str], by_row: bool) -> bytes:
    """Writes the body of an answer.

    Numbers have the fewest digits that identify them. NaN and infinities become the tokens NaN, Infinity and -Infinity,
    as from TensorFlow Serving, which strict JSON does not have.

    Args:
      rows: for each row a tuple of its outputs.
      outputs: names of the outputs; the name of a single output is dropped.
      by_row: whether to write row by row (`predictions`) rather than output by output (`outputs`).
    """
    columns = {name: np.stack(values) for name, values in zip(outputs, zip(*rows, strict=True), strict=True)}
    answer: Any = columns
    if len(columns) == 1:
        (answer,) = columns.values()
    elif by_row:
        answer = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    content = {"predictions" if by_row else "outputs": answer}
    if all(np.isfinite(values).all() for values in columns.values()):
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(content, default=_as_list).encode()


def _as_list(values: np.ndarray) -> list:
    # Through strings, because a float32 has more digits as a float64.
    return values.astype(str).astype(float).tolist()
