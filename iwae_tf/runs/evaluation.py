"""Evaluation of the model in a run folder."""

import dataclasses
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from iwae_tf import data, evaluation, plots
from iwae_tf.files import find_in_run, read_json, write_json, write_whole
from iwae_tf.model import IWAE
from iwae_tf.plots.images import is_image
from iwae_tf.runs.cards import write_card
from iwae_tf.runs.config import Config
from iwae_tf.runs.loading import RunData, load


def evaluate(
    run: str | os.PathLike,
    test_samples: int | None = None,
    data_dir: str | os.PathLike | None = None,
    verbose: int = 1,
    refine: int = 0,
) -> dict[str, Any]:
    """Evaluates the model of a run anew on its test data, and rewrites the results in the run folder.

    Args:
      run: a run folder.
      test_samples: k, the importance samples of the test log-likelihood; `None` uses the run's.
      data_dir: folder of prepared TFDS data; `None` uses the run's.
      verbose: 1 shows a progress bar.
      refine: steps that refine q(z|x) for each observation; see `evaluation.log_likelihood`.

    Returns:
      The metrics: `test`, `active_units` and `training`, each a dict.

    Raises:
      FileNotFoundError: if `run` is not a run folder, or its data set is not available.

    Example:
      ```python
      metrics = runs.evaluate("runs/digits", test_samples=20, verbose=0)
      metrics["test"]["log_likelihood"]  # in nats
      ```
    """
    config = Config.read(run)
    options: dict[str, Any] = {"test_samples": test_samples, "data_dir": data_dir and str(data_dir)}
    config = dataclasses.replace(config, **{name: value for name, value in options.items() if value})
    folder = Path(run)
    metrics = read_json(folder / "metrics.json")
    return report_test_data(load_model(run), load(config), folder, metrics, verbose, refine)


def load_model(run: str | os.PathLike) -> IWAE:
    """Loads the Keras model of a run folder in Keras' safe mode, which runs none of the code in it.

    Raises:
      FileNotFoundError: if `run` is not a run folder.
      ValueError: if the model is damaged, asks to run code, or would write outside its archive.

    Example:
      ```python
      runs.load_model("runs/digits").log_likelihood(x, num_samples=10)  # [20], in nats
      ```
    """
    path = find_in_run(run, "model.keras")
    try:
        with zipfile.ZipFile(path) as archive:
            outside = [name for name in archive.namelist() if name.startswith("/") or ".." in Path(name).parts]
        if outside:
            raise ValueError(f"a path outside the archive, {outside[0]!r}")
        return keras.saving.load_model(path)
    except Exception as error:  # A damaged file may raise anything.
        raise ValueError(f"Expected a Keras model in {path}. Received: {error}") from error


def report_test_data(
    model: IWAE,
    run_data: RunData,
    folder: Path,
    metrics: dict[str, Any],
    verbose: int,
    refine: int = 0,
) -> dict[str, Any]:
    """Evaluates a model on the test data, writes tables, pictures and metrics to the folder, returns the metrics.

    Models of anything but images get a table of samples instead of pictures.
    """
    config, splits = run_data.config, run_data.splits
    table = evaluation.log_likelihood(model, splits.test, config.test_samples, config.seed, verbose, refine=refine)
    if run_data.identifiers is not None:
        table.insert(0, config.id_column or "file", run_data.identifiers)
    units = evaluation.active_units(model, splits.test, seed=config.seed)
    active = units.groupby("layer").active.sum()
    metrics = {
        **metrics,
        "test": {**evaluation.summarize(table), "num_samples": config.test_samples, "refine": refine},
        "active_units": {f"layer_{layer}": int(count) for layer, count in active.items()},
    }
    x = next(iter(splits.test.unbatch().batch(20)))
    pictures: dict[str, Callable[[Path], object]] = {
        "samples.png": lambda path: plots.samples(model, seed=config.seed).savefig(path, format="png"),
        "reconstructions.png": lambda path: plots.reconstructions(model, x, config.seed).savefig(path, format="png"),
    }
    samples: dict[str, Callable[[Path], object]] = {
        "samples.csv": lambda path: _sample_rows(model, run_data).to_csv(path, index=False)
    }
    for name, write in {
        "test_log_likelihood.csv": lambda path: table.to_csv(path, index_label="observation"),
        "active_units.csv": lambda path: units.to_csv(path, index=False),
        **(pictures if is_image(run_data.event_shape) else samples),
    }.items():
        with write_whole(folder / name, overwrite=True) as path:
            write(path)
    write_json(folder / "metrics.json", metrics)
    write_card(folder, model, config, metrics)
    return metrics


def _sample_rows(model: IWAE, run_data: RunData, n: int = 100) -> pd.DataFrame:
    """Returns means of p(x|z) for z from the prior as a frame, with the dtypes of the columns of a table."""
    rows = model.sample(n, seed=run_data.config.seed).numpy().reshape(n, -1)
    return data.tables.decode(rows, run_data.columns) if run_data.columns else pd.DataFrame(rows)
