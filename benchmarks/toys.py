"""Two problems in two dimensions whose posteriors are no Gaussians, and what each posterior layer makes of them.

The upper row fits each q to a density of two modes, by the gradient of KL(q || p). The lower row is a problem of Kingma
et al. 2016 (arXiv:1606.04934): four data points, each a one-hot vector, and a model that is trained with q. The best it
could do is to divide the prior up between the four points, for an ELBO of -log 4 = -1.39.
"""

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from tensorflow_probability import distributions as tfd

import iwae_tf
from benchmarks.turns import ROOT
from iwae_tf import layers, objectives

STEPS = {"step_hidden": (32, 32), "context_size": 8}
POSTERIORS = {
    "diagonal": lambda: layers.IndependentNormal(2),
    "full covariance": lambda: layers.MultivariateNormalTriL(2),
    "mixture of 2": lambda: layers.NormalMixture(2, num_components=2),
    "IAF": lambda: layers.InverseAutoregressiveFlow(2, num_steps=4, **STEPS),
    "planar": lambda: layers.PlanarFlow(2, num_steps=16),
    "Real NVP": lambda: layers.RealNVP(2, num_steps=6, **STEPS),
}
LIMIT = 3.5


def two_gaussians():
    """Returns the target of the upper row."""
    means = tf.constant([[-1.2, -0.8], [1.2, 0.8]])
    return tfd.MixtureSameFamily(tfd.Categorical(probs=[0.5, 0.5]), tfd.MultivariateNormalDiag(means, [0.5, 0.5]))


def fit(layer, target, num_steps=3000, num_samples=128):
    """Fits q to a density; returns q and KL(q || p) in nats."""
    layer.seed = 0
    layer.build((None, 1))
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(5e-3, num_steps))
    optimizer.build(layer.trainable_variables)

    def divergence(n, seed):
        q = layer(tf.ones([1, 1]))
        z = q.sample(n, seed=seed)
        return tf.reduce_mean(q.log_prob(z) - target.log_prob(z))

    @tf.function(jit_compile=True)
    def train():
        for i in tf.range(num_steps):
            with tf.GradientTape() as tape:
                loss = divergence(num_samples, tf.stack([i, 0]))
            optimizer.apply(tape.gradient(loss, layer.trainable_variables), layer.trainable_variables)

    train.get_concrete_function()()  # one trace for each posterior, which is no retracing
    return layer(tf.ones([1, 1])), float(divergence(10_000, (0, 1)))


def four_points(layer, epochs=60):
    """Trains a model of the four one-hot vectors; returns q(z|x) of each and the ELBO in nats."""
    model = iwae_tf.IWAE(
        encoder=[layer],
        decoder=[layers.IndependentBernoulli(4, hidden=(64, 64))],
        prior=layers.StandardNormal(2),
        objective=objectives.ELBO(num_samples=32),
        seed=0,
    )
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, 50 * epochs)))
    x = np.eye(4, dtype=np.float32)
    model.fit(np.tile(x, (50, 1)), batch_size=4, epochs=epochs, verbose=0)
    elbo = np.mean(model.log_weights(x, 10_000, seed=0))
    return model.encode(x), float(elbo)


def draw(posteriors=POSTERIORS):
    """Draws both problems, a column for each posterior, as a matplotlib figure."""
    figure = Figure(figsize=(3 * len(posteriors), 6.2), dpi=80, layout="constrained")
    target = two_gaussians()
    grid = np.linspace(-LIMIT, LIMIT, 200, dtype=np.float32)
    density = target.prob(np.stack(np.meshgrid(grid, grid), -1))
    for (name, make), (above, below) in zip(posteriors.items(), figure.subplots(2, len(posteriors)).T, strict=True):
        q, divergence = fit(make(), target)
        above.contour(grid, grid, density, colors="black", linewidths=0.6, levels=5)
        above.scatter(*q.sample(3000, seed=(0, 1)).numpy()[:, 0].T, s=1, alpha=0.4)
        above.set_title(f"{name}: KL(q || p) = {divergence:.2f}", fontsize=9)
        q, elbo = four_points(make())
        for z in tf.unstack(q.sample(1500, seed=(0, 1)), axis=1):
            below.scatter(*z.numpy().T, s=1, alpha=0.4)
        below.set_title(f"{name}: ELBO = {elbo:.2f}", fontsize=9)
        for axes in (above, below):
            axes.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT), aspect="equal", xticks=(), yticks=())
    return figure


def main():
    """Writes docs/images/toy_posteriors.png."""
    draw().savefig(ROOT / "docs" / "images" / "toy_posteriors.png")


if __name__ == "__main__":
    main()
