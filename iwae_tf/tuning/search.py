"""One search: a folder with its trials, their table, and the best model as a run."""

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import pandas as pd
import tensorflow as tf
from keras.src.utils import io_utils

from iwae_tf import plots, runs
from iwae_tf.checks import check_choice, check_count
from iwae_tf.files import read_json, remove, write_whole
from iwae_tf.options import SearchOptions
from iwae_tf.runs.loading import RunData, load
from iwae_tf.tuning.finalists import score_finalists, write_best
from iwae_tf.tuning.hypermodel import IWAEHyperModel
from iwae_tf.tuning.tuners import OBJECTIVE, PROJECT, TUNERS, is_worker, make_tuner, trials, write_trials

#: The files of a search in its folder.
CONTENTS = ("search.json", PROJECT, "tensorboard", "trials.csv", "trials.png", "finalists.csv", "best", "best.part")
#: The finalists are scored on up to this many times the observations that scored the trials.
MORE_OBSERVATIONS = 10
#: Seconds that a worker waits for its chief, as long as KerasTuner's workers do.
PATIENCE = 3600


@dataclasses.dataclass(frozen=True)
class Search(SearchOptions):
    """Everything needed to repeat a search.

    Attributes:
      space: dict of keywords of `IWAEHyperModel`: the searched and the fixed hyperparameters.
      tuner: one of `TUNERS`.
      max_trials: as for `make_tuner`.
      epochs: maximum epochs of a trial; with Hyperband of the longest trials.
      factor: as for `make_tuner`.
      finalists: number of the best trials that are scored again, with the defaults, before one is chosen.
      dataset, data_dir, data, columns, id_column, target, event_shape, limit: the data, as for `runs.Config`.
      batch_size: observations per step.
      seed: integer seed of the models, the data and the choice of trials.
      test_samples: k, the importance samples of the finalists' log-likelihood and of the best model's test
        log-likelihood.

    Raises:
      ValueError: if a name is unknown, or a number is not a positive integer.

    Example:
      ```python
      search = tuning.Search({"num_samples": (1, 10), "depth": 1}, tuner="bayesian", max_trials=5, epochs=3)
      search.dataset  # "digits", the default
      ```
    """

    def __post_init__(self) -> None:
        check_choice(self.tuner, "tuner", TUNERS)
        if self.max_trials is not None:
            check_count(self.max_trials, "max_trials")
        check_count(self.finalists, "finalists")
        check_count(self.factor, "factor", minimum=2)
        runs.Config(**self.data_options, **self.run_options)

    @property
    def run_options(self) -> dict[str, Any]:
        """The fields of `runs.Config` that all trials share, but for the data."""
        return {name: getattr(self, name) for name in ("epochs", "batch_size", "seed", "test_samples")}

    def as_json(self) -> dict[str, Any]:
        """Returns the search as JSON, which distinguishes ranges from lists."""
        space = {n: {"low": s[0], "high": s[1]} if isinstance(s, tuple) else s for n, s in self.space.items()}
        return json.loads(json.dumps({**dataclasses.asdict(self), "space": space}))


def tune(search: Search, output: str | os.PathLike, overwrite: bool = False, verbose: int = 1) -> pd.DataFrame:
    """Searches for hyperparameters, beginning with the defaults, then evaluates and exports the best model.

    The best trials and the defaults are scored again before one is chosen, with the weights of its best epoch: it is
    not trained again.

    After an interrupt, the same call resumes with the interrupted trial. With KerasTuner's environment variables set,
    the workers run the trials and the chief does everything else.

    Args:
      search: the search.
      output: folder of the search: `search.json`; KerasTuner's `search`; `tensorboard`, with the HParams plugin;
        `trials.csv` and `trials.png`; `finalists.csv`, the new scores of the best trials; and `best`, the run folder
        of the best model.
      overwrite: whether to replace a search in the folder.
      verbose: 1 shows the trials and progress bars.

    Returns:
      The table of `trials`.

    Raises:
      FileExistsError: if the folder holds a finished search, another search or other files of these names, and
        `overwrite` is false.
      FileNotFoundError: if the data set or the file is not available.
      KeyboardInterrupt: after an interrupt; its message says how to resume.
      RuntimeError: if no trial completes.
      ValueError: if `IWAEHyperModel` rejects the space, or the file cannot be modelled; see `runs.loading.load`.

    Example:
      ```python
      space = {"num_samples": [1, 5], "depth": 1, "latent_size": 3, "hidden_size": 10, "val_samples": 10}
      search = tuning.Search(space, max_trials=1, epochs=1, batch_size=100, test_samples=10)
      table = tuning.tune(search, "search", verbose=0)
      table.score.max()  # the best mean log p^ of the validation data, in nats
      runs.load_model("search/best")
      ```
    """
    output = Path(output)
    likelihood = search.space.get("likelihood")
    run_data = load(runs.Config(**search.data_options, **search.run_options, likelihood=likelihood))
    splits = run_data.splits
    options = {**search.run_options, **search.space, "likelihood": run_data.config.likelihood}
    hypermodel = IWAEHyperModel(splits.event_shape, splits.mean, table=run_data.columns, **options)
    hypermodel.build(keras_tuner.HyperParameters())  # Raises errors of all models before there is a folder.
    _claim(output, search, overwrite)
    tuner = make_tuner(search.tuner, hypermodel, output, search.max_trials, search.epochs, search.seed, search.factor)
    if not is_worker():
        if verbose:
            io_utils.print_msg(run_data.description)
        _describe(output / "tensorboard", hypermodel)
    tensorboard = keras.callbacks.TensorBoard(str(output / "tensorboard"), write_graph=False)
    try:
        tuner.search(
            splits.train, validation_data=splits.validation, epochs=search.epochs, callbacks=[tensorboard],
            verbose=verbose,
        )  # fmt: skip
        if not is_worker():
            _conclude(tuner, search, run_data, output, verbose)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"after some trials, which are kept in {output}; the same command resumes") from None
    finally:  # after an interrupt too
        if not is_worker() and any((output / PROJECT).glob("trial_*")):
            _write_table(output, hypermodel)
    return trials(output)


