"""Comparison of runs."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

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
      A `DataFrame` with a row per run, the best first: the options that differ, and the metrics.

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
    for run in map(Path, runs):
        options = {name: str(value) for name, value in dataclasses.asdict(Config.read(run)).items()}
        metrics = read_json(run / "metrics.json")
        test = {f"test_{name}": value for name, value in metrics["test"].items() if not isinstance(value, str)}
        rows[str(run)] = {**options, **metrics["training"], **test, **metrics["active_units"]}
    table = pd.DataFrame.from_dict(rows, orient="index")
    equal = [name for name in dataclasses.asdict(Config()) if table[name].nunique() == 1]
    table = table.drop(columns=equal).sort_values("test_log_likelihood", ascending=False)
    figure = plots.histories({run: run for run in rows})
    with write_whole(output, overwrite) as folder:
        folder.mkdir()
        table.to_csv(folder / "comparison.csv", index_label="run")
        figure.savefig(folder / "histories.png")
        page = pages.page("Comparison of runs", pages.table_html(table) + pages.figure_html(figure))
        (folder / "comparison.html").write_text(page)
    return table
