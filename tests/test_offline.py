"""No network at import or at run time, but where data are to be downloaded."""

import subprocess
import sys

import numpy as np
import pytest

from .conftest import invoke

TINY = ["--latent-sizes", "3", "--hidden-sizes", "8", "-k", "2", "--epochs", "1", "--test-samples", "5"]
EVENTS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "socket.sendto")
IMPORTS = """
import sys
def hook(event, arguments):
    if event.startswith("socket.") and not event.endswith("__new__"):
        raise OSError(f"Expected no network. Received: {event} {arguments}")
sys.addaudithook(hook)
import iwae_tf, iwae_tf.cli
from iwae_tf import callbacks, data, evaluation, experiment, layers, objectives, plots, pretrained, scoring, tuning
"""


class Network:
    """Lists every look for a host and every connection, and refuses it, while a test runs that asks for this."""

    def __init__(self):
        self.asked, self.watched = [], False
        sys.addaudithook(self)  # which cannot be taken back

    def __call__(self, event, _):
        if self.watched and event in EVENTS:
            self.asked.append(event)
            raise OSError("Expected no network")


@pytest.fixture(scope="module")
def hook():
    return Network()


@pytest.fixture
def asked(hook):
    hook.asked, hook.watched = [], True
    yield hook.asked
    hook.watched = False


def test_import():
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_train_evaluate_and_score(asked, tmp_path):
    run, model, source = tmp_path / "run", tmp_path / "model", tmp_path / "x.npy"
    np.save(source, np.zeros((3, 8, 8, 1), np.uint8))
    for command in (
        ["train", *TINY, "-o", run],
        ["evaluate", run],
        ["export", run, model],
        ["score", model, source, "-o", tmp_path / "scores.csv"],
    ):
        result = invoke(*command)
        assert result.exit_code == 0, result.output
    assert not asked


def test_data_that_are_not_at_hand_are_asked_for(asked, tmp_path):
    """What the test above would see, had it been there."""
    result = invoke("train", *TINY, "--dataset", "mnist", "--data-dir", tmp_path, "-o", tmp_path / "run")
    assert result.exit_code == 1 and asked == ["socket.getaddrinfo"]
    assert not list(tmp_path.iterdir())
