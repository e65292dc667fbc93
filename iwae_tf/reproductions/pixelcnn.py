"""A VAE whose pixels are independent given z, against one whose pixels depend on those before them."""

import dataclasses
import math
from typing import Any

import numpy as np
import tensorflow as tf

from iwae_tf.plots.images import as_images
from iwae_tf.plots.panels import PAGE, open_panels
from iwae_tf.reproductions.budgets import Budget, Configs
from iwae_tf.reproductions.results import Pairs, Result, Runs, compare_likelihoods, tabulate
from iwae_tf.reproductions.workspace import Workspace

VAE, PIXELVAE, FREE_BITS, ALONE = "VAE", "PixelVAE", "PixelVAE, free bits", "PixelCNN alone"
#: NLL of static binarised MNIST: van den Oord et al. 2016, Salimans et al. 2015 and Gulrajani et al. 2017.
PUBLISHED: dict[Any, float] = {VAE: 87.41, PIXELVAE: 80.64, ALONE: 81.30}
#: Samples of the likelihood: each is a decoder's pass over all pixels.
NUM_SAMPLES = 500
_NOTE = (
    "NLL is the negative log-likelihood of {:,} test images with {} samples, in nats; errors are standard errors over "
    "these images, of one seed. KL is that of the validation images. The rows of the figure are test images, their "
    "reconstructions and samples: draws of a PixelCNN, means of the VAE."
)
#: Images of each model in the figure.
SHOWN = 8


def configure(budget: Budget, workspace: Workspace) -> Configs:
    """Returns the runs: convolutional networks of binarised MNIST (in an hour the first two), or perceptrons."""
    options: dict[str, Any] = {"schedule": "cosine", "learning_rate": 2e-3, "batch_size": 100}
    if "mnist" in budget.datasets:
        options |= {"dataset": "binarized_mnist", "network": "conv", "hidden_sizes": ((32, 64),), "latent_sizes": (32,)}
        options |= {"epochs": 40} if budget.name == "hour" else {"epochs": 200, "pixel_layers": 12}
        free_bits = 15.0
    else:
        options |= {"epochs": 3 * budget.count_epochs(), "pixel_filters": max(2, round(100 * budget.width))}
        free_bits = 3.0
    pixels = {**options, "likelihood": "pixelcnn"}
    configs = {VAE: budget.config("elbo", 1, **options), PIXELVAE: budget.config("elbo", 1, **pixels)}
    if budget.name != "hour":
        configs[FREE_BITS] = budget.config("elbo", 1, free_bits=free_bits, **pixels)
        configs[ALONE] = budget.config("elbo", 1, beta=100.0, **pixels)
    return configs


def evaluate(trained: Runs) -> Result:
    """Compares the likelihoods, and what is left in z."""
    budget = next(iter(trained.values())).budget
    budget = dataclasses.replace(budget, num_samples=min(NUM_SAMPLES, budget.num_samples))
    trained = {name: dataclasses.replace(run, budget=budget) for name, run in trained.items()}
    on_mnist = next(iter(trained.values())).config.dataset == "binarized_mnist"
    table = tabulate(
        trained,
        ["model"],
        PUBLISHED if on_mnist else None,
        KL=lambda run: float(run.history.val_kl.iloc[-1]),
        active_units=lambda run: run.active,
        parameters=lambda run: run.training["parameters"],
        minutes=lambda run: run.training["seconds"] / 60,
    )
    claims: Pairs = {
        "pixels that depend on those before them are better than independent ones": (PIXELVAE, VAE),
        "a PixelCNN with z is better than without": (PIXELVAE, ALONE),
    }
    with open_panels(None, len(trained), 2, (PAGE, 1.2 * math.ceil(len(trained) / 2))) as (figure, panels):
        for ax, (name, run) in zip(panels, trained.items(), strict=True):
            images = as_images(run.model, tf.concat([run.x[:SHOWN], run.model.reconstruct(run.x[:SHOWN], seed=0),
                                                     run.model.sample(SHOWN, seed=0)], 0))  # fmt: skip
            rows = np.squeeze(images).reshape(3, SHOWN, *images.shape[1:3])
            ax.imshow(np.concatenate(np.concatenate(rows, axis=1), axis=1), cmap="gray_r", vmin=0, vmax=1)
            ax.set_title(name)
            ax.axis("off")
    note = _NOTE.format(budget.num_observations, budget.num_samples)
    return Result(table, figure, compare_likelihoods(trained, claims), note)