def _conclude(tuner: keras_tuner.Tuner, search: Search, run_data: RunData, output: Path, verbose: int) -> None:
    """Chooses the best model of a search, and writes its run and the table of the finalists."""
    table = trials(output)
    if not (table.status == "COMPLETED").any():
        raise RuntimeError(f"Expected a trial to complete. Received: {len(table)} failures; {table.message.iloc[0]}")
    num_observations = MORE_OBSERVATIONS * tuner.hypermodel.val_observations
    finalists = score_finalists(
        tuner, run_data.splits.validation, search.finalists, search.test_samples, num_observations
    )
    with write_whole(output / "finalists.csv", overwrite=True) as file:
        finalists.to_csv(file, index=False)
    winner = next(t for t in tuner.oracle.trials.values() if int(t.trial_id) == finalists.trial[0])
    write_best(tuner, winner, run_data, output, verbose)


def _claim(output: Path, search: Search, overwrite: bool) -> None:
    """Claims the folder for a search, or raises a `FileExistsError`; a worker waits until its chief has claimed it."""
    path, content = output / "search.json", search.as_json()
    start = time.monotonic()
    while is_worker() and not (path.exists() and (not overwrite or read_json(path) == content)):
        if time.monotonic() - start > PATIENCE:
            raise TimeoutError(f"Expected a chief to begin this search in {output}. Received: none within an hour")
        time.sleep(0.5)
    existing = [name for name in CONTENTS if (output / name).exists()]
    if existing and not overwrite:
        if path.name not in existing:
            raise FileExistsError(f"Expected a folder without files of others. Received: {', '.join(existing)}")
        other = read_json(path)
        if other != content:
            different = {name: value for name, value in other.items() if value != content.get(name)}
            raise FileExistsError(
                f"Expected {output} to hold the same search. Received: a search with {different}; pass overwrite "
                "(--overwrite) to replace it, or choose another folder"
            )
        if "best" in existing:
            raise FileExistsError(
                f"Expected a new folder. Received: {output}, with a finished search; pass overwrite (--overwrite) to "
                "replace it"
            )
    if is_worker() or (existing and not overwrite):
        return
    for name in existing:
        remove(output / name)
    output.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as file:
        file.write_text(json.dumps(content, indent=2) + "\n")


def _write_table(output: Path, hypermodel: IWAEHyperModel) -> None:
    """Writes the table of trials and the picture of them."""
    table = write_trials(output)
    figure = plots.parallel_coordinates(table, [name for name in hypermodel.searched if name in table])
    with write_whole(output / "trials.png", overwrite=True) as file:
        figure.savefig(file, format="png")


def _describe(folder: Path, hypermodel: IWAEHyperModel) -> None:
    """Tells the HParams plugin of TensorBoard the metric of the trials; KerasTuner logs their hyperparameters."""
    from tensorboard.plugins.hparams import api

    # Keras logs val_NAME as epoch_NAME of the validation data.
    metric = api.Metric("epoch_log_likelihood", group="validation", display_name=OBJECTIVE.name)
    with tf.summary.create_file_writer(str(folder)).as_default():
        api.hparams_config([api.HParam(name) for name in hypermodel.searched], [metric])
