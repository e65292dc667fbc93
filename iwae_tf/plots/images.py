"""Pictures of what a model of images makes."""

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from scipy import stats

from iwae_tf import random
from iwae_tf.checks import check_count


def samples(model, n=64, seed=0):
    """Draws a square grid of n means of p(x|z), z ~ p(z), for a model of images.

    Args:
      model: an `IWAE` whose observations are `[height, width]` or `[height, width, channels]`.
      n: number of images.
      seed: integer seed.

    Returns:
      A `matplotlib.figure.Figure`.

    Raises:
      ValueError: if the observations are no images.
    """
    columns = int(np.ceil(np.sqrt(n)))
    return _grid(_images(model, model.sample(n, seed=seed)), columns, "means of p(x|z), z drawn from the prior")


def reconstructions(model, x, seed=0):
    """Draws observations in the upper and their reconstructions in the lower rows, up to 10 in a row.

    Args:
      model: as for `samples`.
      x: data `[n, *event_shape]`, as in the training set; the upper rows show them as the likelihood sees them.
      seed: integer seed of the preprocessing and of z ~ q(z|x).

    Returns:
      A `matplotlib.figure.Figure`.

    Raises:
      ValueError: if the observations are no images.
    """
    seed = model.next_seed(seed)
    seen = model.preprocess(model.admit(x), seed)
    pairs = [_images(model, seen), _images(model, model.reconstruct(x, seed=seed))]
    columns = min(len(seen), 10)
    rows = [part[i : i + columns] for i in range(0, len(seen), columns) for part in pairs]
    rows = [np.concatenate([row, np.ones((columns - len(row), *row.shape[1:]))]) for row in rows]
    return _grid(np.concatenate(rows), columns, "x above, mean of p(x|z), z drawn from q(z|x), below")


def interpolations(model, first, second, num_steps=10, seed=0):
    """Draws what lies between pairs of observations: means of p(x|z) along the line between their codes.

    The codes are means of q(z_1|x); with skip connections both ends share one z_L.

    Args:
      model: as for `samples`.
      first: data `[n, *event_shape]`, as in the training set, one for each row.
      second: likewise.
      num_steps: images in a row, the reconstructions of both ends among them.
      seed: integer seed of the preprocessing, and of z_L.

    Returns:
      A `matplotlib.figure.Figure`.

    Raises:
      ValueError: if the observations are no images, or there are not as many second as first ones.
    """
    if len(first) != len(second):
        raise ValueError(f"Expected as many second as first observations. Received: {len(first)} and {len(second)}")
    check_count(num_steps, "num_steps", minimum=2)  # the two ends
    seed, ends, top = model.next_seed(seed), [], None
    for x in (first, second):
        seen = model.preprocess(model.admit(x), seed)
        posteriors, z = model.infer(model.posterior(seen), (), random.fold_in(seed, 1))
        ends.append(posteriors[0].mean())
        top = z[-1] if top is None else top
    shares = tf.linspace(tf.zeros([], ends[0].dtype), 1, num_steps)
    rows = [model.generate(0, (1 - share) * ends[0] + share * ends[1], top).mean() for share in shares]
    images = tf.reshape(tf.stack(rows, 1), [-1, *model.event_shape])
    return _grid(_images(model, images), num_steps, "means of p(x|z) between two codes")


def manifold(model, n=20, span=0.99):
    """Draws the means of p(x|z) on a grid of z in two dimensions, spaced so that the prior has equal mass between.

    Args:
      model: as for `samples`, with one stochastic layer of two units.
      n: images along each axis.
      span: mass of the prior that the grid covers, along each axis.

    Returns:
      A `matplotlib.figure.Figure`.

    Raises:
      ValueError: if the observations are no images, or z is not of two dimensions.
    """
    check_plane(model)
    along = stats.norm.ppf(np.linspace((1 - span) / 2, (1 + span) / 2, check_count(n, "n")))
    grid = np.stack(np.meshgrid(along, along[::-1]), -1).reshape(-1, 2)
    z = tf.constant(grid, model.dtype_policy.variable_dtype)
    images = model.generate(0, z, z).mean()
    return _grid(_images(model, images), n, "means of p(x|z) over the plane of z")


def check_plane(model):
    """Raises a `ValueError` if the model's latent space is no plane."""
    if model.latent_shapes != [(2,)]:
        raise ValueError(f"Expected one stochastic layer of two units. Received: latent shapes {model.latent_shapes}")


def _images(model, values):
    """Returns images `[n, height, width, 1 or 3]` in [0, 1]."""
    images = np.asarray(values, np.float32)
    images = images[..., np.newaxis] if len(model.event_shape) == 2 else images
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            f"Expected a model of images, [height, width] or with 1 or 3 channels. Received: {model.event_shape}"
        )
    return np.clip(images, 0, 1)


def _grid(images, columns, title):
    """Lays images out in one array with a light line between them: one artist, however many images."""
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
