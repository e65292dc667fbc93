"""Early stopping that survives an interrupt."""

import os
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np

from iwae_tf.checks import check_count
from iwae_tf.files import write_whole

WEIGHTS = "best_weights.npz"


class BestEpoch(keras.callbacks.Callback):
    """Ends a training whose validation loss no longer falls, with the weights of its best epoch.

    `keras.callbacks.EarlyStopping` forgets the best epoch when a training is interrupted.

    Args:
      run: folder of the run, which keeps the best weights.
      patience: number of epochs without a lower validation loss after which training ends.
      losses: validation losses of the epochs before an interrupt.

    Raises:
      ValueError: if `patience` is not a positive integer.
    """

    def __init__(self, run: str | os.PathLike, patience: int, losses: Iterable[float] = ()) -> None:
        super().__init__()
        self._path, self._patience = Path(run) / WEIGHTS, check_count(patience, "patience")
        self._losses = [loss if np.isfinite(loss) else np.inf for loss in losses]

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        loss = (logs or {}).get("val_loss")
        if loss is None:
            raise ValueError("Expected validation data with patience. Received: none")
        loss = loss if np.isfinite(loss) else np.inf  # an epoch without a finite loss is never the best
        if loss < min(self._losses, default=np.inf):
            with write_whole(self._path, overwrite=True) as part, part.open("wb") as file:
                np.savez(file, **{str(i): value for i, value in enumerate(self.model.get_weights())})
        self._losses.append(loss)
        self.model.stop_training |= self.has_ended

    @property
    def has_ended(self) -> bool:
        """Whether the last `patience` epochs have not lowered the loss."""
        return bool(self._losses) and len(self._losses) - int(np.argmin(self._losses)) > self._patience

    def on_train_end(self, logs: dict | None = None) -> None:
        if self._path.exists():  # unless no loss was finite
            with np.load(self._path) as values:
                self.model.set_weights([values[str(i)] for i in range(len(values))])
