"""The answers of the server."""

import asyncio
import logging
import os
import time

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from iwae_tf.serving import messages
from iwae_tf.serving.batching import Batcher
from iwae_tf.serving.endpoints import ServedModel
from iwae_tf.serving.inputs import Limits
from iwae_tf.serving.metrics import Metrics

VERSION = "1"


class Service:
    """Answers requests for one model; for the arguments see `make_application`."""

    def __init__(
        self,
        saved_model: str | os.PathLike,
        name: str,
        batch_size: int,
        max_rows: int,
        max_samples: int,
        max_body: int,
    ) -> None:
        self._name, self._limits, self._max_body = name, Limits(max_rows, max_samples), max_body
        self._model = ServedModel(saved_model)
        self._metrics = Metrics()
        self._batcher = Batcher(self._metrics, batch_size)

    async def predict(self, request: Request) -> Response:
        """Answers with the outputs of an endpoint."""
        start, error = time.perf_counter(), ""
        try:
            body, code = await self._predict(request), 200
        except ValueError as reason:
            error, code = str(reason), 400
        except HTTPException as reason:
            error, code = reason.detail, reason.status_code
        except ClientDisconnect:
            error, code = "The client closed the connection", 499
        except Exception as reason:
            logging.getLogger(__name__).exception("A request failed")
            error, code = f"{type(reason).__name__}: {reason}", 500
        self._metrics.requests.labels(code).inc()
        self._metrics.seconds.observe(time.perf_counter() - start)
        if error:
            return JSONResponse({"error": error}, code)
        return Response(body, media_type="application/json")

    async def _predict(self, request: Request) -> bytes:
        self._check_model(request)
        message = messages.read_request(await self._read_body(request))
        endpoints = self._model.endpoints
        if message.signature_name not in endpoints:
            raise ValueError(
                f"signature_name must be one of {', '.join(endpoints)}. Received: {message.signature_name!r}"
            )
        endpoint = endpoints[message.signature_name]
        inputs = endpoint.read(message, self._limits)
        results = await asyncio.wrap_future(self._batcher.submit(endpoint, inputs))
        rows = []
        for i, result in enumerate(results):
            if isinstance(result, str):
                raise ValueError(f"Row {i}: {result}")
            rows.append(result)
        self._metrics.rows.inc(len(rows))
        return messages.write_answer(rows, endpoint.outputs, message.by_row)

    async def _read_body(self, request: Request) -> bytes:
        limit = self._max_body * 2**20
        too_large = HTTPException(413, f"Expected a body of at most {self._max_body} MiB. Received: a larger one")
        if int(request.headers.get("content-length", 0)) > limit:
            raise too_large
        body = bytearray()  # A client may send more than it says, or not say how much it sends.
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise too_large
        return bytes(body)

    def _check_model(self, request: Request) -> None:
        name, version = request.path_params["name"], request.path_params.get("version", VERSION)
        if (name, version) != (self._name, VERSION):
            raise HTTPException(
                404, f"Expected the model {self._name!r}, version {VERSION}. Received: {name!r}, version {version}"
            )

    async def status(self, request: Request) -> Response:
        """Answers with the state of the model."""
        self._check_model(request)
        status = {"error_code": "OK", "error_message": ""}
        return JSONResponse({"model_version_status": [{"version": VERSION, "state": "AVAILABLE", "status": status}]})

    async def metadata(self, request: Request) -> Response:
        """Answers with the inputs and outputs of all endpoints."""
        self._check_model(request)
        signatures = {
            "@type": "type.googleapis.com/tensorflow.serving.SignatureDefMap",
            "signature_def": self._model.signatures,
        }
        return JSONResponse(
            {
                "model_spec": {"name": self._name, "signature_name": "", "version": VERSION},
                "metadata": {"signature_def": signatures},
            }
        )

    async def healthz(self, request: Request) -> Response:
        """Answers as long as the process runs."""
        return JSONResponse({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """Answers with 503 once the server is stopping."""
        is_stopping = request.app.state.is_stopping
        return JSONResponse({"status": "stopping" if is_stopping else "ok"}, 503 if is_stopping else 200)

    async def metrics(self, request: Request) -> Response:
        """Answers with the metrics in the text format of Prometheus."""
        return Response(generate_latest(self._metrics.registry), media_type=CONTENT_TYPE_LATEST)
