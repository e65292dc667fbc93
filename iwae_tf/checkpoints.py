"""Checkpoints: what it takes to go on with an interrupted training."""

import json
import time
from pathlib import Path

import keras

from iwae_tf.files import remove, written_whole


class Checkpoints(keras.callbacks.Callback):
    """Keeps the state of training as of the last finished epoch in the folder of a run.

    That is the weights, the optimiser's state and the state of the random seed. With them, and with what depends on the
    number of the epoch alone (the order of the data, the schedules), a run that is resumed is the unbroken one.

    Args:
      run: folder of the run, which gets a folder `checkpoints` with one for the last epoch, named by the number of
        epochs done. To be the last of the callbacks.

    Attributes:
      seconds: time that the epochs have taken, those before a break too.
    """

    def __init__(self, run):
        super().__init__()
        self._run, self._folder = Path(run), Path(run) / "checkpoints"
        self.seconds = 0.0

    def restore(self, model):
        """Gives a compiled model its state; what was logged of an unfinished epoch goes. Returns the epochs done."""
        done = latest(self._run)
        if done:
            model.optimizer.build(model.trainable_variables)
            model.load_weights(self._folder / str(done) / "model.weights.h5")
            self.seconds = json.loads((self._folder / str(done) / "training.json").read_text())["seconds"]
        history = self._run / "history.csv"
        if history.exists():
            lines = history.read_text().splitlines(keepends=True)
            history.write_text("".join(lines[: done + 1] if done else []))
        return done

    def on_train_begin(self, logs=None):
        self._start = time.perf_counter() - self.seconds

    def on_epoch_end(self, epoch, logs=None):
        self.seconds = time.perf_counter() - self._start
        with written_whole(self._folder / str(epoch + 1), overwrite=True) as part:
            part.mkdir()
            self.model.save_weights(part / "model.weights.h5")
            (part / "training.json").write_text(json.dumps({"seconds": self.seconds}))
        # Only now, so that an interrupt at any time leaves one.
        for old in self._folder.iterdir():
            if old.name != str(epoch + 1):
                remove(old)

    def remove(self):
        """Removes the checkpoints, once the run is whole."""
        remove(self._folder)


def latest(run):
    """Returns the number of epochs that the folder of an unfinished run has a checkpoint of, 0 for none."""
    return max((int(path.name) for path in (Path(run) / "checkpoints").glob("*") if path.name.isdigit()), default=0)
