"""KerasTuner's tuners for `IWAEHyperModel`, and the table of their trials."""

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import keras_tuner
import numpy as np
import pandas as pd
from keras_tuner.engine.trial import Trial

from iwae_tf.checks import check_choice, check_count
from iwae_tf.files import write_whole
from iwae_tf.options import RunOptions
from iwae_tf.tuning.hypermodel import IWAEHyperModel

#: The objective of tuners: trials are compared by `val_log_likelihood`.
OBJECTIVE = keras_tuner.Objective("val_log_likelihood", "max")
#: The folder of KerasTuner's own files within the folder of a search.
PROJECT = "search"
#: The default number of trials, except for Hyperband.
MAX_TRIALS = 20

_log = logging.getLogger(__name__)


class _Recording(keras_tuner.Tuner):
    """Writes what KerasTuner does not write: the history or the error of each trial, and the table of the trials."""

    def run_trial(self, trial: Trial, *args: Any, **kwargs: Any) -> Any:
        # The error goes to a file, because a worker does not tell its chief the reason.
        folder = Path(self.get_trial_dir(trial.trial_id))
        path = folder / "error.txt"
        path.unlink(missing_ok=True)
        try:
            histories = super().run_trial(trial, *args, **kwargs)
        except Exception as error:
            path.write_text(traceback.format_exc())
            _log.warning("Trial %s failed: %s", trial.trial_id, error)
            raise
        table = pd.DataFrame(histories[0].history, index=histories[0].epoch)
        table.to_csv(folder / "history.csv", index_label="epoch")
        return histories

    def on_trial_end(self, trial: Trial) -> None:
        super().on_trial_end(trial)
        if not is_worker():
            write_trials(self.directory)

    def pre_create_trial(self) -> None:
        super().pre_create_trial()
        if is_worker():
            time.sleep(0.1)  # Otherwise an idle worker would ask its chief without a pause.


class _Random(_Recording, keras_tuner.RandomSearch):
    pass


class _Bayesian(_Recording, keras_tuner.BayesianOptimization):
    pass


class _Hyperband(_Recording, keras_tuner.Hyperband):
    pass


#: Tuners by name.
TUNERS = {"random": _Random, "bayesian": _Bayesian, "hyperband": _Hyperband}


def make_tuner(
    name: Literal["random", "bayesian", "hyperband"] | str,
    hypermodel: IWAEHyperModel,
    folder: str | os.PathLike,
    max_trials: int | None = None,
    epochs: int = RunOptions.epochs,
    seed: int = 0,
    factor: int = 3,
    **kwargs: Any,
) -> keras_tuner.Tuner:
    """Makes a tuner that compares trials by `val_log_likelihood`, and resumes a search in its folder.

    Its first trial has the defaults of the hyperparameters, and as many epochs as the longest trials.

    With KerasTuner's environment variables set, it is the chief or a worker of a search by several processes, which
    share the folder.

    Args:
      name: `"random"`, `"bayesian"` or `"hyperband"`.
      hypermodel: the search space.
      folder: KerasTuner's files go to its folder `search`, the table of trials to `trials.csv`.
      max_trials: maximum number of trials. `None` means 20, or for Hyperband one full pass.
      epochs: epochs of Hyperband's longest trials; the `search` of other tuners takes their epochs.
      seed: integer seed of the choice of trials.
      factor: with Hyperband, one of `factor` trials goes on to the next round, which has `factor` times the epochs.
      **kwargs: as for KerasTuner's tuner.

    Returns:
      A `keras_tuner.Tuner`. Its `search(train, validation_data=..., epochs=...)` runs the missing trials.

    Raises:
      ValueError: if the name is unknown, or a number is not a positive integer.

    Example:
      ```python
      hypermodel = tuning.IWAEHyperModel(
          splits.event_shape, splits.mean, depth=1, latent_size=3, hidden_size=10, val_samples=10)
      tuner = tuning.make_tuner("bayesian", hypermodel, "my-search", max_trials=1)
      tuner.search(splits.validation, validation_data=splits.validation, epochs=1, verbose=0)
      tuning.trials("my-search")
      ```
    """
    check_choice(name, "tuner", TUNERS)
    check_count(epochs, "epochs")
    check_count(factor, "factor", minimum=2)
    hyperband = name == "hyperband"
    if max_trials is None:
        max_trials = None if hyperband else MAX_TRIALS
    else:
        check_count(max_trials, "max_trials")
    tuner = TUNERS[name](
        hypermodel,
        objective=OBJECTIVE,
        directory=str(folder),
        project_name=PROJECT,
        seed=seed + 1,  # KerasTuner takes 0 for no seed.
        max_consecutive_failed_trials=sys.maxsize,  # The error of any limit would leave a chief locked for ever.
        **({"max_epochs": epochs, "factor": factor} if hyperband else {"max_trials": max_trials}),
        **kwargs,
    )
    if not is_worker():
        tuner.oracle.max_trials = max_trials
        longest = {"tuner/epochs": epochs, "tuner/initial_epoch": 0} if hyperband else {}
        tuner.oracle.populate_space = _begin_with_defaults(tuner.oracle, longest)
        # KerasTuner itself looks for a file with the tuner's name, which differs for a chief.
        if (Path(folder) / PROJECT / "oracle.json").exists():
            tuner.oracle.reload()
    return tuner


