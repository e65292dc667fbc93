"""The end of a search: the best trials are scored again, and the model of the winner becomes a run."""

import dataclasses
import shutil
from pathlib import Path

import keras_tuner
import numpy as np
import pandas as pd
import tensorflow as tf
from keras_tuner.engine.trial import Trial

from iwae_tf import evaluation
from iwae_tf.data import inputs
from iwae_tf.files import write_whole
from iwae_tf.runs.config import write_config
from iwae_tf.runs.loading import RunData
from iwae_tf.runs.training import write_results
from iwae_tf.tuning.tuners import count_epochs

#: Seed of the new scores. The scores of the search have seed 0, which would favour the trials that were lucky with it.
SEED = 1


def score_finalists(
    tuner: keras_tuner.Tuner, validation: tf.data.Dataset, num_finalists: int, num_samples: int, num_observations: int
) -> pd.DataFrame:
    """Scores the best trials of a search and its first trial again, each with the weights of its best epoch.

    Other noise, more samples and more observations than in the search separate the better models from the luckier.

    Args:
      tuner: the tuner after its search.
      validation: batches of validation data.
      num_finalists: number of the best trials, beside the first.
      num_samples: k, the importance samples per observation.
      num_observations: number of observations, the first ones.

    Returns:
      A `DataFrame` with a row per finalist, the best first: its number `trial`; its `score` in the search; the new mean
      `log_likelihood`; the mean `difference` from the first trial, observation by observation, and the `standard_error`
      of the difference. All are in nats.
    """
    completed = [trial for trial in tuner.oracle.trials.values() if trial.status == "COMPLETED"]
    first = min(completed, key=lambda trial: int(trial.trial_id))
    best = [trial for trial in tuner.oracle.get_best_trials(len(completed)) if trial is not first]
    rows, reference = [], None
    for trial in [first, *best[:num_finalists]]:
        model = tuner.load_model(trial)
        x = inputs.take_rows(model, validation, num_observations)
        scores = evaluation.log_likelihood(model, x, num_samples, SEED).log_likelihood.to_numpy()
        reference = scores if reference is None else reference
        rows.append(
            {
                "trial": int(trial.trial_id),
                "score": trial.score,
                "log_likelihood": scores.mean(),
                "difference": (scores - reference).mean(),
                "standard_error": (scores - reference).std(ddof=1) / np.sqrt(len(scores)),
            }
        )
    return pd.DataFrame(rows).sort_values("log_likelihood", ascending=False, ignore_index=True)


def write_best(tuner: keras_tuner.Tuner, trial: Trial, run_data: RunData, folder: Path, verbose: int = 0) -> None:
    """Writes the model of a trial's best epoch as a run: `best` in the folder of the search."""
    options = {"epochs": count_epochs(trial), **run_data.config.data_options}
    config = tuner.hypermodel.config(trial.hyperparameters.values, **options)
    with write_whole(folder / "best", overwrite=True) as run:
        run.mkdir()
        write_config(config, run)
        history = read_history(tuner, trial)
        history.to_csv(run / "history.csv", index=False)
        shutil.copytree(folder / "tensorboard" / trial.trial_id / "execution0", run / "tensorboard")
        model = tuner.load_model(trial)
        model.data_dtype = run_data.splits.train.element_spec.dtype.name  # which `fit` would have set
        training = {"epochs": config.epochs, "seconds": history.seconds.iloc[-1], "parameters": model.count_params()}
        write_results(model, dataclasses.replace(run_data, config=config), run, training, verbose)


def read_history(tuner: keras_tuner.Tuner, trial: Trial) -> pd.DataFrame:
    """Reads the history of a trial up to its best epoch, including that of a trial that it continued."""
    history = pd.read_csv(Path(tuner.get_trial_dir(trial.trial_id)) / "history.csv")
    history = history[history.epoch < count_epochs(trial)]
    if "tuner/trial_id" not in trial.hyperparameters.values:
        return history
    before = read_history(tuner, tuner.oracle.get_trial(trial.hyperparameters.values["tuner/trial_id"]))
    return pd.concat([before, history.assign(seconds=history.seconds + before.seconds.iloc[-1])], ignore_index=True)
