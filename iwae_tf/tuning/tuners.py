"""KerasTuner's tuners for `IWAEHyperModel`, and the table of their trials."""

import logging
import os
import sys
import time
import traceback
from pathlib import Path

import keras_tuner
import numpy as np
import pandas as pd
from keras_tuner.engine.trial import Trial

from iwae_tf.checks import check_choice, check_count
from iwae_tf.files import write_whole

#: What trials are compared by.
OBJECTIVE = keras_tuner.Objective("val_log_likelihood", "max")
#: The folder of KerasTuner's own files in that of a search.
PROJECT = "search"
#: Trials of a tuner that does not choose their number itself.
MAX_TRIALS = 20

_log = logging.getLogger(__name__)


class _Recording(keras_tuner.Tuner):
    """Writes what KerasTuner does not: why a trial has failed, and the table of the trials."""

    def run_trial(self, trial, *args, **kwargs):
        # To a file, since what a worker tells its chief of a trial leaves the reason out.
        path = Path(self.get_trial_dir(trial.trial_id)) / "error.txt"
        path.unlink(missing_ok=True)
        try:
            return super().run_trial(trial, *args, **kwargs)
        except Exception as error:
            path.write_text(traceback.format_exc())
            _log.warning("Trial %s failed: %s", trial.trial_id, error)
            raise

    def on_trial_end(self, trial):
        super().on_trial_end(trial)
        if not is_worker():
            write_trials(self.directory)

    def pre_create_trial(self):
        super().pre_create_trial()
        if is_worker():
            time.sleep(0.1)  # or a worker would ask a chief that has nothing to do as fast as it can


class _Random(_Recording, keras_tuner.RandomSearch):
    pass


class _Bayesian(_Recording, keras_tuner.BayesianOptimization):
    pass


class _Hyperband(_Recording, keras_tuner.Hyperband):
    pass


#: Names of tuners.
TUNERS = {"random": _Random, "bayesian": _Bayesian, "hyperband": _Hyperband}


def make_tuner(name, hypermodel, folder, max_trials=None, epochs=30, seed=0, **kwargs):
    """Makes a tuner that compares trials by `val_log_likelihood`, and takes up what is in its folder already.

    With KerasTuner's environment variables set, it is the chief or a worker of a search by several processes; these
    share the folder.

    Args:
      name: `"random"`, `"bayesian"` or `"hyperband"`.
      hypermodel: an `IWAEHyperModel`.
      folder: KerasTuner's files go to its folder `search`, the table of trials to `trials.csv`.
      max_trials: trials at most. `None` is 20, and for Hyperband as many as one pass of it takes.
      epochs: epochs of Hyperband's longest trials; those of the other tuners are given to their `search`.
      seed: integer seed of the choice of trials.
      **kwargs: as for the tuner of KerasTuner.

    Returns:
      A `keras_tuner.Tuner`. Its `search(train, validation_data=..., epochs=...)` runs the trials that are missing.

    Raises:
      ValueError: if there is no such tuner, or a number is no integer of at least 1.
    """
    check_choice(name, "tuner", TUNERS)
    check_count(epochs, "epochs")
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
        seed=seed + 1,  # 0 would be none
        max_consecutive_failed_trials=sys.maxsize,  # its error would leave a chief locked for ever
        **({"max_epochs": epochs} if hyperband else {"max_trials": max_trials}),
        **kwargs,
    )
    if not is_worker():
        tuner.oracle.max_trials = max_trials
        # KerasTuner itself looks for a file with the tuner's name, which is another for a chief.
        if (Path(folder) / PROJECT / "oracle.json").exists():
            tuner.oracle.reload()
    return tuner


def is_worker():
    """Returns whether this process is to run the trials that a chief gives it, by KerasTuner's own variables."""
    return "KERASTUNER_ORACLE_IP" in os.environ and "chief" not in os.environ.get("KERASTUNER_TUNER_ID", "chief")


def trials(folder):
    """Reads the trials of a search, finished or not.

    Args:
      folder: that of `make_tuner` or `tune`.

    Returns:
      A `DataFrame` with a row per trial: its number `trial`; `status`, `"COMPLETED"`, `"FAILED"`, or `"RUNNING"` for
      one that is under way or was interrupted; `score`, the `val_log_likelihood` in nats; `epochs`, after how many it
      was reached; the hyperparameters, NaN where one does not apply; and `message`, why the trial has failed.

    Raises:
      FileNotFoundError: if there are no trials.
    """
    rows = [_row(path) for path in sorted((Path(folder) / PROJECT).glob("trial_*/trial.json"))]
    if not rows:
        raise FileNotFoundError(f"Expected the folder of a search, with trials in {PROJECT}. Received: {folder}")
    table = pd.DataFrame(rows)
    return table[[*(name for name in table if name != "message"), "message"]]


def _row(path):
    trial = Trial.load(str(path))
    scored = trial.score is not None
    values = {n: value for n, value in trial.hyperparameters.values.items() if not n.startswith("tuner/")}
    return {
        "trial": int(trial.trial_id),
        "status": trial.status,
        "score": trial.score if scored else np.nan,
        "epochs": best_epochs(trial) if scored else np.nan,
        **values,
        "message": _message(trial, path.with_name("error.txt")),
    }


def best_epochs(trial):
    """Returns after how many epochs a trial has reached its score, those of the trial that it went on from included."""
    return trial.hyperparameters.values.get("tuner/initial_epoch", 0) + trial.best_step + 1


def _message(trial, path):
    if trial.status != "FAILED":
        return None
    if not path.exists():
        return f"the {OBJECTIVE.name} is {trial.score}"
    return path.read_text().strip().splitlines()[-1]


def write_trials(folder):
    """Writes the table of `trials` to `trials.csv` in the folder, and returns it."""
    table = trials(folder)
    with write_whole(Path(folder) / "trials.csv", overwrite=True) as part:
        table.to_csv(part, index=False)
    return table
