"""Functions that return matplotlib figures."""

import numpy as np
from matplotlib.figure import Figure


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
