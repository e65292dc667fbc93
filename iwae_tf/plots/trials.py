"""The trials of a search for hyperparameters."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from iwae_tf.plots.panels import COLUMN, PAGE, Panels, open_panels

#: Height at which a line passes an axis that does not apply to its trial.
BELOW = -0.12


def parallel_coordinates(
    table: pd.DataFrame, columns: Sequence[str], score: str = "score", *, ax: Panels | None = None
) -> Figure:
    """Draws every trial as a line across one axis per hyperparameter, coloured by its score.

    The line of the best trial is thick, and trials without a score are dashed. A line passes below an axis whose
    hyperparameter its trial does not have (NaN). An axis is logarithmic if its values are positive and the largest is
    at least twenty times the smallest.

    Args:
      table: a `DataFrame` with a row per trial, such as the table of `tuning.trials`.
      columns: names of the hyperparameters, from left to right.
      score: name of the column of scores, the last axis.
      ax: the axes to draw on. `None` makes a figure.

    Returns:
      The `matplotlib.figure.Figure`.

    Raises:
      ValueError: if the table has no rows, or `ax` is more than one axes.

    Example:
      ```python
      trials = pd.DataFrame({"learning_rate": [1e-4, 1e-2], "depth": [1, 2], "score": [-30.0, -20.0]})
      plots.parallel_coordinates(trials, ["learning_rate", "depth"]).savefig("trials.png")
      ```
    """
    if not len(table):
        raise ValueError("Expected a table with at least one trial. Received: an empty table")
    names = [*columns, score]
    with open_panels(ax, size=(min(max(1.2 * len(names), COLUMN), PAGE), 2.8)) as (figure, (axes,)):
        heights = np.stack([_draw_axis(axes, i, table[name]) for i, name in enumerate(names)], axis=1)
        scores = table[score].to_numpy(float)
        scored = np.isfinite(scores)
        limits = (np.nanmin(scores), np.nanmax(scores)) if scored.any() else (0, 1)
        colours = ScalarMappable(Normalize(*limits), "viridis")
        order = np.argsort(np.where(scored, scores, -np.inf))  # the best last, over the others
        for row in order:
            if scored[row]:
                best = row == order[-1]
                width, label = (3, "best trial") if best else (1.2, None)
                axes.plot(heights[row], color=colours.to_rgba(scores[row]), linewidth=width, label=label)
            else:
                label = "without a score" if row == order[0] else None
                axes.plot(heights[row, :-1], color="grey", linestyle="--", linewidth=1, label=label)
        axes.set(xticks=range(len(names)), xlim=(-0.1, len(names) - 0.6), ylim=(BELOW - 0.06, 1.06), yticks=[])
        axes.set_xticklabels([name.replace("_", " ") for name in names])
        axes.spines[:].set_visible(False)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, frameon=False)
        failed = f", {np.sum(~scored)} without a score" if not scored.all() else ""
        axes.set_title(f"{len(table)} trials{failed}")
    return figure


def _draw_axis(axes: Axes, i: int, column: pd.Series) -> np.ndarray:
    """Draws the axis of a column, and returns the heights of its values, in [0, 1]."""
    if pd.api.types.is_numeric_dtype(column):
        numbers = column.dropna().astype(float)
        logarithmic = len(numbers) and 0 < 20 * numbers.min() <= numbers.max()
        scale = np.log10 if logarithmic else np.asarray
        ticks = np.unique(numbers)
        if len(ticks) > 5:
            middle = np.sqrt(ticks[0] * ticks[-1]) if logarithmic else (ticks[0] + ticks[-1]) / 2
            ticks = np.array([ticks[0], middle, ticks[-1]])
        labels, values, places = [f"{tick:.3g}" for tick in ticks], scale(column.to_numpy(float)), scale(ticks)
    else:
        labels = sorted(column.dropna().astype(str).unique())
        places = np.arange(len(labels))
        values = column.astype(str).where(column.notna()).map(dict(zip(labels, places, strict=True))).to_numpy(float)
    low, high = (places[0], places[-1]) if len(places) else (0, 0)

    def to_heights(values: np.ndarray) -> np.ndarray:
        return (values - low) / (high - low) if high > low else 0.5 + 0 * values

    axes.plot([i, i], [0, 1], color="black", linewidth=0.8)
    last = -np.inf
    for label, height in zip(labels, to_heights(places), strict=True):
        if height - last > 0.04:  # or it would overlap the label below
            axes.text(i + 0.04, height, label, fontsize=7, va="center", zorder=3,
                      bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.6})  # fmt: skip
            last = height
    return np.where(np.isfinite(values), to_heights(values), BELOW)
