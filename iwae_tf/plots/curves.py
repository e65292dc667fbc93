"""Curves and histograms of the tables of `evaluation` and of training."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure


def activity(table, threshold=0.01):
    """Draws a histogram of log10 A_u for each layer, from the table of `evaluation.active_units`.

    Args:
      table: a `DataFrame` with `layer` and `activity`.
      threshold: the activity above which a unit is active, a line.

    Returns:
      A `matplotlib.figure.Figure`.

    References:
      Burda, Grosse & Salakhutdinov 2015, arXiv:1509.00519, appendix C.
    """
    layers = dict(iter(table.groupby("layer")))
    figure, panels = _panels(len(layers))
    values = np.log10(np.maximum(table.activity, 1e-12))
    bins = np.linspace(np.floor(values.min()), np.ceil(values.max() + 1e-9), 40)
    for axes, (layer, part) in zip(panels, layers.items(), strict=True):
        axes.hist(values[part.index], bins=bins)
        axes.axvline(np.log10(threshold), color="black", linestyle="--", linewidth=0.8)
        axes.set(title=f"layer {layer}: {(part.activity > threshold).sum()} of {len(part)} active",
                 xlabel="log10 activity", ylabel="units")  # fmt: skip
    return figure


def weights(table):
    """Draws histograms of the effective sample size, the largest weight and the entropy of every observation.

    Args:
      table: that of `evaluation.importance_weights`.

    Returns:
      A `matplotlib.figure.Figure`.
    """
    names = {"effective_sample_size": "effective sample size", "largest": "largest weight", "entropy": "entropy, nats"}
    figure, panels = _panels(len(names))
    for axes, (name, title) in zip(panels, names.items(), strict=True):
        axes.hist(table[name], bins=40)
        axes.axvline(table[name].median(), color="black", linestyle="--", linewidth=0.8)
        axes.set(xlabel=title, ylabel="observations")
    return figure


def bounds(table):
    """Draws the bound against the number of samples, with log p^ as the line that it approaches.

    Args:
      table: that of `evaluation.bounds`.

    Returns:
      A `matplotlib.figure.Figure`.
    """
    figure, (axes,) = _panels(1)
    axes.errorbar(table.num_samples, table.bound, 2 * table.sampling_error, marker="o", capsize=2, label="L_k")
    last = table.iloc[-1]
    axes.axhline(last.bound, color="black", linestyle="--", linewidth=0.8, label=f"L_{last.num_samples:.0f}")
    axes.set(xscale="log", xlabel="samples k", ylabel="nats")
    axes.legend(fontsize=7)
    return figure


def histories(runs, metrics=("loss", "val_loss", "effective_sample_size", "kl")):
    """Draws metrics against epochs, for one run or several.

    Args:
      runs: dict from names to histories: a `DataFrame`, the `history` of `fit`, or the path of a `history.csv` or of a
        run folder.
      metrics: what to draw, a panel each. What no run has is left out.

    Returns:
      A `matplotlib.figure.Figure`.

    Raises:
      ValueError: if no run has any of the metrics.
    """
    tables = {name: _history(run) for name, run in runs.items()}
    shown = [metric for metric in metrics if any(metric in table for table in tables.values())]
    if not shown:
        raise ValueError(f"Expected histories with one of {', '.join(metrics)}. Received: none that has")
    figure, panels = _panels(len(shown))
    for axes, metric in zip(panels, shown, strict=True):
        for name, table in tables.items():
            if metric in table:
                axes.plot(table.get("epoch", table.index.to_series()), table[metric], label=name)
        axes.set(xlabel="epoch", title=metric.replace("_", " "))
        axes.legend(fontsize=7)
    return figure


def _history(run):
    if isinstance(run, (str, Path)):
        path = Path(run)
        return pd.read_csv(path / "history.csv" if path.is_dir() else path)
    return pd.DataFrame(getattr(run, "history", run))


def _panels(count):
    """Returns a figure and its axes, side by side."""
    figure = Figure(figsize=(3.6 * count + 0.4, 3), dpi=150, layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])
