"""A metric that compares models with different objectives."""

from collections import deque

import keras
import numpy as np
import tensorflow as tf

from iwae_tf import evaluation
from iwae_tf.checks import check_count
from iwae_tf.data import inputs
from iwae_tf.types import Array


class ValidationLogLikelihood(keras.callbacks.Callback):
    """Adds `val_log_likelihood` to the logs of every epoch: the mean log p^(x) of validation data, in nats.

    It means the same for all models, because the number of samples, the observations, their binarisation and the seed
    do not change. Not to be confused with `val_loss`, the bound of the model's own objective at its own number of
    samples. Callbacks that come after this one can watch it: `EarlyStopping("val_log_likelihood", mode="max")`.

    Args:
      data: array `[n, *event_shape]` or `tf.data.Dataset` of batches, the validation data.
      num_samples: k, the importance samples per observation, many more than any objective draws.
      num_observations: number of observations of `data` to score, the first ones.
      seed: integer seed of all samples; every epoch uses it anew.
      num_epochs: number of epochs to average over, the last ones. With 1, the best of many epochs is the luckiest.

    Raises:
      ValueError: if a number is not a positive integer.

    Example:
      ```python
      scores = callbacks.ValidationLogLikelihood(splits.validation, num_samples=20, num_observations=10)
      stop = keras.callbacks.EarlyStopping("val_log_likelihood", mode="max", patience=3)
      history = model.fit(x, epochs=1, batch_size=10, callbacks=[scores, stop], verbose=0).history
      history["val_log_likelihood"]
      ```
    """

    def __init__(
        self,
        data: Array | tf.data.Dataset,
        num_samples: int = 1000,
        num_observations: int = 100,
        seed: int = 0,
        num_epochs: int = 1,
    ) -> None:
        super().__init__()
        self.num_samples = check_count(num_samples, "num_samples")
        self.num_observations = check_count(num_observations, "num_observations")
        self.num_epochs = check_count(num_epochs, "num_epochs")
        self.data, self.seed = data, seed

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._x = inputs.take_rows(self.model, self.data, self.num_observations)
        self._scores: deque[float] = deque(maxlen=self.num_epochs)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if logs is not None:
            # Each observation has its own noise. With shared noise, the best of many epochs would be the luckiest.
            table = evaluation.log_likelihood(self.model, self._x, self.num_samples, self.seed)
            self._scores.append(float(table.log_likelihood.mean()))
            logs["val_log_likelihood"] = float(np.mean(self._scores))
