"""Images that a model generates, reconstructs and interpolates."""

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from matplotlib.figure import Figure
from scipy import stats

from iwae_tf import random
from iwae_tf.checks import check_count
from iwae_tf.model import IWAE
from iwae_tf.types import Array


def samples(model: IWAE, n: int = 64, seed: int = 0) -> Figure:
    """Draws a square grid of n means of p(x|z) with z ~ p(z), for a model of images.

    Args:
      model: an `IWAE` whose observations are `[height, width]` or `[height, width, channels]`.
      n: number of images.
      seed: integer seed.

    Returns:
      A `matplotlib.figure.Figure`.

    Raises:
      ValueError: if the observations are not images.

    Example:
      ```python
      plots.samples(model, n=16).savefig("samples.png")
      ```
    """
    columns = int(np.ceil(np.sqrt(n)))
    return _draw_grid(_as_images(model, model.sample(n, seed=seed)), columns, "means of p(x|z), z drawn from the prior")


def reconstructions(model: IWAE, x: Array, seed: int = 0) -> Figure:
    """Draws observations and, in the row below, their reconstructions; up to 10 in a row.

    Args:
      model: as for `samples`.
      x: observations `[n, *event_shape]`, as given to `fit`; they are shown after the preprocessing.
      seed: integer seed of the preprocessing and of z ~ q(z|x).

    Returns:
      A `matplotlib.figure.Figure`.

    Raises:
      ValueError: if the observations are not images.

    Example:
      ```python
      plots.reconstructions(model, x[:10]).savefig("reconstructions.png")
      ```
    """
    key = model.next_seed(seed)
    processed = model.preprocess(model.as_input(x), key)
    pair = [_as_images(model, processed), _as_images(model, model.reconstruct(x, seed=key))]
    columns = min(len(processed), 10)
    rows = [images[i : i + columns] for i in range(0, len(processed), columns) for images in pair]
    rows = [np.concatenate([row, np.ones((columns - len(row), *row.shape[1:]))]) for row in rows]
    return _draw_grid(np.concatenate(rows), columns, "x above, mean of p(x|z), z drawn from q(z|x), below")


def interpolations(model: IWAE, first: Array, second: Array, num_steps: int = 10, seed: int = 0) -> Figure:
    """Draws means of p(x|z) along the line between the codes of two observations, for each pair in a row.

    The codes are means of q(z_1|x). With skip connections both ends share one z_L.

    Args:
      model: as for `samples`.
      first: the observations on the left, `[n, *event_shape]`, as given to `fit`.
      second: the observations on the right, `[n, *event_shape]`.
      num_steps: images in a row, including the reconstructions of both ends.
      seed: integer seed of the preprocessing and of z_L.

    Returns:
      A `matplotlib.figure.Figure`.

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
    rows = [model.generate(0, (1 - share) * ends[0] + share * ends[1], top).mean() for share in shares]
    images = tf.reshape(tf.stack(rows, 1), [-1, *model.event_shape])
    return _draw_grid(_as_images(model, images), num_steps, "means of p(x|z) between two codes")


def manifold(model: IWAE, n: int = 20, span: float = 0.99) -> Figure:
    """Draws means of p(x|z) over a grid of two-dimensional z, with equal prior mass between the grid lines.

    Args:
      model: as for `samples`, with one stochastic layer of two units.
      n: images along each axis.
      span: mass of the prior that the grid covers, along each axis.

    Returns:
      A `matplotlib.figure.Figure`.

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
    images = model.generate(0, z, z).mean()
    return _draw_grid(_as_images(model, images), n, "means of p(x|z) over the plane of z")


def check_plane(model: IWAE) -> None:
    """Raises a `ValueError` if the model's latent space is not a plane."""
    if model.latent_shapes != [(2,)]:
        raise ValueError(f"Expected one stochastic layer of two units. Received: latent shapes {model.latent_shapes}")


def _as_images(model: IWAE, values: npt.ArrayLike | tf.Tensor) -> np.ndarray:
    """Returns images `[n, height, width, 1 or 3]` in [0, 1]."""
    images = np.asarray(values, np.float32)
    images = images[..., np.newaxis] if len(model.event_shape) == 2 else images
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            "Expected a model of images, [height, width] or [height, width, 1 or 3]. "
            f"Received: event_shape={model.event_shape}"
        )
    return np.clip(images, 0, 1)


def _draw_grid(images: np.ndarray, columns: int, title: str) -> Figure:
    """Lays images out in one array with light lines between them, so that the figure has a single artist."""
    n, height, width, channels = images.shape
    rows = -(-n // columns)
    canvas = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, channels), 0.75, np.float32)
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + 1) + 1, (i % columns) * (width + 1) + 1
        canvas[top : top + height, left : left + width] = image
    size = 6 / max(columns, 8)
    figure = Figure(figsize=(columns * size, rows * size + 0.3), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.imshow(canvas.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    axes.set_title(title, fontsize=8)
    return figure
