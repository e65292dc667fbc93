"""Warm-up of the KL: what it does to active units and likelihood."""

from iwae_tf.reproductions.budgets import Budget, Configs
from iwae_tf.reproductions.burda_likelihoods import MODELS
from iwae_tf.reproductions.drawing import draw_curves
from iwae_tf.reproductions.results import Claim, Result, Runs, tabulate
from iwae_tf.reproductions.workspace import Workspace

NUM_SAMPLES = 50
#: Layers of the models, and epochs of the published warm-up.
DEPTH, EPOCHS = 3, 200


def configure(budget: Budget, workspace: Workspace) -> Configs:
    """Returns the runs by model, with and without warm-up, which takes a fifth of the epochs of smaller budgets."""
    depth = min(DEPTH, budget.max_depth)
    epochs = EPOCHS if budget.name == "paper" else max(1, budget.count_epochs() // 5)
    return {
        (model, state): budget.config(objective, NUM_SAMPLES, depth, warm_up=epochs * (state == "warm-up"))
        for model, objective in MODELS.items()
        for state in ("none", "warm-up")
    }


def evaluate(trained: Runs) -> Result:
    """Compares active units and NLL, and draws the KL by epoch."""
    table = tabulate(trained, ["model", "warm-up"], active_units=lambda run: run.active)
    curves = {f"{model}, {state}": run.history.set_index("epoch") for (model, state), run in trained.items()}
    figure = draw_curves(
        {
            "validation ELBO (nats)": {name: curve.val_elbo for name, curve in curves.items()},
            "validation KL (nats)": {name: curve.val_kl for name, curve in curves.items()},
        },
        "epoch",
    )
    claims: list[Claim] = []
    for model in MODELS:
        with_it, without = trained[model, "warm-up"], trained[model, "none"]
        claims += [
            Claim(f"warm-up keeps more units active, {model}", with_it.num_active - without.num_active),
            Claim(f"warm-up improves the likelihood, {model}", *with_it.gain_over(without)),
        ]
    return Result(table, figure, tuple(claims))
