"""A metric by which models of different objectives compare."""

import keras

from iwae_tf import evaluation
from iwae_tf.checks import check_count
from iwae_tf.data import inputs


class ValidationLogLikelihood(keras.callbacks.Callback):
    """Adds `val_log_likelihood` to the logs of every epoch: the mean log p^(x) of validation data, in nats.

    Unlike `val_loss`, which is the bound of the model's own objective at its own number of samples, it means the same
    for all models: the number of samples, the observations, their binarisation and the seed do not change. Callbacks
    that come after it may watch it: `EarlyStopping("val_log_likelihood", mode="max")`.

    Args:
      data: array `[n, *event_shape]` or `tf.data.Dataset` of batches, the validation data.
      num_samples: samples per observation, many more than any objective draws.
      num_observations: observations of `data` that are scored, the first ones.
      seed: integer seed of everything drawn, the same in every epoch.

    Raises:
      ValueError: if a number is no integer of at least 1.
    """

    def __init__(self, data, num_samples=1000, num_observations=100, seed=0):
        super().__init__()
        self.num_samples = check_count(num_samples, "num_samples")
        self.num_observations = check_count(num_observations, "num_observations")
        self.data, self.seed = data, seed

    def on_train_begin(self, logs=None):
        self._x = inputs.first_rows(self.model, self.data, self.num_observations)

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            # Noise of its own for each observation: were it shared, the best of many epochs would be the luckiest.
            table = evaluation.log_likelihood(self.model, self._x, self.num_samples, self.seed)
            logs["val_log_likelihood"] = float(table.log_likelihood.mean())
