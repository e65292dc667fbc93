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
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from iwae_tf.plots.panels import Panels, open_panels

#: What `fit` has logged: a frame, the `history` of `fit` or a dict of lists, or the path of a CSV file or a run folder.
History: TypeAlias = pd.DataFrame | keras.callbacks.History | Mapping[str, Sequence[float]] | str | os.PathLike
#: A table of one model, or the tables of several by their names.
Tables: TypeAlias = pd.DataFrame | Mapping[str, pd.DataFrame]

#: Units of the metrics that have one.
UNITS = {**dict.fromkeys(("loss", "elbo", "reconstruction", "kl", "log_likelihood"), "nats"),
         "effective_sample_size": "samples"}  # fmt: skip
#: Lines that mark a value.
DASHED: dict[str, Any] = {"linestyle": "--", "linewidth": 0.8}
#: A legend where it covers nothing, in any size.
ABOVE: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "frameon": False}


def activity(table: Tables, threshold: float = 0.01, *, ax: Panels | None = None) -> Figure:
    r"""Draws a histogram of $\log_{10} A_u$ for each layer, of one model or of several.

    Args:
      table: the table of `evaluation.active_units`, or a dict of tables by the names of the models.
      threshold: the activity above which a unit is active, drawn as a line.
      ax: axes to draw on, one for each layer. `None` makes a figure.

    Returns:
      The `matplotlib.figure.Figure`. Its legends count the active units.

    Raises:
      ValueError: if there is no table, or `ax` is not one axes for each layer.

    References:
      Burda, Grosse & Salakhutdinov 2015, arXiv:1509.00519, appendix C.

    Example:
      ```python
      plots.activity(evaluation.active_units(model, splits.test)).savefig("activity.png")
      ```
    """
    tables = _name_tables(table)
    layers = np.unique(np.concatenate([part.layer for part in tables.values()]))
    with open_panels(ax, len(layers)) as (figure, panels):
        for axes, layer in zip(panels, layers, strict=True):
            logarithms = {}
            for name, part in tables.items():
                values = part.activity[part.layer == layer]
                count = f"{(values > threshold).sum()} of {len(values)} active"
                logarithms[_join_label(name, count)] = np.log10(np.maximum(values, 1e-12))
            _draw_histograms(axes, logarithms)
            axes.axvline(np.log10(threshold), **DASHED, color="black", label=f"$A_u = {threshold:g}$")
            axes.set(xlabel=rf"activity in layer {layer}, $\log_{{10}} A_u$", ylabel="units")
            axes.legend(**ABOVE)
    return figure


def weights(table: Tables, *, ax: Panels | None = None) -> Figure:
    """Draws histograms of the effective sample size, the largest weight and the entropy over the observations.

    Args:
      table: the table of `evaluation.importance_weights`, or a dict of tables by the names of the models.
      ax: three axes to draw on. `None` makes a figure.

    Returns:
      The `matplotlib.figure.Figure`, with a line at each median.

    Raises:
      ValueError: if there is no table, or `ax` is not three axes.

    Example:
      ```python
      plots.weights(evaluation.importance_weights(model, x)).savefig("weights.png")
      ```
    """
    labels = {
        "effective_sample_size": "effective sample size (samples)",
        "largest": r"largest of the weights $\tilde{w}_i$",
        "entropy": r"entropy of the weights $\tilde{w}_i$ (nats)",
    }
    tables = _name_tables(table)
    with open_panels(ax, len(labels)) as (figure, panels):
        for axes, (column, label) in zip(panels, labels.items(), strict=True):
            _draw_histograms(axes, {name: part[column] for name, part in tables.items()})
            for i, (name, part) in enumerate(tables.items()):
                median = part[column].median()
                axes.axvline(median, **DASHED, color=f"C{i}", label=_join_label(name, f"median {median:.3g}"))
            axes.set(xlabel=label, ylabel="observations")
            axes.legend(handles=axes.get_lines(), **ABOVE)  # in the colours of their histograms
    return figure


