"""Likelihoods of models trained by the ELBO, L_k and the VR-max bound."""

from typing import Any

from iwae_tf.reproductions.budgets import Budget, Configs
from iwae_tf.reproductions.drawing import draw_curves
from iwae_tf.reproductions.results import Pairs, Result, Runs, compare_likelihoods, count_layers, is_mnist, tabulate
from iwae_tf.reproductions.workspace import Workspace

MODELS = {"VAE": "elbo", "IWAE": "iwae", "VR-max": "vr-max"}
SAMPLES = (5, 50)
PUBLISHED: dict[Any, float] = {
    (1, 5, "VAE"): 86.47, (1, 5, "IWAE"): 85.41, (1, 5, "VR-max"): 85.42,
    (1, 50, "VAE"): 86.35, (1, 50, "IWAE"): 84.80, (1, 50, "VR-max"): 84.81,
    (2, 5, "VAE"): 85.01, (2, 5, "IWAE"): 83.92, (2, 5, "VR-max"): 84.04,
    (2, 50, "VAE"): 84.78, (2, 50, "IWAE"): 83.05, (2, 50, "VR-max"): 83.44,
}  # fmt: skip


def configure(budget: Budget, workspace: Workspace) -> Configs:
    """Returns the runs by layers, k and model."""
    return {
        (layers, k, model): budget.config(objective, k, layers)
        for layers in (1, 2)
        for k in SAMPLES
        for model, objective in MODELS.items()
    }


def evaluate(trained: Runs) -> Result:
    """Compares the likelihoods with the published ones."""
    published = PUBLISHED if is_mnist(trained) else {}
    table = tabulate(trained, ["layers", "k", "model"], published)
    panels, references = {}, {}
    for layers in (1, 2):
        label, part = f"NLL, {count_layers(layers)} (nats)", table.loc[layers]
        panels[label] = {model: part.NLL.xs(model, level="model") for model in MODELS}
        if published:
            references[label] = {model: part["published NLL"].xs(model, level="model") for model in MODELS}
    claims: Pairs = {
        f"VR-max is better than the VAE, {count_layers(n)}, k = {k}": ((n, k, "VR-max"), (n, k, "VAE"))
        for n in (1, 2)
        for k in SAMPLES
    }
    claims["IWAE is better than VR-max, 2 layers, k = 50"] = ((2, 50, "IWAE"), (2, 50, "VR-max"))
    figure = draw_curves(panels, "number of samples $k$", references, log=True)
    return Result(table, figure, compare_likelihoods(trained, claims))
