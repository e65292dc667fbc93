"""Densities and samples in the latent space."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from matplotlib.figure import Figure
from tensorflow_probability import distributions as tfd

from iwae_tf.evaluation.batches import preprocess_batches
from iwae_tf.model import IWAE
from iwae_tf.plots.images import check_plane
from iwae_tf.types import Array

#: Left, right, bottom and top.
Square: TypeAlias = tuple[float, float, float, float]


def posteriors(models: Mapping[str, IWAE], x: Array, span: float = 5.0, num_points: int = 120, seed: int = 0) -> Figure:
    """Draws heat maps of the true posterior p(z|x) and of q(z|x) beside it, for models with a plane as latent space.

    Posteriors are small compared with the prior, so each pair shows the smallest square that contains both.

    Args:
      models: models with one stochastic layer of two units by title, for example a VAE and an IWAE of the same data. A
        model has a pair of columns.
      x: observations `[n, *event_shape]`, as given to `fit`. An observation has a row.
      span: the densities are searched from -span to span along each axis.
      num_points: points along each axis.
      seed: integer seed of the preprocessing.

    Returns:
      A `matplotlib.figure.Figure`.

    Raises:
      ValueError: if a model's latent space is not a plane, or the data do not match its input.

    Example:
      ```python
      planar = iwae_tf.mlp((8, 8, 1), (2,), ((16,),), preprocessing=layers.StochasticBinarization())
      plots.posteriors({"untrained": planar}, x[:3], num_points=60).savefig("posteriors.png")
      ```
    """
    batches = [model.preprocess(model.as_input(x), model.next_seed(seed)) for model in models.values()]
    n = len(batches[0])
    figure = Figure(figsize=(3.2 * len(models), 1.75 * n + 0.4), dpi=150, layout="constrained")
    rows = figure.subplots(n, 2 * len(models), squeeze=False)
    for column, ((title, model), batch) in enumerate(zip(models.items(), batches, strict=True)):
        check_plane(model)
        q = model.posterior(batch)
        squares: list[Square] = [(-span, span, -span, span)] * n
        points, densities = _evaluate_on_squares(model, q, batch, squares, num_points)
        squares = [_find_square(*pair) for pair in zip(points, densities, strict=True)]
        _, densities = _evaluate_on_squares(model, q, batch, squares, num_points)
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


def _evaluate_on_squares(
    model: IWAE, q: tfd.Distribution, x: tf.Tensor, squares: Sequence[Square], num_points: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns points `[n, points, 2]` in the square of each observation, and p(z|x), q(z|x) there `[n, 2, points]`."""
    grids = []
    for left, right, bottom, top in squares:
        along = np.linspace(left, right, num_points), np.linspace(bottom, top, num_points)
        grids.append(np.stack(np.meshgrid(*along), -1).reshape(-1, 2))
    z = tf.constant(np.stack(grids, 1), model.dtype_policy.variable_dtype)  # [points, n, 2]
    observation, prior = model.generative([z])
    densities = tf.nn.softmax([observation.log_prob(x) + prior.log_prob(z), q.log_prob(z)], axis=1)
    return np.stack(grids), tf.transpose(densities, (2, 0, 1)).numpy()


def _find_square(z: np.ndarray, densities: np.ndarray) -> Square:
    """Returns a square around all points where one of the densities is at least a thousandth of its peak."""
    inside = z[(densities >= 1e-3 * densities.max(axis=1, keepdims=True)).any(axis=0)]
    half = 0.6 * np.ptp(inside, axis=0).max() + np.ptp(z, axis=0).max() / len(z) ** 0.5
    centre = (inside.min(axis=0) + inside.max(axis=0)) / 2
    return centre[0] - half, centre[0] + half, centre[1] - half, centre[1] + half


def aggregated_posterior(
    model: IWAE,
    data: Array | tf.data.Dataset,
    labels: npt.ArrayLike | None = None,
    units: Sequence[int] = (0, 1),
    seed: int = 0,
) -> Figure:
    """Draws a sample of q(z_1|x) for every observation over samples of p(z_1), in the plane of two units.

    Args:
      model: an `IWAE`.
      data: observations `[n, *event_shape]` or a `tf.data.Dataset` of batches, as given to `fit`.
      labels: classes of the observations, `[n]`, which colour the points.
      units: the two units of the flattened z_1, counted from 0.
      seed: integer seed of the preprocessing and the samples.

    Returns:
      A `matplotlib.figure.Figure`.

    Raises:
      ValueError: if z_1 does not have these units, or the data do not match the model's input.

    Example:
      ```python
      plots.aggregated_posterior(model, splits.test, units=(0, 2)).savefig("aggregated_posterior.png")
      ```
    """
    batches = []
    for x, batch_seed in preprocess_batches(model, data, seed):
        _, z = model.infer(model.posterior(x), (), batch_seed)
        batches.append(z[0].numpy().reshape(len(x), -1))
    points = np.concatenate(batches)
    if len(units) != 2 or not all(0 <= unit < points.shape[1] for unit in units):
        raise ValueError(f"Expected two of the units 0 to {points.shape[1] - 1}. Received: {units}")
    _, z = model.descend(len(points), model.next_seed(seed))
    prior = z[0].numpy().reshape(len(points), -1)
    figure = Figure(figsize=(5, 4.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    first, second = units
    axes.scatter(prior[:, first], prior[:, second], s=2, color="0.8", label="p(z_1)", rasterized=True)
    colouring: dict[str, Any] = {} if labels is None else {"c": labels, "cmap": "tab10"}
    label = "q(z_1|x), x of the data"
    colours = axes.scatter(points[:, first], points[:, second], s=2, label=label, rasterized=True, **colouring)
    if labels is not None:
        figure.colorbar(colours, ticks=np.unique(labels))
    axes.set(xlabel=f"unit {first}", ylabel=f"unit {second}")
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(fontsize=7, markerscale=4, loc="upper right")
    return figure
