"""Posteriors of two problems in the plane.

The upper row fits each q to a density of two modes, by the gradient of KL(q || p). The lower row is a problem of Kingma
et al. 2016 (arXiv:1606.04934): four data points, each a one-hot vector, and a model that is trained with q. The best it
could do is to divide the prior up between the four points, for an ELBO of -log 4 = -1.39.
"""

from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from matplotlib.axes import Axes
from tensorflow_probability import distributions as tfd

from iwae_tf import builders
from iwae_tf.plots.panels import open_panels
from iwae_tf.reproductions.budgets import Budget, Configs
from iwae_tf.reproductions.results import Claim, Result, Runs
from iwae_tf.reproductions.workspace import Workspace

#: Copies of the four points in an epoch, samples of the ELBO, and epochs of the published protocol and of others.
COPIES, NUM_SAMPLES, EPOCHS, FEWER_EPOCHS = 60, 32, 300, 60
NAMES = ("normal", "full", "mixture", "iaf", "planar", "realnvp")
LIMIT = 3.5
#: Steps that fit q to the density of two modes.
STEPS = 3000


def configure(budget: Budget, workspace: Workspace) -> Configs:
    """Returns a run of each posterior."""
    path = workspace.plan_rows("four_points", lambda: np.tile(np.eye(4, dtype=np.uint8), (COPIES, 1)))
    epochs = EPOCHS if budget.name == "paper" else min(FEWER_EPOCHS, 4 * budget.count_epochs())
    options: dict[str, Any] = {
        "data": path, "latent_sizes": (2,), "hidden_sizes": ((64, 64),), "batch_size": 4, "schedule": "cosine",
        "epochs": epochs, "learning_rate": 3e-3,
    }  # fmt: skip
    return {name: budget.config("elbo", NUM_SAMPLES, posterior=name, **options) for name in budget.thin(NAMES)}


def evaluate(trained: Runs) -> Result:
    """Draws samples of q, and computes how close it comes."""
    target = two_gaussians()
    grid = np.linspace(-LIMIT, LIMIT, 200, dtype=np.float32)
    density = target.prob(np.stack(np.meshgrid(grid, grid), -1))
    x = np.eye(4, dtype=np.float32)
    rows = {}
    steps = max(50, STEPS * min(run.config.epochs for run in trained.values()) // FEWER_EPOCHS)
    with open_panels(None, 2 * len(trained), len(trained), (1.6 * len(trained), 3.6)) as (figure, panels):
        for i, (name, run) in enumerate(trained.items()):
            above, below = panels[i], panels[i + len(trained)]
            q, divergence = fit(builders.POSTERIORS[str(name)](2), target, min(steps, STEPS))
            above.contour(grid, grid, density, colors="black", linewidths=0.4, levels=5)
            draw_points(above, q.sample(2000, seed=(0, 1))[:, 0])
            above.set_title(f"{name}\nKL(q, p) = {divergence:.2f}")
            elbo = float(np.mean(run.model.log_weights(x, 10_000, seed=0)))
            circle = np.exp(1j * np.linspace(0, 2 * np.pi, 100))
            for radius in (1, 2):  # contours of the prior
                below.plot(radius * circle.real, radius * circle.imag, color="grey", linewidth=0.4)
            for z in tf.unstack(run.model.encode(x).sample(1500, seed=(0, 1)), axis=1):
                draw_points(below, z)
            below.set_title(f"ELBO = {elbo:.2f}")
            rows[name] = {"KL(q, p) of two modes": divergence, "ELBO of four points": elbo, "bound": -np.log(4)}
        for ax in panels:
            ax.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT), aspect="equal", xticks=(), yticks=())
    table = pd.DataFrame(rows).T.rename_axis("posterior")
    first, elbos, divergences = table.index[0], table["ELBO of four points"], table["KL(q, p) of two modes"]
    claims = tuple(
        claim
        for name in ("iaf", "realnvp", "planar")
        if name in table.index
        for claim in (
            Claim(f"{name} divides the prior up better than {first}", elbos[name] - elbos[first]),
            Claim(f"{name} covers two modes better than {first}", divergences[first] - divergences[name]),
        )
    )
    return Result(table, figure, claims)


def draw_points(ax: Axes, z: tf.Tensor) -> None:
    """Draws points `[n, 2]`."""
    ax.scatter(z[:, 0], z[:, 1], s=0.3, alpha=0.4)


def two_gaussians() -> tfd.Distribution:
    """Returns the density of two modes."""
    means = tf.constant([[-1.2, -0.8], [1.2, 0.8]])
    return tfd.MixtureSameFamily(tfd.Categorical(probs=[0.5, 0.5]), tfd.MultivariateNormalDiag(means, [0.5, 0.5]))


def fit(
    layer: keras.layers.Layer, target: tfd.Distribution, num_steps: int = STEPS, num_samples: int = 128
) -> tuple[tfd.Distribution, float]:
    """Fits q to a density; returns q and KL(q || p) in nats."""
    layer.seed = 0
    layer.build((None, 1))
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(5e-3, num_steps))
    optimizer.build(layer.trainable_variables)

    def estimate_divergence(n: int, seed: tf.Tensor | tuple[int, int]) -> tf.Tensor:
        q = layer(tf.ones([1, 1]))
        z = q.sample(n, seed=seed)
        return tf.reduce_mean(q.log_prob(z) - target.log_prob(z))

    @tf.function(jit_compile=True)
    def train() -> None:
        for i in tf.range(num_steps):
            with tf.GradientTape() as tape:
                loss = estimate_divergence(num_samples, tf.stack([i, 0]))
            optimizer.apply(tape.gradient(loss, layer.trainable_variables), layer.trainable_variables)

    train.get_concrete_function()()  # one trace for each posterior, which is no retracing
    return layer(tf.ones([1, 1])), float(estimate_divergence(10_000, (0, 1)))
