"""Figures of several curves, such as those of the papers."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from iwae_tf.plots.panels import open_panels

#: Curves by their labels; the index of each is the x axis.
Curves = Mapping[str, pd.Series]


def draw_curves(
    panels: Mapping[str, Curves], x_label: str, published: Mapping[str, Curves] | None = None, log: bool = False
) -> Figure:
    """Draws curves, a panel for each quantity.

    Args:
      panels: curves by the label of the y axis.
      x_label: label of the x axes.
      published: published curves by the label of the y axis; they are dashed, in the colours of ours.
      log: whether the x axes are logarithmic.
    """
    # One legend below serves panels of the same curves, and covers none of them.
    is_shared = len(panels) > 2 and not published and len({tuple(curves) for curves in panels.values()}) == 1
    with open_panels(None, len(panels)) as (figure, axes):
        for ax, (y_label, curves) in zip(axes, panels.items(), strict=True):
            draw_lines(ax, curves, y_label, x_label, (published or {}).get(y_label, {}), not is_shared)
            if log:
                ticks = sorted({x for curve in curves.values() for x in curve.index})
                ax.set_xscale("log")
                ax.set_xticks(ticks, [f"{x:g}" for x in ticks])
                ax.minorticks_off()
        if is_shared:
            figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def draw_lines(
    ax: Any, curves: Curves, y_label: str, x_label: str, published: Curves | None = None, legend: bool = True
) -> None:
    """Draws curves on axes; dashed ones are published."""
    for i, (label, curve) in enumerate(curves.items()):
        values = curve.dropna()
        ax.plot(values.index, values, marker="o" if len(values) < 15 else "", color=f"C{i}", label=label)
        reference = (published or {}).get(label, pd.Series(dtype=float)).dropna()
        if len(reference):
            ax.plot(reference.index, reference, "--", marker="x", color=f"C{i}", label=f"{label}, published")
    ax.set(xlabel=x_label, ylabel=y_label)
    if legend:
        ax.legend()
