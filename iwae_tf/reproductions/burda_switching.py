"""Table 2 of Burda et al. 2015: a trained model goes on with the other objective."""

from typing import Any

from iwae_tf.reproductions.budgets import Budget, Configs
from iwae_tf.reproductions.drawing import draw_curves
from iwae_tf.reproductions.results import Result, Runs, compare_likelihoods, is_mnist, tabulate
from iwae_tf.reproductions.workspace import Workspace

VAE, IWAE = "VAE", "IWAE-50"
TO_IWAE, TO_VAE = f"{VAE}, then {IWAE}", f"{IWAE}, then {VAE}"
PUBLISHED: dict[Any, float] = {VAE: 86.76, TO_IWAE: 84.88, IWAE: 84.78, TO_VAE: 86.02}
ACTIVE = {VAE: "19", TO_IWAE: "22", IWAE: "25", TO_VAE: "23"}
#: The published second training.
EPOCHS, RATE = 3**7, 1e-4


def configure(budget: Budget, workspace: Workspace) -> Configs:
    """Returns both first trainings and both second ones."""
    first = {VAE: budget.config("elbo", 1), IWAE: budget.config("iwae", 50)}
    second = {
        name: budget.config(
            objective, k, start_from=str(workspace.find_run(first[before])),
            **budget.train_for(EPOCHS, learning_rate=RATE),
        )
        for name, before, objective, k in ((TO_IWAE, VAE, "iwae", 50), (TO_VAE, IWAE, "elbo", 1))
    }  # fmt: skip
    return {VAE: first[VAE], TO_IWAE: second[TO_IWAE], IWAE: first[IWAE], TO_VAE: second[TO_VAE]}


def evaluate(trained: Runs) -> Result:
    """Compares NLL and active units with the published ones, and draws the ELBO of the second trainings."""
    published = PUBLISHED if is_mnist(trained) else {}
    table = tabulate(trained, ["training"], published, active_units=lambda run: run.active)
    if published:
        table["published active units"] = [ACTIVE[str(name)] for name in trained]
    seconds = (TO_IWAE, TO_VAE)
    curves = {name: trained[name].history.set_index("epoch") for name in seconds}
    figure = draw_curves(
        {
            "validation ELBO (nats)": {name: curve.val_elbo for name, curve in curves.items()},
            "effective sample size of training": {TO_IWAE: curves[TO_IWAE].effective_sample_size},
        },
        "epoch of the second training",
    )
    claims = {
        "a VAE gains when it goes on as an IWAE": (TO_IWAE, VAE),
        "an IWAE loses when it goes on as a VAE": (IWAE, TO_VAE),
        "an IWAE that was a VAE first stays behind one trained as an IWAE alone": (IWAE, TO_IWAE),
    }
    return Result(table, figure, compare_likelihoods(trained, claims))
