"""The models that a search chooses from."""

import contextlib
import itertools

import keras
import keras_tuner
import numpy as np

from iwae_tf import objectives, runs
from iwae_tf.callbacks import ValidationLogLikelihood
from iwae_tf.checks import check_count

#: How a range of numbers is sampled; that of the others is linear.
SAMPLING = {"num_samples": "log", "learning_rate": "log", "latent_size": "log", "hidden_size": "log"}


class IWAEHyperModel(keras_tuner.HyperModel):
    """The search space of `IWAE`s of one kind of data, for any tuner of KerasTuner.

    Each argument from `num_samples` to `prior` is one value, which is fixed; a list, of which a trial takes one; or a
    tuple `(low, high)` of numbers, both included, between which it takes any. What is searched has the argument's name.

    Trials are to be compared by `val_log_likelihood`, see `callbacks.ValidationLogLikelihood`, which `fit` adds to the
    logs of every epoch and so to the metrics of the trial; never by `val_loss`, the bound of each trial's own objective
    at its own number of samples. `tuning.OBJECTIVE` says so to a tuner, and the `search` of that needs
    `validation_data`.

    Args:
      event_shape: shape of one observation.
      mean: training mean of the data in [0, 1], at which the output bias starts.
      num_samples: k, importance samples of the objective.
      depth: number of stochastic layers.
      learning_rate: that of Adam.
      latent_size: size of z_1; each layer further up has half of that below.
      hidden_size: width of the two hidden layers between x and z_1, likewise halved further up.
      objective: short name of the objective, see `objectives.NAMES`.
      beta: that of an objective which has one (see `objectives.get`). It is searched where the objective of the trial
        has one, and left alone elsewhere.
      posterior: name of the posterior, see `mlp`.
      prior: name of the prior, see `mlp`.
      val_samples: samples per observation of `val_log_likelihood`.
      val_observations: observations of the validation data that it is the mean of, the first ones.
      **options: other fields of `runs.Config`, the same for all trials, such as `seed` or `likelihood`.

    Raises:
      ValueError: if a list is empty, a range is none of numbers in ascending order, or `runs.Config` does not
        take a value.
      TypeError: if there is no such option.
    """

    def __init__(
        self, event_shape, mean=None, num_samples=(1, 50), depth=(1, 3), learning_rate=(1e-4, 1e-2), latent_size=50,
        hidden_size=200, objective="iwae", beta=None, posterior="normal", prior="normal", val_samples=1000,
        val_observations=100, **options,
    ):  # fmt: skip
        super().__init__()
        self.event_shape, self.mean, self.options = tuple(event_shape), mean, options
        self.val_samples = check_count(val_samples, "val_samples")
        self.val_observations = check_count(val_observations, "val_observations")
        self.space = {
            "num_samples": num_samples, "depth": depth, "learning_rate": learning_rate, "latent_size": latent_size,
            "hidden_size": hidden_size, "objective": objective, "beta": beta, "posterior": posterior, "prior": prior,
        }  # fmt: skip
        values = {name: _values(name, space) for name, space in self.space.items()}
        first = {name: found[0] for name, found in values.items()}
        for chosen, (name, found) in itertools.product(values["objective"], values.items()):
            for value in found:
                self._config({**first, "objective": chosen, name: value})
        self._with_beta = [name for name in values["objective"] if objectives.takes_beta(name)]
        if beta is not None and not self._with_beta:
            objectives.get(first["objective"], first["num_samples"], first["beta"])  # which says that it has none

    @property
    def searched(self):
        """The names of what is searched."""
        return [name for name, space in self.space.items() if isinstance(space, (list, tuple))]

    def config(self, values, **options):
        """Makes the configuration of a trial.

        Args:
          values: dict of what is searched, the `values` of `HyperParameters`; other names in it are ignored.
          **options: fields of `runs.Config` that are to differ from those of the search.

        Returns:
          An `runs.Config`.
        """
        searched = self.searched
        return self._config(
            {name: values.get(name) if name in searched else space for name, space in self.space.items()}, **options
        )

    def _config(self, values, **options):
        values = dict(values)
        depth, latent_size, hidden_size = (
            check_count(values.pop(name), name) for name in ("depth", "latent_size", "hidden_size")
        )
        if not objectives.takes_beta(values["objective"]):
            values["beta"] = None
        values["latent_sizes"] = tuple(max(1, latent_size // 2**i) for i in range(depth))
        values["hidden_sizes"] = tuple((max(1, hidden_size // 2**i),) * 2 for i in range(depth))
        return runs.Config(**{**self.options, **values, **options})

    def build(self, hp):
        for name in self.searched:
            # A tuner is to know that beta makes no difference where the objective has none.
            bound = name == "beta" and "objective" in self.searched
            with hp.conditional_scope("objective", self._with_beta) if bound else contextlib.nullcontext():
                _sample(hp, name, self.space[name])
        config = self.config(hp.values)
        keras.config.set_dtype_policy(config.precision)  # which KerasTuner resets before every trial
        model = runs.build(config, self)
        model.optimizer.build(model.trainable_variables)  # so that Hyperband goes on with the state of its trials
        return model

    def fit(self, hp, model, *args, validation_data=None, callbacks=(), **kwargs):
        if validation_data is None:
            raise keras_tuner.errors.FatalValueError("Expected validation_data to compare trials by. Received: none")
        _, changing = runs.schedules(self.config(hp.values))
        scores = ValidationLogLikelihood(validation_data, self.val_samples, self.val_observations)
        # First, since the callbacks of the tuner look for its values in the logs.
        chain = [*changing, scores, *callbacks]
        history = model.fit(*args, validation_data=validation_data, callbacks=chain, **kwargs)
        found = history.history["val_log_likelihood"]
        if not np.isfinite(found).any():
            raise keras_tuner.errors.FailedTrialError(f"Expected a finite val_log_likelihood. Received: {found[-1]}")
        return history


def _values(name, space):
    """Returns the values that stand for all of a space: of a range its ends."""
    if isinstance(space, tuple):
        numbers = all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in space)
        if len(space) != 2 or not numbers or not space[0] < space[1]:
            raise ValueError(f"Expected {name} to be a range (low, high) of numbers. Received: {space!r}")
    if isinstance(space, list) and not space:
        raise ValueError(f"Expected {name} to have one value or more. Received: {space!r}")
    return list(space) if isinstance(space, (list, tuple)) else [space]


def _sample(hp, name, space):
    if isinstance(space, list):
        hp.Choice(name, space)
    else:
        sample = hp.Int if all(isinstance(end, int) for end in space) else hp.Float
        sample(name, *space, sampling=SAMPLING.get(name, "linear"))
