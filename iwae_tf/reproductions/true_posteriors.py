"""The true posterior beside q, for models of two latent variables."""

from iwae_tf import evaluation, plots
from iwae_tf.reproductions.budgets import Budget, Configs
from iwae_tf.reproductions.results import Claim, Result, Runs, average, tabulate
from iwae_tf.reproductions.workspace import Workspace

MODELS = {"VAE": ("elbo", 1), "IWAE, k = 5": ("iwae", 5), "IWAE, k = 50": ("iwae", 50)}
#: Test images whose posteriors are drawn.
SHOWN = [2, 8, 15]


def configure(budget: Budget, workspace: Workspace) -> Configs:
    """Returns the runs by model."""
    return {name: budget.config(objective, k, latent_sizes=(2,)) for name, (objective, k) in MODELS.items()}


def evaluate(trained: Runs) -> Result:
    """Draws the posteriors, and compares how far q is from them."""
    parts = {
        name: evaluation.decompose(run.model, run.x, likelihood_samples=run.budget.num_samples)
        for name, run in trained.items()
    }
    table = tabulate(trained, ["model"])
    for column in ("elbo", "negative_kl"):
        table[column.replace("_", " ")] = [part[column].mean() for part in parts.values()]
    vae, *_, iwae = trained
    figure = plots.posteriors({str(name): run.model for name, run in trained.items()}, trained[vae].x[SHOWN])
    wider = parts[vae].negative_kl - parts[iwae].negative_kl
    claims = (
        Claim("IWAE-50 is better than the VAE", *trained[iwae].gain_over(trained[vae])),
        Claim("q of the IWAE is further from the posterior than q of the VAE", *average(wider.to_numpy())),
    )
    return Result(table, figure, claims)
