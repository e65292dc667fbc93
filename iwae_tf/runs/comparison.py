"""Comparison of runs."""

import dataclasses
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from iwae_tf import plots
from iwae_tf.files import read_json, write_whole
from iwae_tf.runs import pages
from iwae_tf.runs.config import Config


def compare(runs: Sequence[str | os.PathLike], output: str | os.PathLike, overwrite: bool = False) -> pd.DataFrame:
    """Compares runs by their options and their results, and draws their histories.

    Args:
      runs: run folders, two or more.
      output: folder to write: `comparison.csv`, `histories.png` and `comparison.html`.
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
      ValueError: if there are fewer than two runs.

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
        test = {f"test_{name}": value for name, value in metrics["test"].items() if not isinstance(value, str)}
        rows[run] = {**options, **metrics["training"], **test, **metrics["active_units"]}
    table = pd.DataFrame.from_dict(rows, orient="index")
    equal = [name for name in dataclasses.asdict(Config()) if table[name].nunique() == 1]
    table = table.drop(columns=equal).sort_values("test_log_likelihood", ascending=False)
    table = table.join(_find_differences(table.index, configs))
    notes = list(_find_obstacles(configs, table.test_num_samples))
    for note in notes:
        warnings.warn(note, stacklevel=2)
    figure = plots.histories({run: run for run in rows})
    with write_whole(output, overwrite) as folder:
        folder.mkdir()
        table.to_csv(folder / "comparison.csv", index_label="run")
        figure.savefig(folder / "histories.png")
        sections = *map(pages.paragraph, notes), pages.table_html(table), pages.figure_html(figure)
        page = pages.page("Comparison of runs", *sections)
        (folder / "comparison.html").write_text(page)
    return table


def _find_differences(runs: Iterable[str], configs: Mapping[str, Config]) -> pd.DataFrame:
    """Returns the paired differences of the runs from the first, and their standard errors."""
    scores = {run: pd.read_csv(Path(run) / "test_log_likelihood.csv").log_likelihood.to_numpy() for run in runs}
    best = next(iter(scores))
    rows = {}
    for run in runs:
        same = configs[run].dataset == configs[best].dataset and len(scores[run]) == len(scores[best])
        differences = scores[run] - scores[best] if same else np.full(2, np.nan)
        error = differences.std(ddof=1) / len(differences) ** 0.5 if len(differences) > 1 else np.nan
        rows[run] = {"difference": differences.mean(), "difference_standard_error": error}
    return pd.DataFrame.from_dict(rows, orient="index")


def _find_obstacles(configs: Mapping[str, Config], num_samples: pd.Series) -> Iterator[str]:
    """Yields sentences about what makes the likelihoods of the runs hard to compare."""
    datasets = sorted({config.dataset for config in configs.values()})
    if len(datasets) > 1:
        yield f"The runs have different data sets, {', '.join(datasets)}: their likelihoods cannot be compared."
    binary = {config.likelihood == "bernoulli" for config in configs.values()}
    if len(binary) > 1:
        yield (
            "Some runs model binary images and others grey ones: the first have probabilities and the others densities "
            "or probabilities of grey values, which cannot be compared."
        )
    if binary != {False} and len({config.seed for config in configs.values()}) > 1:
        yield (
            "The runs have different seeds, so that each has binarised the test images for itself, which adds noise to "
            "the differences."
        )
    if num_samples.nunique() > 1:  # `evaluate` may have used others than the run
        yield "The runs have different numbers of test samples, and more samples give higher likelihoods."
