"""Images that a model generates, reconstructs and interpolates."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from matplotlib.figure import Figure
from scipy import stats

from iwae_tf import random
from iwae_tf.checks import check_count
from iwae_tf.model import IWAE
from iwae_tf.plots.panels import COLUMN, Panels, open_panels
from iwae_tf.types import Array

#: The most inches that a grid is high.
MAX_HEIGHT = 8.5


def samples(model: IWAE, n: int = 64, seed: int = 0, *, ax: Panels | None = None) -> Figure:
    """Draws a grid of n means of p(x|z) with z ~ p(z), for a model of images; see `IWAE.sample`.

    Args:
      model: an `IWAE` whose observations are `[height, width]` or `[height, width, channels]`.
      n: number of images. Their grid is a square, or a rectangle that they fill if they fill no square.
      seed: integer seed.
      ax: the axes to draw on. `None` makes a figure.

    Returns:
      The `matplotlib.figure.Figure`.

    Raises:
      ValueError: if the observations are not images.

    Example:
      ```python
      plots.samples(model, n=16).savefig("samples.png")
      ```
    """
    side = int(np.ceil(np.sqrt(check_count(n, "n"))))
    columns = _choose_columns(n, range(side, 2 * side + 1))
    images = as_images(model, model.sample(n, seed=seed))
    return _draw_grid(images, columns, rf"{_shown(model)}s of $p(x \mid z)$, $z \sim p(z)$", ax)


def reconstructions(model: IWAE, x: Array, seed: int = 0, *, ax: Panels | None = None) -> Figure:
    """Draws observations and, in the row below, their reconstructions; up to 10 in a row.

    Args:
      model: as for `samples`.
      x: observations `[n, *event_shape]`, as given to `fit`; they are shown after the preprocessing.
      seed: integer seed of the preprocessing and of z ~ q(z|x).
      ax: the axes to draw on. `None` makes a figure.

    Returns:
      The `matplotlib.figure.Figure`.

    Raises:
      ValueError: if the observations are not images.

    Example:
      ```python
      plots.reconstructions(model, x[:10]).savefig("reconstructions.png")
      ```
    """
    key = model.next_seed(seed)
    processed = model.preprocess(model.as_input(x), key)
    pair = [as_images(model, processed), as_images(model, model.reconstruct(x, seed=key))]
    columns = min(len(processed), 10)
    columns = _choose_columns(len(processed), range(columns, columns // 2, -1))
    rows = [images[i : i + columns] for i in range(0, len(processed), columns) for images in pair]
    rows = [np.concatenate([row, np.ones((columns - len(row), *row.shape[1:]))]) for row in rows]
    title = rf"$x$, and below it the {_shown(model)} of $p(x \mid z)$, $z \sim q(z \mid x)$"
    return _draw_grid(np.concatenate(rows), columns, title, ax)


def interpolations(
    model: IWAE, first: Array, second: Array, num_steps: int = 10, seed: int = 0, *, ax: Panels | None = None
) -> Figure:
    """Draws means of p(x|z) along the line between the codes of two observations, for each pair in a row.

    The codes are means of q(z_1|x). With skip connections both ends share one z_L.

    Args:
      model: as for `samples`.
      first: the observations on the left, `[n, *event_shape]`, as given to `fit`.
      second: the observations on the right, `[n, *event_shape]`.
      num_steps: images in a row, including the reconstructions of both ends.
      seed: integer seed of the preprocessing and of z_L.
      ax: the axes to draw on. `None` makes a figure.

    Returns:
      The `matplotlib.figure.Figure`.

    Raises:
      ValueError: if the observations are not images, or the numbers of first and second ones differ.

    Example:
      ```python
      plots.interpolations(model, x[:4], x[4:8]).savefig("interpolations.png")
      ```
    """
    check_count(num_steps, "num_steps", minimum=2)  # the two ends
    key, ends, top = model.next_seed(seed), [], None
    pair = [model.preprocess(model.as_input(x), key) for x in (first, second)]
    if len(pair[0]) != len(pair[1]):
        raise ValueError(f"Expected as many second as first observations. Received: {len(pair[0])} and {len(pair[1])}")
    for x in pair:
        posteriors, z = model.infer(model.posterior(x), (), random.fold_in(key, 1))
        ends.append(posteriors[0].mean())
        top = z[-1] if top is None else top
    shares = tf.linspace(tf.zeros([], ends[0].dtype), 1, num_steps)
    rows = [model.show(model.generate(0, (1 - share) * ends[0] + share * ends[1], top), key) for share in shares]
    images = tf.reshape(tf.stack(rows, 1), [-1, *model.event_shape])
    title = rf"{_shown(model)}s of $p(x \mid z)$ between the codes of two $x$"
    return _draw_grid(as_images(model, images), num_steps, title, ax)


def manifold(model: IWAE, n: int = 20, span: float = 0.99, *, ax: Panels | None = None) -> Figure:
    """Draws means of p(x|z) over a grid of two-dimensional z, with equal prior mass between the grid lines.

    Args:
      model: as for `samples`, with one stochastic layer of two units.
      n: images along each axis.
      span: mass of the prior that the grid covers, along each axis.
      ax: the axes to draw on. `None` makes a figure.

    Returns:
      The `matplotlib.figure.Figure`.

    Raises:
      ValueError: if the observations are not images, or z does not have two dimensions.

    Example:
      ```python
      planar = iwae_tf.mlp((8, 8, 1), (2,), ((16,),), preprocessing=layers.StochasticBinarization())
      plots.manifold(planar, n=8).savefig("manifold.png")
      ```
    """
    check_plane(model)
    along = stats.norm.ppf(np.linspace((1 - span) / 2, (1 + span) / 2, check_count(n, "n")))
    grid = np.stack(np.meshgrid(along, along[::-1]), -1).reshape(-1, 2)
    z = tf.constant(grid, model.dtype_policy.variable_dtype)
    images = model.show(model.generate(0, z, z), random.as_seed(0))
    return _draw_grid(
        as_images(model, images), n, rf"{_shown(model)}s of $p(x \mid z)$ over the plane of $z$", ax, along
    )


def check_plane(model: IWAE) -> None:
    """Raises a `ValueError` if the model's latent space is not a plane."""
    if model.latent_shapes != [(2,)]:
        raise ValueError(f"Expected one stochastic layer of two units. Received: latent shapes {model.latent_shapes}")
    if model.is_discrete:
        raise ValueError("Expected continuous latent variables, which fill a plane. Received: discrete ones")


