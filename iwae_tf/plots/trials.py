"""Pictures of a search for hyperparameters."""

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

#: Where a line passes an axis that means nothing for its trial.
BELOW = -0.12


def parallel_coordinates(table, columns, score="score"):
    """Draws every trial as a line over one axis per hyperparameter, coloured by its score; the best one is thick.

    An axis of positive numbers whose largest is twenty times the smallest or more is logarithmic. A line passes below
    an axis that does not apply to it (NaN). Trials without a score are dashed.

    Args:
      table: a `DataFrame` with a row per trial, such as that of `tuning.trials`.
      columns: names of the hyperparameters, from left to right.
      score: name of the column of scores, the last axis.

    Returns:
      A `matplotlib.figure.Figure`.

    Raises:
      ValueError: if the table has no rows.
    """
    if not len(table):
        raise ValueError("Expected a table with one trial or more. Received: none")
    names = [*columns, score]
    figure = Figure(figsize=(1.3 * len(names) + 1.4, 3.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    heights = np.stack([_axis(axes, i, table[name]) for i, name in enumerate(names)], axis=1)
    scores = table[score].to_numpy(float)
    known = np.isfinite(scores)
    colours = ScalarMappable(Normalize(*(np.nanmin(scores), np.nanmax(scores)) if known.any() else (0, 1)), "viridis")
    for row in np.argsort(np.where(known, scores, -np.inf)):  # the best last, over the others
        if known[row]:
            best = scores[row] == np.nanmax(scores)
            axes.plot(heights[row], color=colours.to_rgba(scores[row]), linewidth=3 if best else 1.2)
        else:
            axes.plot(heights[row, :-1], color="grey", linestyle="--", linewidth=1)
    axes.set(xticks=range(len(names)), xlim=(-0.3, len(names) - 0.4), ylim=(BELOW - 0.06, 1.06), yticks=[])
    axes.set_xticklabels([name.replace("_", " ") for name in names])
    axes.spines[:].set_visible(False)
    failed = f", {np.sum(~known)} without a score" if not known.all() else ""
    axes.set_title(f"{len(table)} trials{failed}", fontsize=9)
    figure.colorbar(colours, ax=axes, label=score)
    return figure


def _axis(axes, i, column):
    """Draws the axis of a column, and returns the heights, in [0, 1], at which its values lie."""
    if pd.api.types.is_numeric_dtype(column):
        there = column.dropna().astype(float)
        logarithmic = len(there) and 0 < 20 * there.min() <= there.max()
        scale = np.log10 if logarithmic else np.asarray
        ticks = np.unique(there)
        if len(ticks) > 5:
            middle = np.sqrt(ticks[0] * ticks[-1]) if logarithmic else (ticks[0] + ticks[-1]) / 2
            ticks = np.array([ticks[0], middle, ticks[-1]])
        labels, values, places = [f"{tick:.3g}" for tick in ticks], scale(column.to_numpy(float)), scale(ticks)
    else:
        labels = sorted(column.dropna().astype(str).unique())
        places = np.arange(len(labels))
        values = column.astype(str).where(column.notna()).map(dict(zip(labels, places, strict=True))).to_numpy(float)
    low, high = (places[0], places[-1]) if len(places) else (0, 0)

    def height(value):
        return (value - low) / (high - low) if high > low else 0.5 + 0 * value

    axes.plot([i, i], [0, 1], color="black", linewidth=0.8)
    free = -np.inf
    for label, place in zip(labels, places, strict=True):
        if height(place) - free > 0.04:  # or it would cover the label below
            axes.text(i + 0.04, height(place), label, fontsize=7, va="center", zorder=3,
                      bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.6})  # fmt: skip
            free = height(place)
    return np.where(np.isfinite(values), height(values), BELOW)
