"""The endpoints of a SavedModel."""

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2

from iwae_tf.scoring.endpoint import call_rows, load
from iwae_tf.scoring.saved_columns import SavedColumns, read_columns
from iwae_tf.serving.inputs import Limits, Spec, read_inputs
from iwae_tf.serving.messages import Request

#: Endpoints whose results for a row do not depend on its batch, bit for bit.
INDEPENDENT = frozenset({"serving_default", "log_likelihood", "encode", "reconstruct"})


class Endpoint:
    """An endpoint of a SavedModel.

    Args:
      name: its name.
      function: its signature in the loaded SavedModel.
      columns: the columns that the model knows by name.

    Attributes:
      outputs: the names of its outputs.
      is_independent: whether rows of several requests may be run at once, because no row depends on the others.
    """

    def __init__(self, name: str, function: Any, columns: SavedColumns) -> None:
        self._function, self._columns = function, columns
        self._specs = {
            input_name: Spec(tuple(spec.shape), np.dtype(spec.dtype.as_numpy_dtype))
            for input_name, spec in function.structured_input_signature[1].items()
        }
        self.outputs = tuple(function.structured_outputs)
        self.is_independent = name in INDEPENDENT

    def read(self, request: Request, limits: Limits) -> dict[str, np.ndarray]:
        """Reads the inputs from a request; see `inputs.read_inputs`."""
        return read_inputs(request, self._specs, self._columns, limits)

    def run(self, inputs: dict[str, np.ndarray]) -> list[tuple | str]:
        """Runs the endpoint.

        Args:
          inputs: the inputs by name, as `read` returns them.

        Returns:
          For each row a tuple of its `outputs`, or a string with the reason why the model rejects it.
        """
        rows = {name: array for name, array in inputs.items() if self._specs[name].has_rows}
        others = {name: tf.constant(array) for name, array in inputs.items() if name not in rows}
        function = functools.partial(self._function, **others)
        if rows:
            return call_rows(function, self.outputs, **rows)
        results = function()
        return list(zip(*(results[name].numpy() for name in self.outputs), strict=True))

    def warm_up(self) -> None:
        """Runs a row of zeros, so that no client waits for the compiler, unless the model rejects zeros."""
        self.run({name: np.zeros([n or 1 for n in spec.shape], spec.dtype) for name, spec in self._specs.items()})


class ServedModel:
    """All endpoints of a SavedModel.

    Args:
      saved_model: folder that `iwae_tf.export` wrote.

    Attributes:
      endpoints: dict of each `Endpoint` by its name.
      signatures: the signatures in the JSON of TensorFlow Serving's metadata.

    Raises:
      FileNotFoundError: if there is no SavedModel.
      ValueError: if it is damaged or lacks the endpoint `log_likelihood`.
    """

    def __init__(self, saved_model: str | os.PathLike) -> None:
        self._model = load(saved_model)  # It must live as long as its endpoints.
        columns = read_columns(saved_model)
        self.endpoints = {name: Endpoint(name, function, columns) for name, function in self._model.signatures.items()}
        description = saved_model_pb2.SavedModel.FromString((Path(saved_model) / "saved_model.pb").read_bytes())
        self.signatures = {
            name: json_format.MessageToDict(
                signature, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
            for name, signature in description.meta_graphs[0].signature_def.items()
        }
        self.endpoints["log_likelihood"].warm_up()
