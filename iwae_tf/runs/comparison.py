"""Comparison of runs."""

import dataclasses
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from iwae_tf import plots, random
from iwae_tf.builders import BINARY_LIKELIHOODS
from iwae_tf.files import read_json, write_whole
from iwae_tf.runs import pages
from iwae_tf.runs.config import INCIDENTAL, Config

#: The options of runs, as the columns of a comparison.
OPTIONS = [field.name for field in dataclasses.fields(Config)]
#: The metrics of `average_seeds`.
AVERAGED = ("test_log_likelihood", "test_effective_sample_size", "seconds")


def compare(runs: Sequence[str | os.PathLike], output: str | os.PathLike, overwrite: bool = False) -> pd.DataFrame:
    """Compares runs by their options and their results, and draws their histories.

    Args:
      runs: run folders, two or more.
      output: folder to write: `comparison.csv`; `seeds.csv`, the table of `average_seeds`, if runs differ in nothing
        but their seeds; `histories.png`; `losses_1.png` and so on, for each bound that runs have been trained by, if
        there are several; and `comparison.html`.
      overwrite: whether to replace an existing folder.

    Returns:
      A `DataFrame` with a row per run, the best first: the options that differ, and the metrics. `difference` is the
      mean difference of the test log-likelihoods from those of the best run, image by image, in nats, and
      `difference_standard_error` its standard error. It is smaller than the errors of the two means, since both runs
      have scored the same images. It is NaN for runs of another data set. A warning says where runs differ in more
      than their models.

    Raises:
      FileNotFoundError: if one of the folders is not a run folder.
      FileExistsError: if `output` exists and `overwrite` is false.
      ValueError: if there are fewer than two runs, or one has not been evaluated.

    Example:
      ```python
      table = runs.compare(["runs/digits", "runs/digits-elbo"], "comparison")
      table.test_log_likelihood  # in nats, the best first
      ```
    """
    if len(runs) < 2:
        raise ValueError(f"Expected at least two runs. Received: {len(runs)}")
    rows = {}
    configs = {str(Path(run)): Config.read(run) for run in runs}
    for run, config in configs.items():
        options = {name: str(value) for name, value in dataclasses.asdict(config).items()}
        metrics = read_json(Path(run) / "metrics.json")
        if "test" not in metrics:
            raise ValueError(f"Expected an evaluated run. Received: {run}; evaluate it (iwae-tf evaluate {run})")
        test = {f"test_{name}": v for name, v in metrics["test"].items() if not isinstance(v, (str, dict))}
        rows[run] = {**options, **metrics["training"], **test, **metrics["active_units"]}
    table = pd.DataFrame.from_dict(rows, orient="index")
    # An option may have the name of a metric, such as the epochs of the constant schedule.
    equal = [name for name in OPTIONS if table[name].nunique() == 1]
    table = table.drop(columns=equal).sort_values("test_log_likelihood", ascending=False)
    table = table.join(_find_differences(table.index, configs))
    notes = list(_find_obstacles(configs, table))
    for note in notes:
        warnings.warn(note, stacklevel=2)
    seeds, figures = average_seeds(table), _draw_histories(configs)
    with write_whole(output, overwrite) as folder:
        folder.mkdir()
        table.to_csv(folder / "comparison.csv", index_label="run")
        if len(seeds) < len(table):
            seeds.to_csv(folder / "seeds.csv", index=False)
        for name, figure in figures.items():
            figure.savefig(folder / f"{name}.png")
        pictures = [folder / f"{name}.png" for name in figures]
        sections = _make_sections(table, seeds, notes, pictures)
        (folder / "comparison.html").write_text(pages.page("Comparison of runs", sections))
    return table


