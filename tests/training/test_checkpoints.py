"""Checkpoints: a training that goes on with one is the one that was never broken, bit for bit."""

import logging
import signal
import subprocess
import time

import keras
import numpy as np
import pytest

from iwae_tf import data
from iwae_tf.training import checkpoints

from ..fixtures import command_line, invoke, small_model


class KillError(Exception):
    """Stands for a kill: nothing runs after it."""


class KillAt(keras.callbacks.Callback):
    """Ends a training after so many executions."""

    def __init__(self, executions):
        super().__init__()
        self.left = executions

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise KillError


def fit(run, digits, kill_at=None, every=0.0, epochs=3):
    """Trains a new model, from what is in the folder on; 11 steps an epoch, 4 of them an execution."""
    model = small_model()
    model.compile(keras.optimizers.Adam(1e-2), steps_per_execution=4)
    train = data.batches(next(iter(digits.validation.unbatch().batch(210))).numpy(), 20, seed=5)
    keeper = checkpoints.Checkpoints(run, every)
    history = keras.callbacks.CSVLogger(str(run / "history.csv"), append=True)
    try:
        model.fit(
            train, validation_data=digits.test.take(2), epochs=epochs, initial_epoch=keeper.restore(model),
            callbacks=[history, *([KillAt(kill_at)] if kill_at else []), keeper], verbose=0,
        )  # fmt: skip
    except KillError:
        history.csv_file.close()
    return model, keeper


def state(model, run):
    variables = (*model.weights, *model.optimizer.variables, model.seed_generator.state)
    return [variable.numpy().tolist() for variable in variables], (run / "history.csv").read_text()


@pytest.fixture(scope="module")
def unbroken(digits, tmp_path_factory):
    run = tmp_path_factory.mktemp("unbroken")
    return state(fit(run, digits)[0], run)


@pytest.mark.parametrize("every", [0.0, 1e9])
def test_goes_on_within_an_epoch_or_from_its_beginning(every, digits, unbroken, tmp_path):
    """Broken in the first, the second and the third epoch, before the checkpoint of that execution is written."""
    for kill_at in (2, 5, 6):  # executions, those that are left out included
        model, _ = fit(tmp_path, digits, kill_at, every)
        assert state(model, tmp_path) != unbroken
    places = [path.name for path in checkpoints._list_checkpoints(tmp_path)]
    assert places == (["2-1", "2-2"] if every == 0 else ["1-0", "2-0"])
    model, _ = fit(tmp_path, digits, every=every)
    assert state(model, tmp_path) == unbroken
    assert [path.name for path in checkpoints._list_checkpoints(tmp_path)][-1] == "3-0"
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2, "older ones go"


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: flip(path / checkpoints.VARIABLES),
        lambda path: flip(path / checkpoints.STATE),
        lambda path: (path / checkpoints.VARIABLES).write_bytes((path / checkpoints.VARIABLES).read_bytes()[:-1]),
        lambda path: (path / checkpoints.STATE).unlink(),
        lambda path: (path / checkpoints.SUMS).write_text("{"),
    ],
    ids=["a bit of the weights", "a bit of the state", "truncated", "a file gone", "no checksums"],
)
def test_a_damaged_checkpoint_is_passed_over(damage, digits, unbroken, tmp_path, caplog):
    fit(tmp_path, digits, epochs=2)
    last, before = (tmp_path / "checkpoints" / name for name in ("2-0", "1-3"))
    assert last.exists() and before.exists()
    damage(last)
    with caplog.at_level(logging.WARNING):
        model, _ = fit(tmp_path, digits)
    assert "2-0 is damaged" in caplog.text
    assert state(model, tmp_path) == unbroken


def test_nothing_left_of_a_checkpoint_is_a_start_from_the_beginning(digits, unbroken, tmp_path):
    fit(tmp_path, digits, epochs=1)
    for path in (tmp_path / "checkpoints").iterdir():
        flip(path / checkpoints.VARIABLES)
    model, _ = fit(tmp_path, digits)
    assert state(model, tmp_path) == unbroken


def test_a_real_kill(tmp_path):
    """SIGKILL in the middle of a checkpoint that is being written, once one is there; `benchmarks.kills` has more."""
    arguments = ["train", "--latent-sizes", "3", "--hidden-sizes", "8", "-k", "3", "--epochs", "4", "--test-samples",
                 "10", "--steps-per-execution", "5", "--checkpoint-every", "0", "--resume", "-o"]  # fmt: skip
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    part = tmp_path / "broken.part"
    with subprocess.Popen(command_line(*arguments, broken), stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (checkpoints.count_epochs(part) and any(part.glob("checkpoints/*.part"))):
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    for run in (broken, unbroken):
        result = invoke(*arguments, run)
        assert result.exit_code == 0, result.output
    assert {path.name for path in unbroken.iterdir()} == {path.name for path in broken.iterdir()}
    assert (unbroken / "history.csv").read_text() == (broken / "history.csv").read_text()
    first, again = (keras.saving.load_model(run / "model.keras") for run in (unbroken, broken))
    for one, other in zip(
        [*first.weights, *first.optimizer.variables], [*again.weights, *again.optimizer.variables], strict=True
    ):
        np.testing.assert_array_equal(one, other, err_msg=one.path)
