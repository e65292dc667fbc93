"""Every posterior of continuous variables in a VAE."""

from iwae_tf import builders
from iwae_tf.reproductions.budgets import Budget, Configs
from iwae_tf.reproductions.comparisons import compare_with_first
from iwae_tf.reproductions.results import Pairs, Result, Runs
from iwae_tf.reproductions.workspace import Workspace


def configure(budget: Budget, workspace: Workspace) -> Configs:
    """Returns a run of each posterior, the diagonal Gaussian first."""
    names = [name for name in builders.POSTERIORS if name not in builders.DISCRETE]
    return {name: budget.config("elbo", 1, posterior=name) for name in budget.thin(names)}


def evaluate(trained: Runs) -> Result:
    """Compares likelihoods and bounds."""
    claims: Pairs = {
        "IAF is better than a diagonal Gaussian": ("iaf", "normal"),
        "planar flows are better than a diagonal Gaussian": ("planar", "normal"),
    }
    return compare_with_first(trained, "posterior", claims, parameters=lambda run: run.training["parameters"])
