"""The application: its routes, checks and errors."""

import os
import re
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from iwae_tf.checks import check_count
from iwae_tf.files import check_saved_model
from iwae_tf.notices import load_tensorflow


def make_application(
    saved_model: str | os.PathLike,
    name: str | None = None,
    batch_size: int = 100,
    max_rows: int = 1000,
    max_samples: int = 10_000,
    max_body: int = 32,
) -> Starlette:
    """Makes an ASGI application that answers the REST API of TensorFlow Serving for one SavedModel.

    | path | answer |
    |---|---|
    | `POST /v1/models/NAME:predict` | the outputs of an endpoint |
    | `GET /v1/models/NAME` | the state of the model |
    | `GET /v1/models/NAME/metadata` | its endpoints |
    | `GET /healthz`, `GET /readyz` | 200 while the process runs; while it accepts requests, too |
    | `GET /metrics` | metrics for Prometheus |

    The first three exist for `/v1/models/NAME/versions/1` as well. Rows of concurrent requests are run at once where
    their results do not depend on each other; the results equal those of the endpoint bit for bit.

    Args:
      saved_model: folder that `iwae_tf.export` wrote.
      name: name of the model in the URLs; `None` takes the name of the folder.
      batch_size: rows of concurrent requests that are run at once.
      max_rows: rows that a request may send, or ask to sample.
      max_samples: importance samples that a request may ask for.
      max_body: size of the body of a request, in MiB.

    Returns:
      The application; `iwae-tf serve` runs it, and so does any ASGI server.

    Raises:
      FileNotFoundError: if there is no SavedModel.
      ValueError: if it is damaged or lacks the endpoint `log_likelihood`, if a limit is not a positive integer, or if
        `name` does not fit in a URL.

    Example:
      ```python
      import asyncio
      import httpx2
      from iwae_tf import serving

      iwae_tf.export(model, "digits", num_samples=10)
      transport = httpx2.ASGITransport(serving.make_application("digits"))

      async def score(x):
          async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
              return await client.post("/v1/models/digits:predict", json={"instances": x.tolist()})

      asyncio.run(score(x)).json()["predictions"][0]["log_likelihood"]  # in nats
      ```
    """
    limits = {"batch_size": batch_size, "max_rows": max_rows, "max_samples": max_samples, "max_body": max_body}
    for limit, value in limits.items():
        check_count(value, limit)
    check_saved_model(saved_model)
    name = name or Path(saved_model).resolve().name
    if not re.fullmatch(r"[\w.~-]+", name, re.ASCII):
        raise ValueError(f"name must consist of letters, digits, '.', '_', '~' and '-'. Received: {name!r}")
    load_tensorflow()
    from iwae_tf.serving.service import Service

    service = Service(saved_model, name, **limits)
    routes = [Route(f"/{path}", getattr(service, path)) for path in ("healthz", "readyz", "metrics")]
    for model in ("/v1/models/{name}", "/v1/models/{name}/versions/{version}"):
        routes += [
            Route(f"{model}:predict", service.predict, methods=["POST"]),
            Route(f"{model}/metadata", service.metadata),
            Route(model, service.status),
        ]
    application = Starlette(
        routes=routes,
        middleware=[Middleware(ClosingMiddleware)],
        exception_handlers={HTTPException: _answer_error},
    )
    application.state.path, application.state.is_stopping = f"/v1/models/{name}", False
    return application


async def _answer_error(request: Request, error: Any) -> JSONResponse:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


class ClosingMiddleware:
    """Closes each connection with its next answer once the application is stopping, so that its client knows."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["app"].state.is_stopping:
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await self._application(scope, receive, send_and_close)
