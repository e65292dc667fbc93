"""Samples of q over the data, in the plane of two latent units."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from iwae_tf.evaluation.batches import preprocess_batches
from iwae_tf.model import IWAE
from iwae_tf.plots.panels import COLUMN, Panels, open_panels
from iwae_tf.types import Array

#: Classes in a column of the legend, and in all of it.
IN_COLUMN, IN_LEGEND = 15, 60


def aggregated_posterior(
    model: IWAE,
    data: Array | tf.data.Dataset,
    labels: npt.ArrayLike | None = None,
    units: Sequence[int] = (0, 1),
    seed: int = 0,
    *,
    ax: Panels | None = None,
) -> Figure:
    """Draws a sample of q(z_1|x) for every observation over samples of p(z_1), in the plane of two units.

    Samples of discrete z_1 would lie on each other: their probabilities, the means of q(z_1|x), take their place.

    Args:
      model: an `IWAE`.
      data: observations `[n, *event_shape]` or a `tf.data.Dataset` of batches, as given to `fit`.
      labels: classes of the observations, `[n]`, numbers or strings. Each class has a colour; a legend lists them,
        unless there are more than 60.
      units: the two units of the flattened z_1, counted from 0: the horizontal axis, then the vertical one.
      seed: integer seed of the preprocessing and the samples.
      ax: the axes to draw on. `None` makes a figure.

    Returns:
      The `matplotlib.figure.Figure`.

    Raises:
      ValueError: if z_1 does not have these units, the data do not match the model's input, there is not a label for
        each observation, or `ax` is more than one axes.

    Example:
      ```python
      plots.aggregated_posterior(model, splits.test, labels=np.arange(240) % 10).savefig("aggregated_posterior.png")
      ```
    """
    size = int(np.prod(model.latent_shapes[0]))
    if len(units) != 2 or not all(0 <= unit < size for unit in units):
        raise ValueError(f"Expected two of the units 0 to {size - 1}. Received: {units}")
    batches = []
    for x, batch_seed in preprocess_batches(model, data, seed):
        posteriors, z = model.infer(model.posterior(x), (), batch_seed)
        drawn = posteriors[0].mean() if model.is_discrete else z[0]
        batches.append(drawn.numpy().reshape(len(x), -1))
    points = np.concatenate(batches)[:, list(units)]
    given = pd.Series(np.zeros(len(points)) if labels is None else labels)
    if len(given) != len(points):
        raise ValueError(f"Expected a label for each of {len(points)} observations. Received: {len(given)}")
    codes, classes = pd.factorize(given, sort=True, use_na_sentinel=False)
    palette = colormaps["tab10"] if len(classes) <= 10 else colormaps["turbo"].resampled(len(classes))
    colours = palette(range(len(classes)))
    listed = labels is not None and len(classes) <= IN_LEGEND
    names = [str(name) for name in classes] if listed else []
    columns = -(-len(names) // IN_COLUMN)
    legend_width = columns * (0.3 + 0.06 * max(map(len, names), default=0))  # in inches
    _, z = model.descend(len(points), model.next_seed(seed))
    prior = z[0].numpy().reshape(len(points), -1)[:, list(units)]
    with open_panels(ax, size=(COLUMN + legend_width, COLUMN)) as (figure, (axes,)):
        axes.scatter(prior[:, 0], prior[:, 1], s=4, linewidths=0, color="0.8", rasterized=True)
        # All classes at once, so that none lies over the others.
        axes.scatter(points[:, 0], points[:, 1], s=4, linewidths=0, color=colours[codes], rasterized=True)
        by_class = " by class" if labels is not None else ""
        axes.set(
            title=rf"{'means' if model.is_discrete else 'samples'} of $q(z_1 \mid x)${by_class}, over $p(z_1)$ in grey",
            xlabel=f"unit {units[0]} of $z_1$",
            ylabel=f"unit {units[1]} of $z_1$",
        )
        axes.set_aspect("equal", adjustable="datalim")
        if listed:
            dots = [Line2D([], [], linestyle="", marker="o", color=colour) for colour in colours]
            axes.legend(
                dots, names, ncols=columns, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False,
                handletextpad=0, columnspacing=0.8,
            )  # fmt: skip
    return figure
