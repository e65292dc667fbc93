"""Checkpoints: what it takes to go on with an interrupted training."""

import hashlib
import json
import logging
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from iwae_tf.files import remove, write_whole
from iwae_tf.training import executions

VARIABLES, STATE, SUMS = "variables.npz", "training.json", "sha256.json"
#: Checkpoints that are kept: the last, and the one before it, should the last be damaged.
KEPT = 2

_log = logging.getLogger(__name__)


class Checkpoints(keras.callbacks.Callback):
    """Keeps the state of training in the folder of a run: as of the last epoch, and in a long one every so often.

    That is the weights, the optimiser's state, the state of the random seed, the place in the epoch and the metrics of
    what is done of it. With them, and with what depends on the number of the epoch alone (the order of the data, the
    schedules), a run that is resumed is the unbroken one, bit for bit on the same machine.

    A checkpoint has its name only when all of it is on the disk, and checksums: one that was damaged later is passed
    over, with a warning, for the one before it.

    Args:
      run: folder of the run, which gets a folder `checkpoints` with one per checkpoint, named by the epochs and the
        executions of the next one that are done. To be the last of the callbacks.
      every: seconds from one checkpoint to the next within an epoch.
      write: whether this process writes them; the other workers of a training by several only read.

    Attributes:
      seconds: time that the training has taken, that before a break too.
    """

    def __init__(self, run, every=60.0, write=True):
        super().__init__()
        self._run, self._every, self._write = Path(run or "."), every, write
        self._folder = self._run / "checkpoints"
        self._resumed: dict[str, Any] = {"epoch": 0, "executions": 0, "metrics": []}
        self.seconds = 0.0

    def restore(self, model):
        """Gives a compiled model its state; what was logged of an unfinished epoch goes. Returns the epochs done."""
        for path in reversed(list(_found(self._run))):
            if _is_whole(path):
                model.build_optimizer()
                with np.load(path / VARIABLES) as held:
                    for i, variable in enumerate(executions.variables(model)):
                        variable.assign(held[str(i)])
                self._resumed = json.loads((path / STATE).read_text())
                self.seconds = self._resumed["seconds"]
                break
            _log.warning("The checkpoint %s is damaged; the one before it is used", path)
        done = self._resumed["epoch"]
        history = self._run / "history.csv"
        if history.exists() and self._write:
            lines = history.read_text().splitlines(keepends=True)
            with write_whole(history, overwrite=True) as part:
                part.write_text("".join(lines[: done + 1] if done else []))
        return done

    def on_train_begin(self, logs=None):
        self._start = time.perf_counter() - self.seconds
        self._last = time.perf_counter()

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        if epoch == self._resumed["epoch"] and self._resumed["executions"]:
            for variable, value in zip(executions.metric_variables(self.model), self._resumed["metrics"], strict=True):
                variable.assign(value)
            executions.leave_out(self.model, self._resumed["executions"])

    def on_train_batch_end(self, batch, logs=None):
        executions = batch // self.model.steps_per_execution + 1
        if time.perf_counter() - self._last >= self._every and executions > self._done_before():
            self._save(self._epoch, executions)

    def on_epoch_end(self, epoch, logs=None):
        self._save(epoch + 1, 0)

    def _done_before(self):
        return self._resumed["executions"] if self._epoch == self._resumed["epoch"] else 0

    def _save(self, epoch, executions):
        self.seconds = time.perf_counter() - self._start
        if not self._write:
            return
        metrics = (
            [float(variable.numpy()) for variable in executions.metric_variables(self.model)] if executions else []
        )
        state = {"epoch": epoch, "executions": executions, "metrics": metrics, "seconds": self.seconds}
        with write_whole(self._folder / f"{epoch}-{executions}", overwrite=True) as part:
            part.mkdir()
            # By NumPy, since every call of Keras' own `save_weights` leaves 70 KiB behind.
            np.savez(part / VARIABLES, **{str(i): v.numpy() for i, v in enumerate(executions.variables(self.model))})
            (part / STATE).write_text(json.dumps(state))
            (part / SUMS).write_text(json.dumps({name: _sum(part / name) for name in (VARIABLES, STATE)}))
        # Only now, so that a kill at any time leaves one.
        kept = list(_found(self._run))[-KEPT:]
        for path in self._folder.iterdir():
            if path not in kept:
                remove(path)
        self._last = time.perf_counter()


def latest(run):
    """Returns the number of epochs that the last checkpoint in the folder of an unfinished run has, 0 without any."""
    return max((_place(path)[0] for path in _found(run)), default=0)


def clear(run):
    """Removes the checkpoints of a run that is whole."""
    remove(Path(run) / "checkpoints")


def _found(run):
    """Returns the folders of checkpoints, the last at the end."""
    folder = Path(run) / "checkpoints"
    return sorted((path for path in folder.glob("*-*") if path.name.replace("-", "").isdigit()), key=_place)


def _place(path):
    return tuple(int(number) for number in path.name.split("-"))


def _is_whole(path):
    try:
        sums = json.loads((path / SUMS).read_text())
        return sums == {name: _sum(path / name) for name in (VARIABLES, STATE)}
    except (OSError, ValueError):
        return False


def _sum(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