def _begin_with_defaults(oracle: keras_tuner.Oracle, values: dict[str, Any]) -> Callable[[str], dict[str, Any]]:
    """Makes a `populate_space` of an oracle that begins with the defaults, which take no place in Hyperband's brackets.

    Args:
      oracle: chooses all other trials.
      values: further values of the first trial.
    """
    choose = oracle.populate_space

    def populate_space(trial_id: str) -> dict[str, Any]:
        if oracle.trials:
            return choose(trial_id)
        defaults = keras_tuner.HyperParameters()
        defaults.merge(oracle.get_space())
        return {"status": "RUNNING", "values": {**defaults.values, **values}}

    return populate_space


def is_worker() -> bool:
    """Returns whether this process runs trials for a chief, by KerasTuner's environment variables."""
    return "KERASTUNER_ORACLE_IP" in os.environ and "chief" not in os.environ.get("KERASTUNER_TUNER_ID", "chief")


def trials(folder: str | os.PathLike) -> pd.DataFrame:
    """Reads the trials of a search, finished or not.

    Args:
      folder: the folder of the search, as for `make_tuner` or `tune`.

    Returns:
      A `DataFrame` with a row per trial: its number `trial`; `status`, `"COMPLETED"`, `"FAILED"`, or `"RUNNING"` while
      it runs or after an interrupt; `score`, the `val_log_likelihood` in nats; `epochs` and `seconds` of
      training up to the score; the hyperparameters, NaN where one does not apply; and `message`, the reason of a
      failure.

    Raises:
      FileNotFoundError: if there are no trials.

    Example:
      ```python
      hypermodel = tuning.IWAEHyperModel(
          splits.event_shape, splits.mean, depth=1, latent_size=3, hidden_size=10, val_samples=10)
      tuner = tuning.make_tuner("random", hypermodel, "search-1", max_trials=1)
      tuner.search(splits.validation, validation_data=splits.validation, epochs=1, verbose=0)
      tuning.trials("search-1").nlargest(1, "score")
      ```
    """
    rows = [_row(path) for path in sorted((Path(folder) / PROJECT).glob("trial_*/trial.json"))]
    if not rows:
        raise FileNotFoundError(f"Expected the folder of a search, with trials in {PROJECT}. Received: {folder}")
    table = pd.DataFrame(rows)
    return table[[*(name for name in table if name != "message"), "message"]]


def _row(path: Path) -> dict[str, Any]:
    """Reads the row of a trial."""
    trial = Trial.load(str(path))
    has_score = trial.score is not None
    values = {n: value for n, value in trial.hyperparameters.values.items() if not n.startswith("tuner/")}
    return {
        "trial": int(trial.trial_id),
        "status": trial.status,
        "score": trial.score if has_score else np.nan,
        "epochs": count_epochs(trial) if has_score else np.nan,
        "seconds": trial.metrics.get_best_value("seconds") if has_score else np.nan,
        **values,
        "message": _message(trial, path.with_name("error.txt")),
    }


def count_epochs(trial: Trial) -> int:
    """Returns the number of epochs to a trial's score, including the epochs of a trial that it continued."""
    return trial.hyperparameters.values.get("tuner/initial_epoch", 0) + trial.best_step + 1


def _message(trial: Trial, path: Path) -> str | None:
    """Returns the reason why a trial failed, or `None`."""
    if trial.status != "FAILED":
        return None
    if not path.exists():
        return f"the {OBJECTIVE.name} is {trial.score}"
    return path.read_text().strip().splitlines()[-1]


def write_trials(folder: str | os.PathLike) -> pd.DataFrame:
    """Writes the table of `trials` to `trials.csv` in the folder, and returns it."""
    table = trials(folder)
    with write_whole(Path(folder) / "trials.csv", overwrite=True) as file:
        table.to_csv(file, index=False)
    return table