def _shown(model: IWAE) -> str:
    """Returns what pictures show of p(x|z), in a word."""
    return "draw" if model.shows_draws else "mean"


def is_image(event_shape: Sequence[int]) -> bool:
    """Returns whether a shape is `[height, width]` or `[height, width, 1 or 3]`."""
    return len(event_shape) == 2 or (len(event_shape) == 3 and event_shape[2] in (1, 3))


def as_images(model: IWAE, values: npt.ArrayLike | tf.Tensor) -> np.ndarray:
    """Returns observations of a model as images `[n, height, width, 1 or 3]` in [0, 1].

    Raises:
      ValueError: if the observations are not images.
    """
    if not is_image(model.event_shape):
        raise ValueError(
            "Expected a model of images, [height, width] or [height, width, 1 or 3]. "
            f"Received: event_shape={model.event_shape}"
        )
    images = np.asarray(values, np.float32)
    return np.clip(images[..., np.newaxis] if len(model.event_shape) == 2 else images, 0, 1)


def _choose_columns(n: int, columns: Sequence[int]) -> int:
    """Returns the first number of columns that leaves no square of a grid of n images empty, or the first of all."""
    return next((count for count in columns if n % count == 0), columns[0])


def _draw_grid(
    images: np.ndarray, columns: int, title: str, ax: Panels | None, along: np.ndarray | None = None
) -> Figure:
    """Lays images out in one array with white lines between them, so that the figure has a single artist.

    Args:
      images: `[n, height, width, 1 or 3]`, in [0, 1].
      columns: images in a row.
      title: caption of the grid.
      ax: the axes to draw on, or `None`.
      along: values of both units of z, for the axes of a square grid. `None` draws no axes.
    """
    n, height, width, channels = images.shape
    rows = -(-n // columns)
    canvas = np.ones((rows * (height + 1) + 1, columns * (width + 1) + 1, channels), np.float32)
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + 1) + 1, (i % columns) * (width + 1) + 1
        canvas[top : top + height, left : left + width] = image
    size = np.array([COLUMN, COLUMN * canvas.shape[0] / canvas.shape[1]])
    with open_panels(ax, size=tuple(size * min(1, MAX_HEIGHT / size[1]) + (0, 0.25))) as (figure, (axes,)):
        axes.imshow(canvas.squeeze(), cmap="gray", vmin=0, vmax=1)
        axes.set_title(title)
        if along is None:
            axes.set_axis_off()
        else:
            shown = np.linspace(0, columns - 1, min(columns, 5)).round().astype(int)
            labels = [f"{value:.1f}" for value in np.round(along[shown], 1) + 0.0]  # without a minus before 0
            axes.set_xticks(shown * (width + 1) + (width + 1) / 2, labels)
            axes.set_yticks((columns - 1 - shown) * (height + 1) + (height + 1) / 2, labels)
            axes.set(xlabel="unit 0 of $z$", ylabel="unit 1 of $z$")
    return figure
