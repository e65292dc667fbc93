"""Checkpoints: everything that an interrupted training needs to continue."""

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from iwae_tf.data.observation_model import ObservationModel
from iwae_tf.files import compute_checksum, remove, write_whole
from iwae_tf.training.executions import get_metric_variables, get_variables

VARIABLES, STATE, SUMS = "variables.npz", "training.json", "sha256.json"
#: Checkpoints that are kept: the last, and the one before it in case the last is damaged.
NUM_KEPT = 2

_log = logging.getLogger(__name__)


class Checkpoints(keras.callbacks.Callback):
    """Saves the state of training in the folder of a run: after every epoch, and at intervals within a long epoch.

    The state comprises the weights, the optimiser's variables, the random seed, the position in the epoch and the
    metrics so far. The order of the data and the schedules depend only on the number of the epoch. So a resumed run
    equals an uninterrupted one, bit for bit on the same machine.

    A checkpoint appears under its name only when it is complete, and has checksums. If the last one was damaged later,
    the one before it is used, with a warning.

    This must be the last of the callbacks.

    Args:
      run: folder of the run. Each checkpoint is a folder in its `checkpoints`, named by the number of finished epochs
        and of finished executions of the next epoch.
      every: seconds from one checkpoint to the next within an epoch.
      write: whether this process writes checkpoints; in a training by several workers only the chief does.

    Attributes:
      epochs: number of finished epochs.
      seconds: time that the training has taken, including the time before an interruption.
    """

    def __init__(self, run: str | os.PathLike | None, every: float = 60.0, write: bool = True) -> None:
        super().__init__()
        self._run, self._every, self._write = Path(run or "."), every, write
        self._folder = self._run / "checkpoints"
        self._resumed: dict[str, Any] = {"epoch": 0, "executions": 0, "metrics": []}
        self.seconds, self.epochs = 0.0, 0

    def restore(self, model: ObservationModel) -> int:
        """Restores the state of a compiled model, and removes log lines of unfinished epochs.

        Returns:
          The number of finished epochs.
        """
        for path in reversed(_list_checkpoints(self._run)):
            if _is_complete(path):
                model.build_optimizer()
                with np.load(path / VARIABLES) as values:
                    for i, variable in enumerate(get_variables(model)):
                        variable.assign(values[str(i)])
                self._resumed = json.loads((path / STATE).read_text())
                self.seconds = self._resumed["seconds"]
                break
            _log.warning("The checkpoint %s is damaged; the one before it is used", path)
        done = self.epochs = self._resumed["epoch"]
        history = self._run / "history.csv"
        if history.exists() and self._write:
            lines = history.read_text().splitlines(keepends=True)
            with write_whole(history, overwrite=True) as part:
                part.write_text("".join(lines[: done + 1] if done else []))
        return done

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._start = time.perf_counter() - self.seconds
        self._last = time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch = epoch
        if epoch == self._resumed["epoch"] and self._resumed["executions"]:
            for variable, value in zip(get_metric_variables(self.model), self._resumed["metrics"], strict=True):
                variable.assign(value)
            self.model.train_function.num_skipped = self._resumed["executions"]

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        executions = batch // self.model.steps_per_execution + 1
        resumed = self._resumed["executions"] if self._epoch == self._resumed["epoch"] else 0
        if time.perf_counter() - self._last >= self._every and executions > resumed:
            self._save(self._epoch, executions)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.epochs = epoch + 1
        self._save(self.epochs, 0)

    def _save(self, epoch: int, executions: int) -> None:
        self.seconds = time.perf_counter() - self._start
        if not self._write:
            return
        metrics = [variable.numpy().tolist() for variable in get_metric_variables(self.model)] if executions else []
        state = {"epoch": epoch, "executions": executions, "metrics": metrics, "seconds": self.seconds}
        with write_whole(self._folder / f"{epoch}-{executions}", overwrite=True) as part:
            part.mkdir()
            # By NumPy, since every call of Keras' own `save_weights` leaks 70 KiB.
            np.savez(part / VARIABLES, **{str(i): v.numpy() for i, v in enumerate(get_variables(self.model))})
            (part / STATE).write_text(json.dumps(state))
            (part / SUMS).write_text(json.dumps({name: compute_checksum(part / name) for name in (VARIABLES, STATE)}))
        # Only now, so that a kill at any time leaves a complete checkpoint.
        kept = _list_checkpoints(self._run)[-NUM_KEPT:]
        for path in self._folder.iterdir():
            if path not in kept:
                remove(path)
        self._last = time.perf_counter()


def count_epochs(run: str | os.PathLike) -> int:
    """Returns the number of epochs in the last checkpoint of an unfinished run, 0 if there is no checkpoint."""
    return max((_parse_name(path)[0] for path in _list_checkpoints(run)), default=0)


def clear(run: str | os.PathLike) -> None:
    """Removes the checkpoints of a finished run."""
    remove(Path(run) / "checkpoints")


def _list_checkpoints(run: str | os.PathLike) -> list[Path]:
    """Returns the folders of checkpoints, the last at the end."""
    folder = Path(run) / "checkpoints"
    return sorted((path for path in folder.glob("*-*") if path.name.replace("-", "").isdigit()), key=_parse_name)


def _parse_name(path: Path) -> tuple[int, ...]:
    """Returns the numbers of finished epochs and executions."""
    return tuple(int(number) for number in path.name.split("-"))


def _is_complete(path: Path) -> bool:
    try:
        sums = json.loads((path / SUMS).read_text())
        return sums == {name: compute_checksum(path / name) for name in (VARIABLES, STATE)}
    except (OSError, ValueError):
        return False
