"""Clusters of a mixture prior."""

import numpy as np
import pandas as pd
import tensorflow as tf
from matplotlib.figure import Figure

from iwae_tf import evaluation, random
from iwae_tf.plots.images import as_images
from iwae_tf.plots.panels import PAGE, open_panels
from iwae_tf.reproductions.budgets import Budget, Configs
from iwae_tf.reproductions.results import Claim, Result, Runs, TrainedRun, average, tabulate
from iwae_tf.reproductions.workspace import Workspace

LATENT_SIZE = 10
#: Samples of each component in the figure.
SHOWN = 8


def configure(budget: Budget, workspace: Workspace) -> Configs:
    """Returns the runs by prior, for the ELBO and L_5."""
    return {
        (prior, model): budget.config(objective, k, latent_sizes=(LATENT_SIZE,), prior=prior)
        for prior in ("normal", "mixture")
        for model, objective, k in (("VAE", "elbo", 1), ("IWAE-5", "iwae", 5))
    }


def evaluate(trained: Runs) -> Result:
    """Computes the purity of the clusters, and draws samples of each component."""
    table = tabulate(trained, ["prior", "model"])
    clusters = {
        key: evaluation.responsibilities(run.model, run.x).most_probable
        for key, run in trained.items()
        if hasattr(run.model.prior, "responsibilities")
    }
    hits = {key: find_hits(clusters[key], trained[key].labels) for key in clusters}
    table["purity"] = [hits[key].mean() if key in hits else np.nan for key in trained]
    table["components in use"] = [clusters[key].nunique() if key in clusters else "" for key in trained]
    key = next(iter(clusters))
    labels = trained[key].labels
    most_frequent = pd.Series(labels).value_counts(normalize=True).iloc[0]
    claims = (
        Claim("clusters are purer than a single one", *average(hits[key] - most_frequent)),
        *(
            Claim(f"the mixture is a better prior, {m}", *trained["mixture", m].gain_over(trained["normal", m]))
            for _, m in clusters
        ),
    )
    return Result(table, _draw_components(trained[key], clusters[key], labels), claims)


def find_hits(clusters: pd.Series, labels: np.ndarray) -> np.ndarray:
    """Returns whether the class of each observation is the most frequent of its cluster; the mean is the purity."""
    classes = pd.Series(labels, index=clusters.index)
    majority = classes.groupby(clusters).agg(lambda part: part.mode().iloc[0])
    return (clusters.map(majority) == classes).to_numpy(float)


def _draw_components(run: TrainedRun, clusters: pd.Series, labels: np.ndarray) -> Figure:
    """Draws samples of p(x|z) for z from each component, with the class and the size of its cluster."""
    prior = run.model.prior
    loc, scale = np.asarray(prior.loc), np.exp(np.asarray(prior.log_scale))
    noise = random.normal([SHOWN, *loc.shape], random.as_seed(0)).numpy()
    z = tf.reshape(tf.constant(loc + scale * noise), [-1, LATENT_SIZE])
    images = as_images(run.model, run.model.show(run.model.generate(0, z, z), random.as_seed(0)))
    images = images.reshape(SHOWN, len(loc), *images.shape[1:])
    with open_panels(None, len(loc), 5, (PAGE, 0.42 * -(-len(loc) // 5) + 0.1)) as (figure, panels):
        for c, ax in enumerate(panels):
            ax.imshow(np.concatenate(images[:, c, ..., 0], axis=1), cmap="gray_r", vmin=0, vmax=1)
            members = labels[clusters == c]
            title = f"{pd.Series(members).mode().iloc[0]}: {len(members)}" if len(members) else "none"
            ax.set_title(title)
            ax.axis("off")
    return figure
