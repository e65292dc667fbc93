"""The server: it listens before the model is loaded, and stops without losing a request."""

import asyncio
import gc
import signal
import socket
from types import FrameType

import uvicorn
from starlette.applications import Starlette

#: Seconds in which clients with open connections learn that the server is stopping.
GRACE = 0.5


def listen(host: str = "127.0.0.1", port: int = 8501) -> socket.socket:
    """Returns a socket that listens at an address; connections wait until `run` accepts them.

    Args:
      host: name or address of an interface of this machine; "0.0.0.0" and "::" stand for all of them.
      port: TCP port; 0 takes any free one.

    Raises:
      OSError: if the address is not one of this machine, or the port is in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise OSError(
            f"Expected a free port at an address of this machine. Received: {host}:{port}: {error}"
        ) from error
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # Otherwise answers in two parts wait for 40 ms.
    return listener


def run(application: Starlette, listener: socket.socket) -> None:
    """Runs an application until SIGTERM or Ctrl-C.

    The server then refuses new connections, closes each open one with its next answer, and returns once every request
    is answered.

    Args:
      application: what `make_application` returns.
      listener: what `listen` returns.

    Raises:
      KeyboardInterrupt: after Ctrl-C.
    """
    # A row in JSON is a thousand lists. Python would look for cycles after every 700 of them, through the whole model,
    # for most of the time.
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    # Other loops may leave connections that wait to be accepted until the port is closed.
    config = uvicorn.Config(application, loop="asyncio", lifespan="off", access_log=False, log_level="warning")
    _Server(config, application).run(sockets=[listener])


class _Server(uvicorn.Server):
    """A server that ends without a signal after SIGTERM, and with some patience towards open connections."""

    def __init__(self, config: uvicorn.Config, application: Starlette) -> None:
        super().__init__(config)
        self._application = application

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGTERM:
            self.should_exit = True  # Uvicorn would also raise the signal again at the end.
        else:
            super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._application.state.is_stopping = True
        for server in self.servers:
            server.close()
        await asyncio.sleep(GRACE)  # A request may be on its way through an idle connection.
        await super().shutdown(sockets)
