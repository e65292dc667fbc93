"""Figures and their axes: new ones in the size of a paper's column, or those of the user."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil, sqrt
from typing import Any, TypeAlias

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: Axes to draw on: one, or a sequence or an array of them, one for each panel, row by row.
Panels: TypeAlias = Axes | Sequence[Axes] | np.ndarray

#: Widths of a column and of a page of text, in inches.
COLUMN, PAGE = 3.3, 6.8
#: Height of a panel with curves or histograms, in inches.
HEIGHT = 2.5
#: Sizes for a column, in points. They do not apply to axes of the user, who has a style.
STYLE: dict[Any, float] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "lines.linewidth": 1.2,
    "lines.markersize": 3,
}


@contextmanager
def open_panels(
    ax: Panels | None, count: int = 1, columns: int | None = None, size: tuple[float, float] | None = None
) -> Iterator[tuple[Figure, list[Axes]]]:
    """Yields a figure and its panels, row by row; what is drawn within the context has the style of the figure.

    Args:
      ax: axes of the user, one for each panel. `None` makes a figure.
      count: number of panels.
      columns: panels in a row of the new figure. `None` makes one row of up to three, or nearly a square.
      size: width and height of the new figure in inches. `None` is a column or a page wide.

    Raises:
      ValueError: if the user has another number of axes.
    """
    if ax is not None:
        panels = list(np.asarray(ax, dtype=object).flat)
        if len(panels) != count:
            raise ValueError(f"ax must be {count} axes, one for each panel. Received: {len(panels)}")
        yield panels[0].get_figure(root=True), panels
        return
    columns = columns or (count if count <= 3 else ceil(sqrt(count)))
    rows = ceil(count / columns)
    with matplotlib.rc_context(STYLE):
        size = size or (COLUMN if columns == 1 else PAGE, HEIGHT * rows)
        figure = Figure(figsize=size, dpi=200, layout="constrained")
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes in panels[count:]:
            axes.remove()
        yield figure, panels[:count]
