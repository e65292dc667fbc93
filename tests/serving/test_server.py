"""The server as a process."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from iwae_tf.serving import server
from tests.fixtures import command_line


class Client(threading.Thread):
    """Sends one image after the other over one connection, until the server refuses it.

    Attributes:
      answers: the scores that it got.
      error: the error that ended it.
    """

    def __init__(self, address, images):
        super().__init__()
        self._connection, self._images = http.client.HTTPConnection(address, timeout=60), images
        self.answers, self.error = [], None

    def run(self):
        try:
            while True:
                image = self._images[len(self.answers) % len(self._images)]
                body = json.dumps({"instances": [image.tolist()]})
                self._connection.request("POST", "/v1/models/digits:predict", body)
                response = self._connection.getresponse()
                content = json.loads(response.read())
                self.answers.append(content["predictions"][0]["log_likelihood"])
        except Exception as error:
            self.error = error


def test_nothing_is_lost_at_sigterm(saved_model, small, x):
    command = command_line("serve", saved_model, "--name", "digits", "--port", 0)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        said = process.stdout.readline()
        assert said.startswith("Serving http://127.0.0.1:") and said.endswith("/v1/models/digits\n"), (
            process.stderr.read()
        )
        clients = [Client(said.split("/")[2], np.roll(x, -i, axis=0)) for i in range(8)]
        for client in clients:
            client.start()
        while any(len(client.answers) < 5 and client.is_alive() for client in clients):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        for client in clients:
            client.join(60)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    expected = small.log_likelihood(x, 50, seed=0).numpy()
    for i, client in enumerate(clients):
        assert isinstance(client.error, ConnectionRefusedError), client.error  # for a new connection, not for a request
        assert len(client.answers) >= 5
        rows = np.resize(np.roll(expected, -i), len(client.answers))
        np.testing.assert_array_equal(np.float32(client.answers), rows)


def test_a_port_in_use_is_refused_before_tensorflow_loads(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom iwae_tf.cli import app\n"
        "result = CliRunner().invoke(app, sys.argv[1:])\nprint(result.output)\n"
        "assert result.exit_code == 1 and 'tensorflow' not in sys.modules"
    )
    with server.listen(port=0) as listener:
        port = str(listener.getsockname()[1])
        arguments = [sys.executable, "-c", code, "serve", str(tmp_path), "--port", port]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        shown = subprocess.run(arguments, check=True, capture_output=True, text=True, env=environment).stdout
    assert f"Expected a free port at an address of this machine. Received: 127.0.0.1:{port}" in " ".join(shown.split())


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("192.0.2.1", 0)])
def test_addresses_that_are_not_of_this_machine(host, port):
    with pytest.raises(OSError, match=f"Received: {host}:{port}"):
        server.listen(host, port)


def test_loopback_is_the_default():
    with server.listen(port=0) as listener:
        assert listener.family == socket.AF_INET and listener.getsockname()[0] == "127.0.0.1"
