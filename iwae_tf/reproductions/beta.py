"""beta-VAE: rate and distortion over beta, and the beta that three criteria choose."""

import numpy as np
import pandas as pd

from iwae_tf import evaluation
from iwae_tf.plots.panels import open_panels
from iwae_tf.reproductions.budgets import Budget, Configs
from iwae_tf.reproductions.drawing import draw_lines
from iwae_tf.reproductions.results import Claim, Result, Runs
from iwae_tf.reproductions.workspace import Workspace

BETAS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
#: Each holds out another tenth of the rows, as repeated random sub-sampling validation.
SEEDS = (0, 1, 2)


def configure(budget: Budget, workspace: Workspace) -> Configs:
    """Returns the runs by beta and seed, which chooses the rows that are held out."""
    dataset = budget.datasets[0]
    path = workspace.plan_rows(dataset, lambda: workspace.load_training_data(dataset))
    return {
        (beta, seed): budget.config("elbo", 1, beta=beta, data=path, likelihood="bernoulli", seed=seed)
        for beta in budget.thin(BETAS)
        for seed in budget.thin(SEEDS)
    }


def evaluate(trained: Runs) -> Result:
    """Computes rate, distortion and NLL of the held-out rows, and AIC and BIC of the training data."""
    rows = {}
    for (beta, seed), run in trained.items():
        parts = evaluation.decompose(run.model, run.x, likelihood_samples=run.budget.num_samples)
        x = run.take(run.data.splits.train)
        criteria = evaluation.information_criteria(run.model, x, run.budget.num_samples)
        rows[beta, seed] = {
            "rate": parts.rate.mean(),
            "distortion": parts.distortion.mean(),
            "-ELBO": -parts.elbo.mean(),
            "NLL, held out": run.nll,
            "active units": run.num_active,
            **criteria.iloc[0][["aic", "bic"]].rename(str.upper),
        }
    index = pd.MultiIndex.from_tuples(list(rows), names=["beta", "seed"])
    by_seed = pd.DataFrame(rows.values(), index=index)
    table = by_seed.groupby("beta").mean()
    table.insert(4, "its spread over seeds", by_seed["NLL, held out"].groupby("beta").std())
    chosen = {name: table[name].idxmin() for name in ("NLL, held out", "AIC", "BIC")}
    for name, beta in chosen.items():
        table[f"chosen by {name}"] = ["x" if value == beta else "" for value in table.index]
    with open_panels(None, 2) as (figure, (plane, curve)):
        plane.plot(table.rate, table.distortion, marker="o")
        for beta, row in table.iterrows():
            plane.annotate(
                f"{beta:g}", (row.rate, row.distortion), xytext=(3, 3), textcoords="offset points", fontsize=7
            )
        plane.set(xlabel="rate (nats)", ylabel="distortion (nats)")
        draw_lines(
            curve, {name: table[name] for name in ("NLL, held out", "-ELBO")}, "nats per observation", r"$\beta$"
        )
        curve.set_xscale("log")
    best = float(str(chosen["NLL, held out"]))
    rising = np.diff(table.rate.to_numpy()), np.diff(table.distortion.to_numpy())
    claims = (
        Claim("the rate falls with beta (smallest step)", float(-rising[0].max())),
        Claim("the distortion rises with beta (smallest step)", float(rising[1].min())),
        Claim("cross-validation prefers beta of 1 or less (1.5 - its choice)", 1.5 - best),
    )
    return Result(table, figure, claims)
