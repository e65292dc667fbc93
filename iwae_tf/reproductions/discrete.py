"""Sigmoid belief networks by the estimators for discrete latent variables."""

from typing import Any

import numpy as np

from iwae_tf import evaluation
from iwae_tf.plots.panels import HEIGHT, PAGE, open_panels
from iwae_tf.reproductions.budgets import Budget, Configs
from iwae_tf.reproductions.results import (
    Pairs,
    Result,
    Runs,
    TrainedRun,
    compare_likelihoods,
    count_layers,
    tabulate,
)
from iwae_tf.reproductions.workspace import Workspace

#: Objectives and posteriors.
MODELS = {
    "VIMCO": ("vimco", "bernoulli"),
    "OVIS": ("ovis", "bernoulli"),
    "TVO": ("tvo", "bernoulli"),
    "RWS": ("rws", "bernoulli"),
    "Concrete": ("iwae", "relaxed-bernoulli"),
    "REINFORCE": ("reinforce", "bernoulli"),
}
#: Samples per observation, and bits of each layer.
NUM_SAMPLES, NUM_BITS = 10, 200
#: Test NLL of static MNIST: three layers by Lievin et al. (their figures), Concrete by Yin & Zhou 2019 (k = 1).
PUBLISHED: dict[Any, float] = {
    (1, "Concrete"): 107.3, (2, "Concrete"): 95.6, (3, "VIMCO"): 90.1, (3, "OVIS"): 89.9, (3, "TVO"): 89.85,
}  # fmt: skip
#: Epochs of the protocol, about those of Lievin et al., and of an hour.
EPOCHS = {"hour": 40, "paper": 1900}
_NOTE = (
    "NLLs are in nats, by L_{}, with standard errors over the test observations, of one seed. The networks are linear. "
    "The NLL of Concrete is that of relaxed bits. The SNR is that of each run's own gradient, of 100 observations."
)


def configure(budget: Budget, workspace: Workspace) -> Configs:
    """Returns the runs by layers and estimator."""
    is_mnist = "mnist" in budget.datasets
    bits = max(2, round(budget.width * NUM_BITS))
    options: dict[str, Any] = {
        "dataset": "binarized_mnist" if is_mnist else budget.datasets[0], "schedule": "constant", "learning_rate": 1e-3,
        "epochs": EPOCHS.get(budget.name, budget.count_epochs()), "batch_size": 50 if is_mnist else 20,
    }  # fmt: skip
    return {
        (layers, model): budget.config(
            objective, NUM_SAMPLES, layers, posterior=posterior, latent_sizes=(bits,) * layers,
            hidden_sizes=((),) * layers, **options,
        )
        for layers in ((1, 2, 3) if budget.name == "paper" else (1, 2))
        for model, (objective, posterior) in ((name, MODELS[name]) for name in budget.thin(list(MODELS)))
    }  # fmt: skip


def evaluate(trained: Runs) -> Result:
    """Compares likelihoods and the noise of the gradients."""
    first = next(iter(trained.values()))
    published = PUBLISHED if first.config.dataset == "binarized_mnist" else {}
    table = tabulate(
        trained, ["layers", "trained by"], published, encoder_SNR=measure_snr, ESS=measure_ess,
        active_units=lambda run: run.active,
        seconds_per_epoch=lambda run: run.training["seconds"] / run.training["epochs"],
    )  # fmt: skip
    depths = list(table.index.unique("layers"))
    pairs: Pairs = {}
    for n in depths:
        for better, worse in (("VIMCO", "REINFORCE"), ("OVIS", "VIMCO"), ("TVO", "VIMCO"), ("RWS", "REINFORCE")):
            pairs[f"{better} is better than {worse}, {count_layers(n)}"] = ((n, better), (n, worse))
    with open_panels(None, len(depths), len(depths), (PAGE, HEIGHT)) as (figure, panels):
        for ax, n in zip(panels, depths, strict=True):
            part = table.loc[n].iloc[::-1]
            ax.errorbar(part.NLL, list(part.index), xerr=2 * part.error, fmt="o", capsize=2)
            if "published NLL" in part:
                ax.plot(part["published NLL"], list(part.index), "x", color="grey")
            ax.set(xlabel="NLL \u00b1 2 standard errors (nats)", title=count_layers(n))
    return Result(table, figure, compare_likelihoods(trained, pairs), _NOTE.format(first.budget.num_samples))


def measure_snr(run: TrainedRun) -> float:
    """Returns the signal-to-noise ratio of the encoder's gradient."""
    return float(evaluation.gradient_snr(run.model, run.x[:100], 100).set_index("network").snr["encoder"])


def measure_ess(run: TrainedRun) -> float:
    """Returns the effective sample size of the samples of training."""
    weights = evaluation.importance_weights(run.model, run.x, NUM_SAMPLES)
    return float(np.mean(weights.effective_sample_size))
