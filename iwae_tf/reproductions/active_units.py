"""Units in use by layer, number of samples and objective."""

from iwae_tf import plots
from iwae_tf.reproductions import burda_likelihoods
from iwae_tf.reproductions.budgets import Budget, Configs
from iwae_tf.reproductions.burda_likelihoods import MODELS
from iwae_tf.reproductions.results import Claim, Result, Runs, count_layers, is_mnist, tabulate
from iwae_tf.reproductions.workspace import Workspace

#: Units of the replication by layers, k and model.
PUBLISHED = {
    (1, 1, "VAE"): "19", (1, 5, "VAE"): "19", (1, 5, "IWAE"): "23", (1, 50, "VAE"): "19", (1, 50, "IWAE"): "25",
    (2, 1, "VAE"): "16+3", (2, 5, "VAE"): "17+4", (2, 5, "IWAE"): "21+6", (2, 50, "VAE"): "17+6",
    (2, 50, "IWAE"): "26+6",
}  # fmt: skip


def configure(budget: Budget, workspace: Workspace) -> Configs:
    """Returns the runs of `burda-likelihoods` on the main data set, by layers, k and model."""
    runs = burda_likelihoods.configure(budget, workspace)
    return {key[1:]: config for key, config in runs.items() if key[0] == budget.datasets[0]}


def evaluate(trained: Runs) -> Result:
    """Counts the active units, and draws histograms of log A_u of the deepest models with most samples."""
    table = tabulate(trained, ["layers", "k", "model"], active_units=lambda run: run.active)
    if is_mnist(trained):
        table["published active units"] = [PUBLISHED.get(key, "") for key in trained]
    k = max(k for _, k, _ in trained)
    figure = plots.activity({model: trained[2, k, model].units for model in MODELS})
    counts = {key: run.num_active for key, run in trained.items()}
    claims = (
        *(
            Claim(
                f"IWAE-{k} uses more units than VAE-{k}, {count_layers(n)}", counts[n, k, "IWAE"] - counts[n, k, "VAE"]
            )
            for n in (1, 2)
        ),
        *(
            Claim(
                f"IWAE-{k} uses more units than with one sample, {count_layers(n)}",
                counts[n, k, "IWAE"] - counts[n, 1, "VAE"],
            )
            for n in (1, 2)
        ),
    )
    return Result(table, figure, claims)
