"""The true posterior of models whose latent space is a plane, beside q."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from scipy.special import softmax

from iwae_tf import random
from iwae_tf.checks import check_count
from iwae_tf.model import IWAE
from iwae_tf.plots.images import as_images, check_plane, is_image
from iwae_tf.plots.panels import PAGE, Panels, open_panels
from iwae_tf.types import Array

#: Samples of q(z|x) that show where p(z|x) is, and what density of q the lines have.
NUM_SAMPLES = 5000
#: Mass of p(z|x) in a window.
MASS = 0.999
#: Masses of q(z|x) within the lines: so many that some line crosses the window even if q is ten times as wide as p.
LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
#: Points along each axis of the grids that look for the windows, and the number of grids at most.
SEARCH_POINTS, SEARCH_GRIDS = 60, 8


class Windows(NamedTuple):
    """Squares of the plane, one for each observation: their centres `[n, 2]`, and half their sides `[n]`."""

    centres: np.ndarray
    halves: np.ndarray

    def make_grids(self, num_points: int) -> np.ndarray:
        """Returns the points of the squares, row by row from below, `[num_points ** 2, n, 2]`."""
        along = np.linspace(-1, 1, num_points)
        square = np.stack(np.meshgrid(along, along), -1).reshape(-1, 1, 2)
        return self.centres + self.halves[:, np.newaxis] * square


def posteriors(
    models: Mapping[str, IWAE],
    x: Array,
    same_scale: bool = False,
    num_points: int = 120,
    seed: int = 0,
    *,
    ax: Panels | None = None,
) -> Figure:
    """Draws the true posterior p(z|x) as a heat map under contour lines of q(z|x), for models of two latent variables.

    A window is a square around the smallest region that holds 0.999 of p(z|x). The importance weights of 5000 samples
    of q(z|x) show where to look for it, and grids over the plane confine it; a distant mode without samples stays
    unseen. The window does not follow q: a wide q runs over its edge.

    Args:
      models: models with one stochastic layer of two units by title, for example a VAE and an IWAE of the same data. A
        model has a column.
      x: observations `[n, *event_shape]`, as given to `fit`. An observation has a row, which begins with x itself,
        after the preprocessing.
      same_scale: whether all windows are as large as the largest. Otherwise the numbers on the axes tell their sizes.
      num_points: points along each axis of a heat map.
      seed: integer seed of the preprocessing and the samples.
      ax: axes to draw on, `[n, 1 + number of models]`; the legend is left to you. `None` makes a figure.

    Returns:
      The `matplotlib.figure.Figure`.

    Raises:
      ValueError: if there is no model, a model's latent space is not a plane, the data do not match its input, or `ax`
        has another number of axes.

    Example:
      ```python
      planar = iwae_tf.mlp((8, 8, 1), (2,), ((16,),), preprocessing=layers.StochasticBinarization())
      plots.posteriors({"untrained": planar}, x[:3], num_points=60).savefig("posteriors.png")
      ```
    """
    check_count(num_points, "num_points", minimum=2)
    if not models:
        raise ValueError("Expected at least one model. Received: none")
    for model in models.values():
        check_plane(model)
    planes = [_Plane(model, x, seed) for model in models.values()]
    windows = [plane.find_windows() for plane in planes]
    if same_scale:
        largest = np.max([halves for _, halves in windows])
        windows = [Windows(centres, np.full_like(halves, largest)) for centres, halves in windows]
    n, columns = len(planes[0].x), 1 + len(planes)
    side = min(PAGE / columns, 1.7)
    with open_panels(ax, n * columns, columns, (columns * side, n * side + 0.7)) as (figure, panels):
        rows = np.array(panels, dtype=object).reshape(n, columns)
        _draw_observations(rows[:, 0], planes[0].model, planes[0].x)
        for column, plane, squares in zip(rows[:, 1:].T, planes, windows, strict=True):
            plane.draw(column, squares.make_grids(num_points))
            column[-1].set_xlabel("unit 0 of $z$")
        for axes, title in zip(rows[0], ("$x$", *models), strict=True):
            axes.set_title(title)
        for axes in rows[:, 1]:
            axes.set_ylabel("unit 1 of $z$")
        if ax is None:
            masses = ", ".join(f"{100 * mass:g}" for mass in LEVELS)
            shade = Patch(color=colormaps["Blues"](0.8), label=r"$p(z \mid x)$")
            line = Line2D([], [], color="C1", linewidth=0.8, label=rf"{masses} % of $q(z \mid x)$")
            figure.legend(handles=[shade, line], loc="outside lower center", ncols=2)
    return figure


class _Plane:
    """The densities p(x, z) and q(z|x) of a model with a plane as latent space, for n observations."""

    def __init__(self, model: IWAE, x: Array, seed: int) -> None:
        key = model.next_seed(seed)
        self.model, self.x = model, model.preprocess(model.as_input(x), key)
        (self.q,), (z,) = model.infer(model.posterior(self.x), NUM_SAMPLES, random.fold_in(key, 1))
        self.samples, self.log_q = z.numpy(), self.q.log_prob(z).numpy()

    def log_p(self, z: np.ndarray) -> np.ndarray:
        """Returns log p(x, z) of z `[points, n, 2]`, `[points, n]`."""
        observation, prior = self.model.generative([values := self._as_tensor(z)])
        return (observation.log_prob(self.x) + prior.log_prob(values)).numpy()

    def find_windows(self) -> Windows:
        """Finds where p(z|x) is, first by weighted samples of q, then by grids until they keep their sizes."""
        windows = _fit_windows(self.samples, softmax(self.log_p(self.samples) - self.log_q, axis=0))
        for _ in range(SEARCH_GRIDS):
            previous, grids = windows, windows.make_grids(SEARCH_POINTS)
            windows = _fit_windows(grids, softmax(self.log_p(grids), axis=0))
            if np.allclose(windows.halves, previous.halves, rtol=0.1):
                break
        return windows

    def draw(self, panels: Sequence[Axes], grids: np.ndarray) -> None:
        """Draws p(z|x) as a heat map and q(z|x) as lines of equal density, for each observation on its grid."""
        levels = np.quantile(self.log_q, 1 - np.array(LEVELS), axis=0)
        log_p, log_q = self.log_p(grids), self.q.log_prob(self._as_tensor(grids)).numpy()
        for i, axes in enumerate(panels):
            _draw_densities(axes, grids[:, i], log_p[:, i], log_q[:, i], levels[:, i])

    def _as_tensor(self, z: np.ndarray) -> tf.Tensor:
        return tf.constant(z, self.model.dtype_policy.variable_dtype)


def _fit_windows(z: np.ndarray, weights: np.ndarray) -> Windows:
    """Fits squares to the heaviest of the points z `[points, n, 2]` that hold the mass.

    Where these reach the edge of all points, p(z|x) may lie beyond it, and the square is twice as large as all points.
    """
    centres, halves = [], []
    for points, masses in zip(z.swapaxes(0, 1), weights.T, strict=True):
        order = np.argsort(-masses)
        inside = points[order[: 1 + np.searchsorted(np.cumsum(masses[order], dtype=np.float64), MASS)]]
        low, high, half = inside.min(axis=0), inside.max(axis=0), np.ptp(points, axis=0).max() / 2
        at_edge = (low <= points.min(axis=0)).any() or (high >= points.max(axis=0)).any()
        centres.append((low + high) / 2)
        # A single point with all of the mass spans no square, but its neighbours on a grid do.
        halves.append(2 * half if at_edge else 1.2 * max((high - low).max() / 2, 2 * half / SEARCH_POINTS))
    return Windows(np.array(centres), np.array(halves))


def _draw_observations(panels: np.ndarray, model: IWAE, x: tf.Tensor) -> None:
    """Draws each observation as an image, or as a strip of its values if it is none."""
    images = as_images(model, x) if is_image(model.event_shape) else np.reshape(x, (len(x), 1, -1))
    for axes, image in zip(panels, images, strict=True):
        axes.imshow(image, cmap="gray")
        axes.set(xticks=[], yticks=[])


def _draw_densities(axes: Axes, z: np.ndarray, log_p: np.ndarray, log_q: np.ndarray, levels: np.ndarray) -> None:
    """Draws log densities `[points]` on a grid z `[points, 2]`: p as a heat map, and q as lines at the levels."""
    side = round(len(z) ** 0.5)
    z, log_p, log_q = z.reshape(side, side, 2), log_p.reshape(side, side), log_q.reshape(side, side)
    (left, bottom), (right, top) = z[0, 0], z[-1, -1]
    heat = np.exp(log_p - log_p.max())
    axes.imshow(heat, origin="lower", extent=(left, right, bottom, top), cmap="Blues", interpolation="bilinear")
    names = {float(level): f"{100 * mass:g} %" for level, mass in zip(levels, LEVELS, strict=True)}
    if crossing := sorted(level for level in names if log_q.min() < level < log_q.max()):
        lines = axes.contour(z[..., 0], z[..., 1], log_q, crossing, colors="C1", linewidths=0.8, linestyles="solid")
        if len(crossing) < len(LEVELS):  # or they can be counted from within
            axes.clabel(lines, fmt=names, fontsize=5)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(3))
    axes.tick_params(labelsize=6, length=2)