def bounds(table: Tables, *, ax: Panels | None = None) -> Figure:
    r"""Draws $\mathcal L_k$ against the number of samples, of one model or of several.

    The bars are two standard errors of the mean over the observations. All bounds of a model are of the same
    observations, so its bars move up and down together: the noise within a curve is much smaller.

    Args:
      table: the table of `evaluation.bounds`, or a dict of tables by the names of the models.
      ax: the axes to draw on. `None` makes a figure.

    Returns:
      The `matplotlib.figure.Figure`, with a line at the bound of the largest number of samples.

    Raises:
      ValueError: if there is no table, or `ax` is more than one axes.

    Example:
      ```python
      plots.bounds(evaluation.bounds(model, x, num_samples=(1, 5, 50))).savefig("bounds.png")
      ```
    """
    tables = _name_tables(table)
    with open_panels(ax) as (figure, (axes,)):
        for i, (name, part) in enumerate(tables.items()):
            k = part.num_samples * 1.08 ** (i - (len(tables) - 1) / 2)  # so that no bar hides another
            label = _join_label(name, r"$\mathcal{L}_k \pm 2$ standard errors")
            axes.errorbar(k, part.bound, 2 * part.standard_error, marker="o", capsize=2, color=f"C{i}", label=label)
            axes.axhline(part.bound.iloc[-1], **DASHED, color=f"C{i}")
        counts = np.unique(np.concatenate([part.num_samples for part in tables.values()]))
        axes.set(xscale="log", xlabel="number of samples $k$", ylabel=r"bound $\mathcal{L}_k$ (nats)")
        axes.set_xticks(counts, [f"{count:.0f}" for count in counts])
        axes.xaxis.set_minor_locator(NullLocator())
        largest = Line2D([], [], **DASHED, color="black", label="value at the largest $k$")
        axes.legend(handles=[*axes.get_legend_handles_labels()[0], largest], **ABOVE)
    return figure


def histories(
    runs: Mapping[str, History],
    metrics: Sequence[str] = ("loss", "val_loss", "effective_sample_size", "kl"),
    *,
    ax: Panels | None = None,
) -> Figure:
    """Draws metrics against epochs, for one run or several.

    Epochs without a value are skipped: the line joins the others.

    Args:
      runs: a history for each name: a `DataFrame`, what `fit` returns, a dict of lists, or the path of a `history.csv`
        or a run folder.
      metrics: the metrics to draw, a panel each. Metrics that no run has are skipped.
      ax: axes to draw on, one for each metric that a run has. `None` makes a figure.

    Returns:
      The `matplotlib.figure.Figure`.

    Raises:
      ValueError: if no run has any of the metrics, or `ax` is not one axes for each.

    Example:
      ```python
      plots.histories({"iwae": {"loss": [90.0, 85.0]}, "elbo": {"loss": [92.0, 88.0]}}).savefig("loss.png")
      ```
    """
    tables = {name: _read_history(run) for name, run in runs.items()}
    present = [metric for metric in metrics if any(metric in table for table in tables.values())]
    if not present:
        raise ValueError(f"Expected histories with one of {', '.join(metrics)}. Received: histories without them")
    with open_panels(ax, len(present)) as (figure, panels):
        for axes, metric in zip(panels, present, strict=True):
            for i, (name, table) in enumerate(tables.items()):
                if metric in table:
                    values = table[metric].dropna()
                    epochs = table.get("epoch", table.index.to_series())[values.index]
                    # A line through one point would be invisible.
                    marker = "o" if len(values) == 1 else ""
                    axes.plot(epochs, values, marker=marker, color=f"C{i}", label=name)
            axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
            axes.set(xlabel="epoch", ylabel=_describe_metric(metric))
            axes.legend()
    return figure


def _describe_metric(metric: str) -> str:
    """Returns a metric of `fit` in words, with its unit."""
    name = metric.removeprefix("val_")
    words = ("validation " if name != metric else "") + name.replace("_", " ").replace("kl", "KL")
    return f"{words} ({UNITS[name]})" if name in UNITS else words


def _read_history(run: History) -> pd.DataFrame:
    """Returns a history without the metrics that have no value at all."""
    if isinstance(run, (str, os.PathLike)):
        path = Path(run)
        table = pd.read_csv(path / "history.csv" if path.is_dir() else path)
    else:
        history: Any = getattr(run, "history", run)
        table = pd.DataFrame(history)
    return table.dropna(axis="columns", how="all")


def _name_tables(tables: Tables) -> dict[str, pd.DataFrame]:
    """Returns tables by the names of their models; a single table has the empty name."""
    if isinstance(tables, pd.DataFrame):
        return {"": tables}
    if not tables:
        raise ValueError("Expected at least one table. Received: none")
    return dict(tables)


def _join_label(name: str, text: str) -> str:
    """Returns the text of a legend, after the name of the model if it has one."""
    return f"{name}: {text}" if name else text


def _draw_histograms(axes: Axes, values: Mapping[str, pd.Series]) -> None:
    """Draws histograms with the same bins over each other, by their labels."""
    together = np.concatenate(list(values.values()))
    bins = np.histogram_bin_edges(together, bins=int(np.clip(len(together) // 2, 10, 40))).tolist()
    for i, (label, part) in enumerate(values.items()):
        axes.hist(part, bins=bins, histtype="stepfilled", color=f"C{i}", alpha=0.5, label=label)
