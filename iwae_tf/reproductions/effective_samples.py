"""The effective sample size by epoch and by depth, and the weights after training."""

import pandas as pd

from iwae_tf import evaluation
from iwae_tf.plots.panels import HEIGHT, PAGE, open_panels
from iwae_tf.reproductions import depth
from iwae_tf.reproductions.budgets import Budget, Configs
from iwae_tf.reproductions.burda_likelihoods import MODELS
from iwae_tf.reproductions.drawing import draw_lines
from iwae_tf.reproductions.results import Claim, Result, Runs, average, count_layers
from iwae_tf.reproductions.workspace import Workspace

NUM_SAMPLES = 50
#: Layers of the models that are followed by epoch.
FOLLOWED = 3


def configure(budget: Budget, workspace: Workspace) -> Configs:
    """Returns the longer runs of `depth` by layers and model, and runs of three layers with diagnostics by epoch."""
    stages = max(depth.STAGES)
    followed = {
        ("by epoch", model): budget.config(
            objective, NUM_SAMPLES, min(FOLLOWED, budget.max_depth), **budget.diagnose(), **budget.train_stages(stages)
        )
        for model, objective in MODELS.items()
    }
    return followed | {
        (layers, model): config
        for (layers, run_stages, model), config in depth.configure(budget, workspace).items()
        if run_stages == stages
    }


def evaluate(trained: Runs) -> Result:
    """Draws the effective sample size and the number of weights above 0.01."""
    weights = {key: evaluation.importance_weights(run.model, run.x, NUM_SAMPLES) for key, run in trained.items()}
    by_depth = {key: table for key, table in weights.items() if key[0] != "by epoch"}
    index = pd.MultiIndex.from_tuples(list(by_depth), names=["layers", "model"])
    columns = ["effective_sample_size", "noticeable", "entropy"]
    table = pd.DataFrame([part[columns].mean() for part in by_depth.values()], index=index)
    followed = {model: trained["by epoch", model].diagnostics for model in MODELS}
    label = "effective sample size"
    with open_panels(None, 4, 2, (PAGE, 2 * HEIGHT)) as (figure, panels):
        histories = {model: trained["by epoch", model].history for model in MODELS}
        by_epoch = {m: pd.Series(h.val_effective_sample_size.array, h.epoch + 1) for m, h in histories.items()}
        draw_lines(panels[0], by_epoch, f"{label} of {NUM_SAMPLES}", "epoch")
        draw_lines(
            panels[1], {m: d.noticeable_weights for m, d in followed.items()}, "weights above 0.01, of 64", "epoch"
        )
        sizes = {model: table.effective_sample_size.xs(model, level="model") for model in MODELS}
        draw_lines(panels[2], sizes, f"{label} of {NUM_SAMPLES}", "stochastic layers")
        for i, model in enumerate(MODELS):
            largest = weights["by epoch", model].largest
            panels[3].hist(largest, bins=20, range=(0, 1), histtype="stepfilled", color=f"C{i}", alpha=0.5, label=model)
        panels[3].set(xlabel=f"largest of {NUM_SAMPLES} weights, followed by epoch", ylabel="observations")
        panels[3].legend()
    shallow, deep = (pick(layers for layers, _ in by_depth) for pick in (min, max))
    size = {key: part.effective_sample_size.to_numpy() for key, part in by_depth.items()}
    claims = (
        Claim("the effective sample size is below half of k, VAE", *average(NUM_SAMPLES / 2 - size[deep, "VAE"])),
        *(
            Claim(f"it is higher for the VAE at {count_layers(n)}", *average(size[n, "VAE"] - size[n, "IWAE"]))
            for n in (shallow, deep)
        ),
        Claim("it falls with the number of layers, VAE", *average(size[shallow, "VAE"] - size[deep, "VAE"])),
        Claim("it falls with the number of layers, IWAE", *average(size[shallow, "IWAE"] - size[deep, "IWAE"])),
    )
    return Result(table, figure, claims)
