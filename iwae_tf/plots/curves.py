"""Curves and histograms of training and of the tables of `evaluation`."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: What `fit` has logged: a frame, the `history` of `fit` or a dict of lists, or the path of a CSV file or a run folder.
History: TypeAlias = pd.DataFrame | keras.callbacks.History | Mapping[str, Sequence[float]] | str | os.PathLike


def activity(table: pd.DataFrame, threshold: float = 0.01) -> Figure:
    """Draws a histogram of log10 A_u for each layer.

    Args:
      table: the table of `evaluation.active_units`.
      threshold: the activity above which a unit is active, drawn as a line.

    Returns:
      A `matplotlib.figure.Figure`.

    References:
      Burda, Grosse & Salakhutdinov 2015, arXiv:1509.00519, appendix C.

    Example:
      ```python
      plots.activity(evaluation.active_units(model, splits.test)).savefig("activity.png")
      ```
    """
    layers = {layer: table[table.layer == layer] for layer in np.unique(table.layer)}
    figure, panels = _make_panels(len(layers))
    values = np.log10(np.maximum(table.activity, 1e-12))
    bins = np.linspace(np.floor(values.min()), np.ceil(values.max() + 1e-9), 40).tolist()
    for axes, (layer, units) in zip(panels, layers.items(), strict=True):
        axes.hist(values[units.index], bins=bins)
        axes.axvline(np.log10(threshold), color="black", linestyle="--", linewidth=0.8)
        axes.set(title=f"layer {layer}: {(units.activity > threshold).sum()} of {len(units)} active",
                 xlabel="log10 activity", ylabel="units")  # fmt: skip
    return figure


def weights(table: pd.DataFrame) -> Figure:
    """Draws histograms of the effective sample size, the largest weight and the entropy over the observations.

    Args:
      table: the table of `evaluation.importance_weights`.

    Returns:
      A `matplotlib.figure.Figure`, with a line at each median.

    Example:
      ```python
      plots.weights(evaluation.importance_weights(model, x)).savefig("weights.png")
      ```
    """
    names = {"effective_sample_size": "effective sample size", "largest": "largest weight", "entropy": "entropy, nats"}
    figure, panels = _make_panels(len(names))
    for axes, (name, title) in zip(panels, names.items(), strict=True):
        axes.hist(table[name], bins=40)
        axes.axvline(table[name].median(), color="black", linestyle="--", linewidth=0.8)
        axes.set(xlabel=title, ylabel="observations")
    return figure


def bounds(table: pd.DataFrame) -> Figure:
    """Draws the bound against the number of samples, with a line at the bound of the largest number.

    Args:
      table: the table of `evaluation.bounds`.

    Returns:
      A `matplotlib.figure.Figure`.

    Example:
      ```python
      plots.bounds(evaluation.bounds(model, x, num_samples=(1, 5, 50))).savefig("bounds.png")
      ```
    """
    figure, (axes,) = _make_panels(1)
    axes.errorbar(table.num_samples, table.bound, 2 * table.sampling_error, marker="o", capsize=2, label="L_k")
    last = table.iloc[-1]
    axes.axhline(last.bound, color="black", linestyle="--", linewidth=0.8, label=f"L_{last.num_samples:.0f}")
    axes.set(xscale="log", xlabel="samples k", ylabel="nats")
    axes.legend(fontsize=7)
    return figure


def histories(
    runs: Mapping[str, History], metrics: Sequence[str] = ("loss", "val_loss", "effective_sample_size", "kl")
) -> Figure:
    """Draws metrics against epochs, for one run or several.

    Args:
      runs: a history for each name: a `DataFrame`, what `fit` returns, a dict of lists, or the path of a `history.csv`
        or a run folder.
      metrics: the metrics to draw, a panel each. Metrics that no run has are skipped.

    Returns:
      A `matplotlib.figure.Figure`.

    Raises:
      ValueError: if no run has any of the metrics.

    Example:
      ```python
      plots.histories({"iwae": {"loss": [90.0, 85.0]}, "elbo": {"loss": [92.0, 88.0]}}).savefig("loss.png")
      ```
    """
    tables = {name: _read_history(run) for name, run in runs.items()}
    present = [metric for metric in metrics if any(metric in table for table in tables.values())]
    if not present:
        raise ValueError(f"Expected histories with one of {', '.join(metrics)}. Received: histories without them")
    figure, panels = _make_panels(len(present))
    for axes, metric in zip(panels, present, strict=True):
        for name, table in tables.items():
            if metric in table:
                axes.plot(table.get("epoch", table.index.to_series()), table[metric], label=name)
        axes.set(xlabel="epoch", title=metric.replace("_", " "))
        axes.legend(fontsize=7)
    return figure


def _read_history(run: History) -> pd.DataFrame:
    if isinstance(run, (str, os.PathLike)):
        path = Path(run)
        return pd.read_csv(path / "history.csv" if path.is_dir() else path)
    history: Any = getattr(run, "history", run)
    return pd.DataFrame(history)


def _make_panels(count: int) -> tuple[Figure, list[Axes]]:
    """Makes a figure with panels side by side."""
    figure = Figure(figsize=(3.6 * count + 0.4, 3), dpi=150, layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])
