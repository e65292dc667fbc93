"""Every prior of continuous variables in a VAE."""

from iwae_tf import builders
from iwae_tf.reproductions.budgets import Budget, Configs
from iwae_tf.reproductions.comparisons import compare_with_first
from iwae_tf.reproductions.results import Pairs, Result, Runs
from iwae_tf.reproductions.workspace import Workspace


def configure(budget: Budget, workspace: Workspace) -> Configs:
    """Returns a run of each prior, the standard normal first."""
    names = [name for name in builders.PRIORS if name not in builders.DISCRETE]
    # The default is the same as "normal", and other reproductions have that run.
    priors = {name: None if name == "normal" else name for name in budget.thin(names)}
    return {name: budget.config("elbo", 1, prior=prior) for name, prior in priors.items()}


def evaluate(trained: Runs) -> Result:
    """Compares likelihoods and bounds."""
    claims: Pairs = {
        "a VampPrior is better than a standard normal": ("vamp", "normal"),
        "an autoregressive flow is better than a standard normal": ("maf", "normal"),
        "a VampPrior is better than a mixture of Gaussians": ("vamp", "mixture"),
    }
    return compare_with_first(trained, "prior", claims, parameters=lambda run: run.training["parameters"])
