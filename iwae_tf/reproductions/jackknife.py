"""Two models under the ELBO, L_k and the jackknife estimates of orders 1 and 2."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from iwae_tf import objectives
from iwae_tf.evaluation.batches import score_batches
from iwae_tf.reproductions.budgets import Budget, Configs
from iwae_tf.reproductions.drawing import draw_curves
from iwae_tf.reproductions.results import Claim, Result, Runs, average, is_mnist
from iwae_tf.reproductions.workspace import Workspace

NUM_SAMPLES = 32
MODELS = {"ELBO": "elbo", "IWAE": "iwae"}
ESTIMATES: dict[str, Callable[[int], objectives.Objective]] = {
    "ELBO": objectives.ELBO,
    "IWAE": objectives.ImportanceWeighted,
    "JVI-1": lambda k: objectives.Jackknife(k, order=1),
    "JVI-2": lambda k: objectives.Jackknife(k, order=2),
}
#: By the objective of training, in the order of `ESTIMATES`.
PUBLISHED = {"ELBO": (-93.38, -89.22, -88.66, -88.40), "IWAE": (-95.30, -86.05, -85.28, -85.01)}


def configure(budget: Budget, workspace: Workspace) -> Configs:
    """Returns the runs by the objective of training."""
    return {model: budget.config(objective, NUM_SAMPLES) for model, objective in MODELS.items()}


def evaluate(trained: Runs) -> Result:
    """Computes all estimates of both models from the same samples, and for smaller k against L_k of the budget."""
    rows, curves, values = {}, {}, {}
    for model, run in trained.items():
        batches = [terms.log_weights() for terms in score_batches(run.model, run.x, NUM_SAMPLES)]
        by_k = {}
        for k in (4, 8, 16, NUM_SAMPLES):
            by_k[k] = {
                name: np.concatenate([make(k).bound(log_weights[:k]).numpy() for log_weights in batches])
                for name, make in ESTIMATES.items()
            }
        values[model] = by_k[NUM_SAMPLES]
        rows[model] = {name: value.mean() for name, value in values[model].items()}
        rows[model][f"L_{run.budget.num_samples}"] = -run.nll
        label = f"estimate, trained by {model} (nats)"
        curves[label] = {
            name: pd.Series({k: estimates[name].mean() for k, estimates in by_k.items()})
            for name in list(ESTIMATES)[1:]
        }
    table = pd.DataFrame(rows).T.rename_axis("trained by")
    if is_mnist(trained):
        columns = [f"published {name}" for name in ESTIMATES]
        table = table.join(pd.DataFrame.from_dict(PUBLISHED, orient="index", columns=columns))
    claims = [
        Claim(f"{name} is above {lower}, trained by {model}", *average(value[name] - value[lower]))
        for model, value in values.items()
        for lower, name in (("ELBO", "IWAE"), ("IWAE", "JVI-1"), ("JVI-1", "JVI-2"))
    ]
    claims.append(Claim("training by IWAE gives the better likelihood", *trained["IWAE"].gain_over(trained["ELBO"])))
    return Result(table, draw_curves(curves, "number of samples $k$", log=True), tuple(claims))
