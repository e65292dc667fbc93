"""Evaluation of the model in a run folder."""

import dataclasses
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from iwae_tf import data, evaluation, plots
from iwae_tf.files import find_in_run, read_json, write_json, write_whole
from iwae_tf.model import IWAE
from iwae_tf.plots.images import is_image
from iwae_tf.runs.cards import write_card
from iwae_tf.runs.config import Config
from iwae_tf.runs.loading import RunData, load
from iwae_tf.sequences import StateSpaceModel

#: A function that writes a file.
Writer: TypeAlias = Callable[[Path], object]


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


def load_model(run: str | os.PathLike) -> Any:
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
    model: IWAE | StateSpaceModel,
    run_data: RunData,
    folder: Path,
    metrics: dict[str, Any],
    verbose: int,
    refine: int = 0,
) -> dict[str, Any]:
    """Evaluates a model on the test data, writes tables, pictures and metrics to the folder, returns the metrics.

    Models of anything but images get a table of samples instead of pictures.
    """
    make = _evaluate_sequences if isinstance(model, StateSpaceModel) else _evaluate_observations
    results, files = make(model, run_data, verbose, refine)
    for name, write in files.items():
        with write_whole(folder / name, overwrite=True) as path:
            write(path)
    metrics = {**metrics, **results}
    write_json(folder / "metrics.json", metrics)
    write_card(folder, model, run_data.config, metrics)
    return metrics


def _evaluate_observations(
    model: IWAE, run_data: RunData, verbose: int, refine: int
) -> tuple[dict[str, Any], dict[str, Writer]]:
    """Returns the metrics of a model of single observations, and functions that write its files by name."""
    config, splits = run_data.config, run_data.splits
    table = evaluation.log_likelihood(model, splits.test, config.test_samples, config.seed, verbose, refine=refine)
    if run_data.identifiers is not None:
        table.insert(0, config.id_column or "file", run_data.identifiers)
    units = evaluation.active_units(model, splits.test, seed=config.seed)
    active = units.groupby("layer").active.sum()
    results = {
        "test": {**evaluation.summarize(table), "num_samples": config.test_samples, "refine": refine},
        "active_units": {f"layer_{layer}": int(count) for layer, count in active.items()},
    }
    x = next(iter(splits.test.unbatch().batch(20)))
    pictures: dict[str, Writer] = {
        "samples.png": lambda path: plots.samples(model, seed=config.seed).savefig(path, format="png"),
        "reconstructions.png": lambda path: plots.reconstructions(model, x, config.seed).savefig(path, format="png"),
    }
    samples: dict[str, Writer] = {"samples.csv": lambda path: _sample_rows(model, run_data).to_csv(path, index=False)}
    return results, {
        "test_log_likelihood.csv": lambda path: table.to_csv(path, index_label="observation"),
        "active_units.csv": lambda path: units.to_csv(path, index=False),
        **(pictures if is_image(run_data.event_shape) else samples),
    }


def _evaluate_sequences(
    model: StateSpaceModel, run_data: RunData, verbose: int, refine: int
) -> tuple[dict[str, Any], dict[str, Writer]]:
    """Returns the metrics of a model of sequences, and functions that write its files by name."""
    if refine:
        raise ValueError(f"Expected no refinement of q for sequences. Received: refine={refine}")
    config, test = run_data.config, run_data.splits.test
    k, seed = config.test_samples, config.seed
    table = evaluation.sequence_log_likelihood(model, test, k, seed, verbose)
    bounds = evaluation.sequence_bounds(model, test, k, seed)
    over_time = evaluation.effective_sample_size_over_time(model, test, k, seed)
    test_results = {**evaluation.summarize_sequences(table), "num_samples": k, "refine": 0}
    results = {"test": {**test_results, "bounds_per_step": bounds.per_step.to_dict()}, "active_units": {}}
    files: dict[str, Writer] = {
        "test_log_likelihood.csv": lambda path: table.to_csv(path, index_label="observation"),
        "bounds.csv": bounds.to_csv,
        "effective_sample_size.csv": over_time.to_csv,
        "effective_sample_size.png": lambda path: plots.effective_sample_size_over_time(over_time).savefig(
            path, format="png"
        ),
    }
    longest = max(iter(test), key=lambda x: x.shape[1])[-1].numpy()
    if longest.ndim == 2 and model.observation_layer.support == (0, 1):
        files["samples.png"] = lambda path: _draw_rolls(model, longest, seed).savefig(path, format="png")
    return results, files


def _draw_rolls(model: StateSpaceModel, x: np.ndarray, seed: int) -> Figure:
    """Draws a sequence, a forecast from its middle on, and a sample of the model."""
    steps = int(evaluation.sequences.count_steps(x[np.newaxis])[0])
    half = max(steps // 2, 1)
    forecast = model.forecast(x[np.newaxis, :half], steps - half or 1, num_samples=16, seed=seed)[0, 0]
    rolls = {
        "data": x[:steps],
        "forecast": np.concatenate([x[:half], forecast]),
        "sample": model.sample(1, steps, seed=seed)[0],
    }
    return plots.piano_rolls(rolls, start={"forecast": half + 1})


def _sample_rows(model: IWAE, run_data: RunData, n: int = 100) -> pd.DataFrame:
    """Returns means of p(x|z) for z from the prior as a frame, with the dtypes of the columns of a table."""
    rows = model.sample(n, seed=run_data.config.seed).numpy().reshape(n, -1)
    return data.tables.decode(rows, run_data.columns) if run_data.columns else pd.DataFrame(rows)
