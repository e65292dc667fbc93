"""Out-of-distribution detection by likelihoods."""

import numpy as np
import pandas as pd

from iwae_tf import data, evaluation
from iwae_tf.plots.panels import open_panels
from iwae_tf.reproductions.budgets import Budget, Configs
from iwae_tf.reproductions.results import Claim, Result, Runs
from iwae_tf.reproductions.workspace import Workspace

#: Samples of the scores, and the share of pixels that the background model's data have replaced.
NUM_SAMPLES, REPLACED = 500, 0.3


def _perturb(images: np.ndarray) -> np.ndarray:
    """Replaces pixels at random, for the background model of Ren et al."""
    rng = np.random.default_rng(0)
    return np.where(rng.random(images.shape) < REPLACED, rng.integers(0, 256, images.shape, np.uint8), images)


def configure(budget: Budget, workspace: Workspace) -> Configs:
    """Returns the model and the background model."""
    dataset = budget.datasets[0]
    path = workspace.plan_rows(f"{dataset}_perturbed", lambda: _perturb(workspace.load_training_data(dataset)))
    return {
        "model": budget.config("iwae", 50),
        "background": budget.config("elbo", 1, data=path, likelihood="bernoulli"),
    }


def evaluate(trained: Runs) -> Result:
    """Computes AUROC and FPR95 of three scores for several kinds of other data."""
    run, background = trained["model"], trained["background"].model
    x, validation = run.x, run.take(run.data.splits.validation)
    noise = np.random.default_rng(0).random(x.shape)
    outside = {
        "inverted": 1 - x,
        "upside down": x[:, ::-1],
        "one pixel in ten flipped": np.where(noise < 0.1, 1 - x, x),
        "noise with the mean of the data": (noise < x.mean()).astype(x.dtype),
        "black": np.zeros_like(x),
    }
    if run.config.dataset == "mnist":
        outside = {"Omniglot": run.take(data.load("omniglot", 100, run.data_dir).test), **outside}
    tables = {
        name: evaluation.out_of_distribution(
            run.model, x, other, NUM_SAMPLES, background=background, reference=validation
        )
        for name, other in outside.items()
    }
    long = pd.concat(tables, names=["outside"]).reset_index(level=0)
    wide = long.pivot(index="outside", columns="score", values=["auroc", "fpr95"]).loc[list(tables)]
    auroc = wide["auroc"]
    table = pd.concat([wide[measure].add_prefix(f"{measure} of ") for measure in ("auroc", "fpr95")], axis=1)
    table = table.rename(columns=lambda name: str(name).replace("_", " "))
    with open_panels(None, size=(5, 0.4 * len(auroc) + 1)) as (figure, (ax,)):
        bars = pd.DataFrame(auroc).iloc[::-1].rename(columns=lambda name: str(name).replace("_", " "))
        bars.plot.barh(ax=ax, legend=False)
        figure.legend(loc="outside lower center", ncols=3)
        ax.axvline(0.5, color="grey", linestyle="--", linewidth=0.8)
        ax.set(xlabel="AUROC", ylabel="", xlim=(0, 1))
    claims = (
        Claim("black images are likelier than the data (0.5 - AUROC)", 0.5 - auroc.log_likelihood["black"]),
        Claim("typicality finds them (AUROC - 0.5)", auroc.typicality["black"] - 0.5),
        Claim(
            "typicality tells noise from the data (AUROC - 0.5)",
            auroc.typicality["noise with the mean of the data"] - 0.5,
        ),
        Claim(
            "the likelihood ratio is better than the likelihood for images upside down",
            auroc.likelihood_ratio["upside down"] - auroc.log_likelihood["upside down"],
        ),
    )
    return Result(table, figure, claims)
