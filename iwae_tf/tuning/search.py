"""One search: a folder with its trials, what is known of them, and a run of the best."""

import dataclasses
import json
import time
from pathlib import Path

import keras
import keras_tuner
import tensorflow as tf

from iwae_tf import data, plots, runs
from iwae_tf.checks import check_choice, check_count
from iwae_tf.files import read_json, remove, write_whole
from iwae_tf.tuning.hypermodel import IWAEHyperModel
from iwae_tf.tuning.tuners import OBJECTIVE, PROJECT, TUNERS, best_epochs, is_worker, make_tuner, trials, write_trials

#: What a search writes to its folder.
CONTENTS = ("search.json", PROJECT, "tensorboard", "trials.csv", "trials.png", "best", "best.part")
#: Seconds that a worker waits for its chief, as long as KerasTuner itself.
PATIENCE = 3600


@dataclasses.dataclass(frozen=True)
class Search:
    """Everything needed to repeat a search.

    Attributes:
      space: dict of keywords of `IWAEHyperModel`: what is searched, and what is fixed.
      tuner: one of `TUNERS`.
      max_trials: as for `make_tuner`.
      epochs: epochs of a trial; with Hyperband those of the longest.
      dataset: name of the data set, see `data.load`.
      data_dir: folder of prepared TFDS data.
      batch_size: observations per step.
      seed: integer seed of the models, of the data and of the choice of trials.
      test_samples: samples per observation of the best model's test log-likelihood.

    Raises:
      ValueError: if a value is not among those there are.
    """

    space: dict = dataclasses.field(default_factory=dict)
    tuner: str = "random"
    max_trials: int | None = None
    epochs: int = 30
    dataset: str = "digits"
    data_dir: str | None = None
    batch_size: int = 20
    seed: int = 0
    test_samples: int = 5000

    def __post_init__(self):
        check_choice(self.tuner, "tuner", TUNERS)
        if self.max_trials is not None:
            check_count(self.max_trials, "max_trials")
        runs.Config(**self.shared)

    @property
    def shared(self):
        """The fields of `runs.Config` that all trials and the run of the best have in common."""
        names = ("epochs", "dataset", "data_dir", "batch_size", "seed", "test_samples")
        return {name: getattr(self, name) for name in names}

    def as_json(self):
        """Returns the search as JSON, in which a range is told from a list."""
        space = {n: {"low": s[0], "high": s[1]} if isinstance(s, tuple) else s for n, s in self.space.items()}
        return json.loads(json.dumps({**dataclasses.asdict(self), "space": space}))


def tune(search, output, overwrite=False, verbose=1):
    """Searches for hyperparameters, then trains the best model anew and exports it.

    Called again after an interrupt, it goes on with the trial that was cut short. Under KerasTuner's environment
    variables the chief does all this, but for the trials, which its workers run.

    Args:
      search: a `Search`.
      output: folder of the search: `search.json`; KerasTuner's `search`; `tensorboard`, with the HParams plugin;
        `trials.csv` and `trials.png`; and `best`, the run folder of the best model, trained for as many epochs as its
        trial took to its best.
      overwrite: whether a search in the folder is replaced.
      verbose: 1 shows the trials and progress bars.

    Returns:
      The table of `trials`.

    Raises:
      FileExistsError: if the folder holds a finished search or another one, and `overwrite` is false.
      FileNotFoundError: if the data set is not at hand.
      KeyboardInterrupt: with a message that says how to go on, if one comes.
      RuntimeError: if no trial has completed.
      ValueError: if the space is not such as `IWAEHyperModel` takes.
    """
    output = Path(output)
    splits = data.load(search.dataset, search.batch_size, search.data_dir, search.seed)
    hypermodel = IWAEHyperModel(splits.event_shape, splits.mean, **search.shared, **search.space)
    hypermodel.build(keras_tuner.HyperParameters())  # raises what is wrong with all models before there is a folder
    _claim(output, search, overwrite)
    tuner = make_tuner(search.tuner, hypermodel, output, search.max_trials, search.epochs, search.seed)
    if not is_worker():
        _describe(output / "tensorboard", hypermodel)
    watcher = keras.callbacks.TensorBoard(str(output / "tensorboard"), write_graph=False)
    try:
        tuner.search(
            splits.train, validation_data=splits.validation, epochs=search.epochs, callbacks=[watcher], verbose=verbose
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"with what is done kept in {output}; the same command goes on from there") from None
    finally:  # after an interrupt too
        if not is_worker() and any((output / PROJECT).glob("trial_*")):
            _show(output, hypermodel)
    table = trials(output)
    if is_worker():
        return table
    if not (table.status == "COMPLETED").any():
        raise RuntimeError(f"Expected a trial to complete. Received: {len(table)} failures; {table.message.iloc[0]}")
    best = tuner.oracle.get_best_trials()[0]
    config = hypermodel.config(best.hyperparameters.values, epochs=best_epochs(best))
    runs.train(config, output / "best", overwrite=True, verbose=verbose)
    return table


def _claim(output, search, overwrite):
    """Makes the folder that of this search, or raises a `FileExistsError`; a worker waits until its chief has."""
    path, wanted = output / "search.json", search.as_json()
    start = time.monotonic()
    while is_worker() and not (path.exists() and (not overwrite or read_json(path) == wanted)):
        if time.monotonic() - start > PATIENCE:
            raise TimeoutError(f"Expected a chief to begin this search in {output}. Received: none in an hour")
        time.sleep(0.5)
    found = [name for name in CONTENTS if (output / name).exists()]
    if found and not overwrite:
        if path.name not in found:
            raise FileExistsError(f"Expected {output} to hold no other's files. Received: {', '.join(found)}")
        held = read_json(path)
        if held != wanted:
            other = {name: value for name, value in held.items() if value != wanted.get(name)}
            raise FileExistsError(
                f"Expected {output} to hold the same search. Received: one with {other}; pass overwrite (--overwrite) "
                "to replace it, or choose another folder"
            )
        if "best" in found:
            raise FileExistsError(
                f"Expected {output} to be free. Received: a finished search; pass overwrite (--overwrite) to replace it"
            )
    if is_worker() or (found and not overwrite):
        return
    for name in found:
        remove(output / name)
    output.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as part:
        part.write_text(json.dumps(wanted, indent=2) + "\n")


def _show(output, hypermodel):
    """Writes the table of trials, their picture, and what TensorBoard is to compare them by."""
    table = write_trials(output)
    figure = plots.parallel_coordinates(table, [name for name in hypermodel.searched if name in table])
    with write_whole(output / "trials.png", overwrite=True) as part:
        figure.savefig(part, format="png")


def _describe(folder, hypermodel):
    """Tells the HParams plugin of TensorBoard what trials are compared by; KerasTuner logs their hyperparameters."""
    from tensorboard.plugins.hparams import api

    # Keras logs val_NAME as epoch_NAME of the validation data.
    metric = api.Metric("epoch_log_likelihood", group="validation", display_name=OBJECTIVE.name)
    with tf.summary.create_file_writer(str(folder)).as_default():
        api.hparams_config([api.HParam(name) for name in hypermodel.searched], [metric])