def average_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Averages the results of runs that differ in nothing but their seeds.

    Args:
      table: the table of `compare`.

    Returns:
      A `DataFrame` with a row per configuration, the best first: the options that differ; `num_runs`, the number of
      its runs; and for the test log-likelihood (nats), its effective sample size and the training time (seconds) the
      mean over these runs, and their standard deviation in the column that ends in `_spread`, NaN for a single run.

    Example:
      ```python
      table = runs.compare(["runs/digits", "runs/digits-1"], "comparison")
      runs.average_seeds(table).test_log_likelihood_spread  # in nats
      ```
    """
    options = [name for name in OPTIONS if name in table and name not in ("seed", *INCIDENTAL)]
    groups = table.groupby(table[options].apply(tuple, axis=1) if options else np.zeros(len(table)), sort=False)
    rows = []
    for _, group in groups:
        row: dict[str, Any] = {**group[options].iloc[0], "num_runs": len(group)}
        for name in AVERAGED:
            row |= {name: group[name].mean(), f"{name}_spread": group[name].std()}
        rows.append(row)
    return pd.DataFrame(rows).sort_values("test_log_likelihood", ascending=False, ignore_index=True)


def shorten(table: pd.DataFrame) -> pd.DataFrame:
    """Shortens the table of `compare` or `average_seeds` to the columns that decide, as texts that fit a page."""
    is_averaged = "num_runs" in table
    error = "test_log_likelihood_spread" if is_averaged else "test_standard_error"
    columns = {name.replace("_", " "): table[name] for name in OPTIONS if name in table and name not in INCIDENTAL}
    if is_averaged:
        columns["runs"] = table.num_runs
    columns["log-likelihood"] = _join_error(table.test_log_likelihood, table[error])
    if not is_averaged:
        columns["difference"] = _join_error(table.difference, table.difference_standard_error)
        layers = [name for name in table if str(name).startswith("layer_")]
        columns["active units"] = table[layers].apply(lambda row: ", ".join(f"{n:.0f}" for n in row.dropna()), axis=1)
    columns["effective samples"] = table.test_effective_sample_size.map("{:.1f}".format)
    columns["seconds"] = table.seconds.map("{:.0f}".format)
    return pd.DataFrame(columns)


def _join_error(values: pd.Series, errors: pd.Series) -> pd.Series:
    """Writes values with their errors, where there are any."""
    texts = [
        "" if np.isnan(v) else f"{v:.3f}" if np.isnan(e) else f"{v:.3f} \u00b1 {e:.3f}"
        for v, e in zip(values, errors, strict=True)
    ]
    return pd.Series(texts, values.index)


def _make_sections(
    table: pd.DataFrame, seeds: pd.DataFrame, notes: list[str], pictures: list[Path]
) -> Iterator[pages.Section]:
    yield pages.Section(
        "results",
        "The best run first. The test log-likelihood is in nats, \u00b1 its standard error over the test observations; "
        "difference is its mean difference from the best run, image by image, \u00b1 its own standard error, which is "
        "the one to judge by.",
        "".join(map(pages.paragraph, notes)) + pages.table_html(shorten(table)),
    )
    if len(seeds) < len(table):
        yield pages.Section(
            "seeds",
            "Runs that differ in nothing but their seeds, as the mean \u00b1 the standard deviation over these runs. "
            "Two configurations whose means differ by less than their spread may well be equally good.",
            pages.table_html(shorten(seeds), index=False),
        )
    for picture in pictures:
        explanation = "Metrics by epoch, those that mean the same for all runs."
        if picture.stem.startswith("losses"):
            explanation = (
                "The losses of the runs that share a bound; those of other bounds cannot be compared with them."
            )
        yield pages.Section(picture.stem, explanation, pages.image_html(picture))
    yield pages.Section("all_metrics", "Every option that differs and every metric.", pages.table_html(table.T))


def _draw_histories(configs: Mapping[str, Config]) -> dict[str, Figure]:
    """Draws the histories: losses of different bounds in pictures of their own, since no axis serves them both."""
    bounds: dict[Any, dict[str, str]] = {}
    labels = {Path(run).resolve().name: run for run in configs}
    runs = labels if len(labels) == len(configs) else {run: run for run in configs}
    for label, run in runs.items():
        bounds.setdefault(_identify_bound(configs[run]), {})[label] = run
    if len(bounds) == 1:
        return {"histories": plots.histories(runs)}
    losses = {f"losses_{i}": plots.histories(group, ("loss", "val_loss")) for i, group in enumerate(bounds.values(), 1)}
    return {"histories": plots.histories(runs, ("elbo", "val_elbo", "reconstruction", "kl")), **losses}


def _identify_bound(config: Config) -> tuple:
    """Returns what two runs have in common if their losses are estimates of the same number.

    The bounds are compared by their values, since objectives that differ only in their gradients share a bound.
    """
    objective = config.make_objective()
    log_weights = random.normal([objective.num_particles, 8], random.as_seed(0))
    values = np.round(objective.bound(log_weights).numpy(), 4)
    weights = objective.num_particles, objective.kl_weight, objective.free_bits
    return config.source, _is_binary(config) or config.likelihood, weights, tuple(values)


def _is_binary(config: Config) -> bool:
    """Returns whether a run models binary data."""
    return (config.likelihood or "bernoulli") in BINARY_LIKELIHOODS


def _find_differences(runs: Iterable[str], configs: Mapping[str, Config]) -> pd.DataFrame:
    """Returns the paired differences of the runs from the first, and their standard errors."""
    scores = {run: pd.read_csv(Path(run) / "test_log_likelihood.csv").log_likelihood.to_numpy() for run in runs}
    best = next(iter(scores))
    rows = {}
    for run in runs:
        same = _identify_rows(configs[run]) == _identify_rows(configs[best]) and len(scores[run]) == len(scores[best])
        differences = scores[run] - scores[best] if same else np.full(2, np.nan)
        error = differences.std(ddof=1) / len(differences) ** 0.5 if len(differences) > 1 else np.nan
        rows[run] = {"difference": differences.mean(), "difference_standard_error": error}
    return pd.DataFrame.from_dict(rows, orient="index")


def _identify_rows(config: Config) -> tuple:
    """Returns what two runs have in common if they test the same rows: of a file, the seed chooses them."""
    return (config.source, config.limit, config.seed) if config.data else (config.source,)


def _find_obstacles(configs: Mapping[str, Config], table: pd.DataFrame) -> Iterator[str]:
    """Yields sentences about what makes the likelihoods of the runs hard to compare."""
    datasets = sorted({config.source for config in configs.values()})
    if len(datasets) > 1:
        yield f"The runs have different data sets, {', '.join(datasets)}: their likelihoods cannot be compared."
    binary = {_is_binary(config) for config in configs.values()}
    if len(binary) > 1:
        yield (
            "Some runs model binary images and others grey ones: the first have probabilities and the others densities "
            "or probabilities of grey values, which cannot be compared."
        )
    has_seeds = len({config.seed for config in configs.values()}) > 1
    if has_seeds and any(config.data for config in configs.values()):
        yield "The runs have different seeds, so that each tests other rows of the file."
    elif has_seeds and binary != {False}:
        yield (
            "The runs have different seeds, so that each has binarised the test images for itself, which adds noise to "
            "the differences."
        )
    if table.test_num_samples.nunique() > 1:  # `evaluate` may have used others than the run
        yield "The runs have different numbers of test samples, and more samples give higher likelihoods."
    if table.test_refine.nunique() > 1:
        yield (
            "The runs have q refined by different numbers of steps before scoring, and more steps give higher "
            "likelihoods: evaluate them with the same --refine."
        )
