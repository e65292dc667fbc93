"""Pictures of the space of z."""

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from iwae_tf.evaluation.batches import preprocess_batches
from iwae_tf.plots.images import check_plane


def posteriors(models, x, span=5.0, num_points=120, seed=0):
    """Draws the true posterior p(z|x) on the plane of z as heat maps, and q(z|x) beside each.

    Posteriors are small beside the prior, so each pair shows the square that holds both of its densities.

    Args:
      models: dict from titles to models with one stochastic layer of two units, such as a VAE and IWAEs of the same
        data: a pair of columns each.
      x: data `[n, *event_shape]`, as in the training set: a row each.
      span: the densities are looked for from -span to span.
      num_points: points along each axis.
      seed: integer seed of the preprocessing.

    Returns:
      A `matplotlib.figure.Figure`.

    Raises:
      ValueError: if a model's latent space is no plane, or the data are not such as it takes.
    """
    figure = Figure(figsize=(3.2 * len(models), 1.75 * len(x) + 0.4), dpi=150, layout="constrained")
    rows = figure.subplots(len(x), 2 * len(models), squeeze=False)
    for column, (title, model) in enumerate(models.items()):
        seen = model.preprocess(model.admit(x), model.next_seed(seed))
        check_plane(model)
        q = model.posterior(seen)
        squares = [(-span, span, -span, span)] * len(seen)
        squares = [_square_of(*pair) for pair in zip(*_on_squares(model, q, seen, squares, num_points), strict=True)]
        _, densities = _on_squares(model, q, seen, squares, num_points)
        for shift, name in enumerate(("p(z|x)", "q(z|x)")):
            for i, (axes, square) in enumerate(zip(rows[:, 2 * column + shift], squares, strict=True)):
                heat = densities[i, shift].reshape(num_points, num_points)
                axes.imshow(heat, origin="lower", extent=square, cmap="magma")
                axes.set(xticks=square[:2], yticks=square[2:])
                axes.tick_params(labelsize=5, length=2)
                axes.xaxis.set_major_formatter("{x:.2f}")
                axes.yaxis.set_major_formatter("{x:.2f}")
            rows[0, 2 * column + shift].set_title(f"{title}\n{name}", fontsize=8)
    return figure


def _on_squares(model, q, seen, squares, num_points):
    """Returns points `[n, points, 2]` on a square for each observation, and p(z|x), q(z|x) there `[n, 2, points]`."""
    grids = []
    for left, right, bottom, top in squares:
        along = np.linspace(left, right, num_points), np.linspace(bottom, top, num_points)
        grids.append(np.stack(np.meshgrid(*along), -1).reshape(-1, 2))
    z = tf.constant(np.stack(grids, 1), model.dtype_policy.variable_dtype)  # [points, n, 2]
    observation, prior = model.generative([z])
    densities = tf.nn.softmax([observation.log_prob(seen) + prior.log_prob(z), q.log_prob(z)], axis=1)
    return np.stack(grids), tf.transpose(densities, (2, 0, 1)).numpy()


def _square_of(z, densities):
    """Returns left, right, bottom and top of the square around all points of a thousandth of either peak and more."""
    held = z[(densities >= 1e-3 * densities.max(axis=1, keepdims=True)).any(axis=0)]
    half = 0.6 * np.ptp(held, axis=0).max() + np.ptp(z, axis=0).max() / len(z) ** 0.5
    centre = (held.min(axis=0) + held.max(axis=0)) / 2
    return centre[0] - half, centre[0] + half, centre[1] - half, centre[1] + half


def aggregated_posterior(model, data, labels=None, units=(0, 1), seed=0):
    """Draws a sample of q(z_1|x) for every observation over samples of the prior, in the plane of two units.

    Args:
      model: an `IWAE`.
      data: array `[n, *event_shape]` or `tf.data.Dataset` of batches, as in the training set.
      labels: `[n]`, classes that give the points their colours.
      units: the two units of z_1, counted from 0, the axes of a flattened z_1.
      seed: integer seed of the preprocessing and of the samples.

    Returns:
      A `matplotlib.figure.Figure`.

    Raises:
      ValueError: if z_1 has no such units, or the data are not such as the model takes.
    """
    parts = []
    for seen, batch_seed in preprocess_batches(model, data, seed):
        _, z = model.infer(model.posterior(seen), (), batch_seed)
        parts.append(z[0].numpy().reshape(len(seen), -1))
    points = np.concatenate(parts)
    if len(units) != 2 or not all(0 <= unit < points.shape[1] for unit in units):
        raise ValueError(f"Expected two of the units 0 to {points.shape[1] - 1}. Received: {units}")
    _, z = model.descend(len(points), model.next_seed(seed))
    prior = z[0].numpy().reshape(len(points), -1)
    figure = Figure(figsize=(5, 4.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    first, second = units
    axes.scatter(prior[:, first], prior[:, second], s=2, color="0.8", label="p(z_1)", rasterized=True)
    colouring = {} if labels is None else {"c": labels, "cmap": "tab10"}
    label = "q(z_1|x), x of the data"
    colours = axes.scatter(points[:, first], points[:, second], s=2, label=label, rasterized=True, **colouring)
    if labels is not None:
        figure.colorbar(colours, ticks=np.unique(labels))
    axes.set(xlabel=f"unit {first}", ylabel=f"unit {second}")
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(fontsize=7, markerscale=4, loc="upper right")
    return figure
