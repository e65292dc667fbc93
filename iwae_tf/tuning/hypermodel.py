"""The models that a search chooses from."""

import contextlib
import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import keras_tuner
import numpy as np
import numpy.typing as npt

from iwae_tf import objectives, runs
from iwae_tf.callbacks import ValidationLogLikelihood
from iwae_tf.checks import check_count
from iwae_tf.layers import Column
from iwae_tf.model import IWAE
from iwae_tf.options import FloatSpace, IntSpace, NameSpace, RunOptions
from iwae_tf.types import Data

#: How ranges are sampled; the ranges that are not listed, linearly.
SAMPLING = {"num_samples": "log", "learning_rate": "log", "latent_size": "log", "hidden_size": "log"}
#: The values of `iwae-tf train`, with which a search begins.
DEFAULTS: dict[str, Any] = {
    **{name: getattr(RunOptions, name) for name in ("num_samples", "learning_rate", "objective", "posterior", "prior")},
    "depth": 1,
    "latent_size": RunOptions.latent_sizes[0],
    "hidden_size": 200,
}


class IWAEHyperModel(keras_tuner.HyperModel):
    """The search space of `IWAE`s for one data set, for any tuner of KerasTuner.

    Each argument from `num_samples` to `prior` is a value, which is fixed; a list, from which each trial takes a value;
    or a tuple `(low, high)` of numbers, between which each trial takes a number, including both ends. A searched
    hyperparameter has the name of its argument. Its default is the value of `iwae-tf train` if the space contains it,
    otherwise the nearest end of the range or the first value of the list. The tuners of `make_tuner` begin with it.

    Compare trials by `val_log_likelihood`, which `fit` adds to the logs of every epoch and so to the metrics of the
    trial; see `callbacks.ValidationLogLikelihood`. Never compare them by `val_loss`, the bound of each trial's own
    objective at its own number of samples. `tuning.OBJECTIVE` is the objective for a tuner, whose `search` needs
    `validation_data`.

    Args:
      event_shape: shape of one observation.
      mean: training mean of the data in [0, 1], where the output bias starts.
      num_samples: k, the importance samples of the objective.
      depth: number of stochastic layers.
      learning_rate: learning rate of Adam.
      latent_size: size of z_1; each layer above has half the size of the layer below.
      hidden_size: width of the two hidden layers between x and z_1, likewise halved from layer to layer.
      objective: short name of the objective, see `objectives.NAMES`.
      beta: `beta` of the objective (see `objectives.get`); objectives without one ignore it.
      posterior: name of the posterior, see `mlp`.
      prior: name of the prior, see `mlp`.
      table: columns of a table, see `data.from_dataframe`, for the likelihood `"table"`.
      val_samples: importance samples of `val_log_likelihood`.
      val_observations: number of validation observations that it is averaged over, the first ones.
      val_epochs: number of epochs that it is averaged over, the last ones, so that the best epoch is not the luckiest.
      patience: number of epochs without a better `val_log_likelihood` after which a trial ends.
      **options: other fields of `runs.Config` for all trials, such as `seed` or `likelihood`.

    Raises:
      ValueError: if a list is empty, a range is not two ascending numbers, or a value is not valid in `runs.Config`.
      TypeError: if an option is unknown.

    Example:
      ```python
      import keras_tuner

      hypermodel = tuning.IWAEHyperModel(
          splits.event_shape, splits.mean, num_samples=(1, 10), objective=["iwae", "dreg"], depth=1, hidden_size=20)
      hypermodel.searched  # ["num_samples", "learning_rate", "latent_size", "objective"]
      hypermodel.build(keras_tuner.HyperParameters())
      ```
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        mean: npt.ArrayLike | None = None,
        num_samples: IntSpace = (5, 50),
        depth: IntSpace = (1, 3),
        learning_rate: FloatSpace = (3e-4, 5e-3),
        latent_size: IntSpace = (10, 100),
        hidden_size: IntSpace = 200,
        objective: NameSpace = "iwae",
        beta: FloatSpace | None = None,
        posterior: NameSpace = "normal",
        prior: NameSpace | None = None,
        table: Sequence[Column] = (),
        val_samples: int = 1000,
        val_observations: int = 100,
        val_epochs: int = 5,
        patience: int = 10,
        **options: Any,
    ) -> None:
        super().__init__()
        self.event_shape, self.mean, self.columns, self.options = tuple(event_shape), mean, tuple(table), options
        self.val_samples = check_count(val_samples, "val_samples")
        self.val_observations = check_count(val_observations, "val_observations")
        self.val_epochs = check_count(val_epochs, "val_epochs")
        self.patience = check_count(patience, "patience")
        self.space: dict[str, Any] = {
            "num_samples": num_samples, "depth": depth, "learning_rate": learning_rate, "latent_size": latent_size,
            "hidden_size": hidden_size, "objective": objective, "beta": beta, "posterior": posterior, "prior": prior,
        }  # fmt: skip
        values = {name: _list_values(name, space) for name, space in self.space.items()}
        first = {name: candidates[0] for name, candidates in values.items()}
        for chosen, (name, candidates) in itertools.product(values["objective"], values.items()):
            for value in candidates:
                self._make_config({**first, "objective": chosen, name: value})
        self._with_beta = [name for name in values["objective"] if objectives.takes_beta(name)]
        if beta is not None and not self._with_beta:
            objectives.get(first["objective"], first["num_samples"], first["beta"])  # Raises the error for beta.

    @property
    def searched(self) -> list[str]:
        """The names of the searched hyperparameters."""
        return [name for name, space in self.space.items() if isinstance(space, (list, tuple))]

    def config(self, values: Mapping[str, Any], **options: Any) -> runs.Config:
        """Makes the configuration of a trial.

        Args:
          values: the `values` of its `HyperParameters`; names that are not searched are ignored.
          **options: fields of `runs.Config` that differ from the search's.

        Returns:
          A `runs.Config`.
        """
        searched = self.searched
        chosen = {name: values.get(name) if name in searched else space for name, space in self.space.items()}
        return self._make_config(chosen, **options)

    def _make_config(self, chosen: Mapping[str, Any], **options: Any) -> runs.Config:
        """Makes a configuration from a value for every hyperparameter."""
        values = dict(chosen)
        depth, latent_size, hidden_size = (
            check_count(values.pop(name), name) for name in ("depth", "latent_size", "hidden_size")
        )
        if not objectives.takes_beta(values["objective"]):
            values["beta"] = None
        values["latent_sizes"] = tuple(max(1, latent_size // 2**i) for i in range(depth))
        if self.options.get("network") != "conv":  # whose filters stay as they are
            values["hidden_sizes"] = tuple((max(1, hidden_size // 2**i),) * 2 for i in range(depth))
        return runs.Config(**{**self.options, **values, **options})

    def build(self, hp: keras_tuner.HyperParameters) -> IWAE:
        """Makes the compiled model of a trial; KerasTuner calls this."""
        for name in self.searched:
            # Tells the tuner that beta makes no difference to objectives without one.
            conditional = name == "beta" and "objective" in self.searched
            scope = hp.conditional_scope("objective", self._with_beta) if conditional else contextlib.nullcontext()
            with scope:
                _sample(hp, name, self.space[name])
        config = self.config(hp.values)
        keras.config.set_dtype_policy(config.precision)  # KerasTuner resets it before every trial.
        model = runs.build(config, self)
        model.optimizer.build(model.trainable_variables)  # Hyperband resumes trials with the optimiser's state.
        return model

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: IWAE,
        *args: Any,
        validation_data: Data | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains the model of a trial until its score stops rising; KerasTuner calls this.

        The logs of every epoch have `val_log_likelihood`, and the `seconds` since the training began.

        Raises:
          keras_tuner.errors.FatalValueError: if there are no `validation_data`.
          keras_tuner.errors.FailedTrialError: if no `val_log_likelihood` is finite.
        """
        if validation_data is None:
            raise keras_tuner.errors.FatalValueError("Expected validation_data to compare trials by. Received: none")
        config, start = self.config(hp.values), time.perf_counter()
        _, schedules = runs.schedules(config)
        # The scores come before the tuner's callbacks, which read them in the logs.
        observers = [
            ValidationLogLikelihood(
                validation_data, self.val_samples, self.val_observations, num_epochs=self.val_epochs
            ),
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, logs: logs.update(seconds=time.perf_counter() - start)
            ),
            keras.callbacks.EarlyStopping(
                "val_log_likelihood", mode="max", patience=self.patience, start_from_epoch=config.warm_up
            ),
        ]
        kwargs |= {"validation_data": validation_data, "callbacks": [*schedules, *observers, *callbacks]}
        history = model.fit(*args, **kwargs)
        values = history.history["val_log_likelihood"]
        if not np.isfinite(values).any():
            raise keras_tuner.errors.FailedTrialError(f"Expected a finite val_log_likelihood. Received: {values[-1]}")
        return history


def _list_values(name: str, space: Any) -> list:
    """Returns the values that represent a space: all values of a list, the ends of a range."""
    if isinstance(space, tuple):
        numbers = all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in space)
        if len(space) != 2 or not numbers or not space[0] < space[1]:
            raise ValueError(f"Expected {name} to be a range (low, high) of numbers. Received: {space!r}")
    if isinstance(space, list) and not space:
        raise ValueError(f"Expected {name} to have at least one value. Received: {space!r}")
    return list(space) if isinstance(space, (list, tuple)) else [space]


def _sample(hp: keras_tuner.HyperParameters, name: str, space: list | tuple) -> None:
    """Adds a hyperparameter to those of a trial."""
    default = DEFAULTS.get(name, space[0])
    if isinstance(space, list):
        hp.Choice(name, space, default=default if default in space else space[0])
    else:
        sample = hp.Int if all(isinstance(end, int) for end in space) else hp.Float
        low, high = space
        sample(name, low, high, sampling=SAMPLING.get(name, "linear"), default=min(max(default, low), high))
