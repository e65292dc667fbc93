"""Likelihood of 1 to 7 stochastic layers, after fewer and more epochs."""

from iwae_tf.reproductions.budgets import Budget, Configs
from iwae_tf.reproductions.burda_likelihoods import MODELS
from iwae_tf.reproductions.drawing import draw_curves
from iwae_tf.reproductions.results import Result, Runs, compare_likelihoods, count_layers, tabulate
from iwae_tf.reproductions.workspace import Workspace

NUM_SAMPLES = 50
#: Stages of Burda's schedule.
STAGES = (1, 3)


def configure(budget: Budget, workspace: Workspace) -> Configs:
    """Returns the runs by layers, stages and model."""
    return {
        (layers, stages, model): budget.config(objective, NUM_SAMPLES, layers, **budget.train_stages(stages))
        for layers in budget.thin(range(1, budget.max_depth + 1))
        for stages in STAGES
        for model, objective in MODELS.items()
    }


def evaluate(trained: Runs) -> Result:
    """Draws NLL against the number of layers."""
    table = tabulate(trained, ["layers", "stages", "model"], active_units=lambda run: run.active)
    curves = {
        f"{model}, {run_stages} stage{'s' * (run_stages > 1)}": table.NLL.xs(
            (run_stages, model), level=("stages", "model")
        )
        for run_stages in STAGES
        for model in MODELS
    }
    figure = draw_curves({"NLL (nats)": curves}, "stochastic layers")
    deepest = max(layers for layers, *_ in trained)
    claims = {
        f"more epochs help at {count_layers(deepest)}, IWAE": ((deepest, 3, "IWAE"), (deepest, 1, "IWAE")),
        "two layers are better than one, IWAE": ((2, 3, "IWAE"), (1, 3, "IWAE")),
        f"{count_layers(deepest)} are worse than two after few epochs, IWAE": ((2, 1, "IWAE"), (deepest, 1, "IWAE")),
        f"IWAE is better than the VAE at {count_layers(deepest)}": ((deepest, 3, "IWAE"), (deepest, 3, "VAE")),
    }
    return Result(table, figure, compare_likelihoods(trained, {k: v for k, v in claims.items() if v[0] != v[1]}))
