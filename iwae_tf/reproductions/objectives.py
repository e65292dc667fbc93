"""Every objective under the same protocol."""

from iwae_tf import objectives
from iwae_tf.reproductions.budgets import Budget, Configs
from iwae_tf.reproductions.comparisons import compare_with_first
from iwae_tf.reproductions.results import Pairs, Result, Runs
from iwae_tf.reproductions.workspace import Workspace

NUM_SAMPLES = 64


def configure(budget: Budget, workspace: Workspace) -> Configs:
    """Returns a run of each objective, IWAE first."""
    others = [
        name
        for name in sorted(objectives.NAMES)
        if name not in ("iwae", "elbo") and not objectives.get(name, NUM_SAMPLES).filters
    ]
    names = budget.thin(["iwae", "elbo", *others])
    return {name: budget.config(name, NUM_SAMPLES) for name in names}


def evaluate(trained: Runs) -> Result:
    """Compares likelihoods, bounds and gradients."""
    claims: Pairs = {
        "IWAE is better than the VAE": ("iwae", "elbo"),
        "DReG is better than the reparameterised gradient": ("dreg", "iwae"),
        "MIWAE is better than the VAE": ("miwae", "elbo"),
    }
    return compare_with_first(trained, "objective", claims, seconds=lambda run: run.training["seconds"])
