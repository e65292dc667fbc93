"""Evaluation of the model in a run folder."""

import dataclasses
import json
import zipfile
from pathlib import Path

import keras

from iwae_tf import data, evaluation, plots
from iwae_tf.files import read_json, write_whole
from iwae_tf.runs.config import Config


def evaluate(run, test_samples=None, data_dir=None, verbose=1):
    """Evaluates the model of a run anew on its test data, and rewrites what the run folder says of it.

    Args:
      run: a run folder.
      test_samples: samples per observation; `None` takes the run's own.
      data_dir: folder of prepared TFDS data; `None` takes the run's own.
      verbose: 1 shows a progress bar.

    Returns:
      The metrics, a dict.

    Raises:
      FileNotFoundError: if `run` is no run folder, or its data set is not at hand.
    """
    config = Config.read(run)
    config = dataclasses.replace(
        config, test_samples=test_samples or config.test_samples, data_dir=data_dir or config.data_dir
    )
    splits = data.load(config.dataset, config.batch_size, config.data_dir, config.seed)
    folder = Path(run)
    metrics = read_json(folder / "metrics.json")
    return report_test_data(load_model(run), splits, config, folder, metrics, verbose)


def load_model(run):
    """Loads the Keras model of a run folder, in Keras' safe mode: nothing in it is run.

    Raises:
      FileNotFoundError: if there is none.
      ValueError: if it is damaged, asks for code to be run, or would write outside of its archive.
    """
    path = Path(run) / "model.keras"
    if not path.is_file():
        raise FileNotFoundError(f"Expected the folder of a run, with model.keras in it. Received: {run}")
    try:
        with zipfile.ZipFile(path) as archive:
            outside = [name for name in archive.namelist() if name.startswith("/") or ".." in Path(name).parts]
        if outside:
            raise ValueError(f"a path that leaves the archive, {outside[0]!r}")
        return keras.saving.load_model(path)
    except Exception as error:  # of any kind, by what is damaged
        raise ValueError(f"Expected a model of Keras in {path}. Received: {error}") from error


def report_test_data(model, splits, config, folder, metrics, verbose):
    """Evaluates on the test data, and writes tables, pictures and metrics to the folder."""
    table = evaluation.log_likelihood(model, splits.test, config.test_samples, config.seed, verbose)
    units = evaluation.active_units(model, splits.test, seed=config.seed)
    active = units.groupby("layer").active.sum()
    metrics = {
        **metrics,
        "test": {**evaluation.summarize(table), "num_samples": config.test_samples},
        "active_units": {f"layer_{layer}": int(count) for layer, count in active.items()},
    }
    x = next(iter(splits.test.unbatch().batch(20)))
    for name, write in {
        "test_log_likelihood.csv": lambda path: table.to_csv(path, index_label="observation"),
        "active_units.csv": lambda path: units.to_csv(path, index=False),
        "samples.png": lambda path: plots.samples(model, seed=config.seed).savefig(path, format="png"),
        "reconstructions.png": lambda path: plots.reconstructions(model, x, config.seed).savefig(path, format="png"),
        "metrics.json": lambda path: path.write_text(json.dumps(metrics, indent=2) + "\n"),
    }.items():
        with write_whole(folder / name, overwrite=True) as part:
            write(part)
    return metrics
