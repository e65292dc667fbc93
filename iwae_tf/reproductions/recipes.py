"""What the parts of a recipe are worth: the recipe beside the same with one part changed, in the same time."""

from typing import Any

from iwae_tf.reproductions.budgets import BUDGETS, Budget, Configs
from iwae_tf.reproductions.comparisons import compare_with_first
from iwae_tf.reproductions.results import Result, Runs
from iwae_tf.reproductions.workspace import Workspace

#: Epochs with few samples and epochs with 50, which take 210 s and 140 s of two cores on MNIST.
EPOCHS = (52, 9)
FEW, MANY = 5, 50
#: The recipe and its changes: epochs, which are others where an epoch takes another time, and options.
PARTS: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {
    "the recipe": (EPOCHS, {}),
    "50 samples from the start": ((0, 23), {}),
    "5 samples to the end": ((0, 86), {"num_samples": FEW}),
    "all samples differentiated": ((52, 5), {"backward_samples": None}),
    "a constant rate": (EPOCHS, {"schedule": "constant"}),
    "a constant rate, averaged weights": (EPOCHS, {"schedule": "constant", "ema": 0.999}),
    "a rate of 0.001": (EPOCHS, {"learning_rate": 1e-3}),
    "a rate of 0.003": (EPOCHS, {"learning_rate": 3e-3}),
    "batches of 20, a rate of 0.001": ((40, 8), {"batch_size": 20, "learning_rate": 1e-3}),
    "STL": (EPOCHS, {"objective": "stl"}),
    "DReG": (EPOCHS, {"objective": "dreg"}),
    "MIWAE": (EPOCHS, {"objective": "miwae"}),
    "a Real NVP prior": ((40, 7), {"prior": "realnvp"}),
}


def configure(budget: Budget, workspace: Workspace) -> Configs:
    """Returns the run of the recipe, and a run for each change."""
    share = budget.count_epochs() / BUDGETS["hour"].count_epochs()
    configs = {}
    for name in budget.thin(list(PARTS)):
        (few, many), changes = PARTS[name]
        first, rest = (round(share * epochs) for epochs in (few, many))
        options: dict[str, Any] = {
            "objective": "iwae", "num_samples": MANY, "backward_samples": "auto", "schedule": "cosine",
            "learning_rate": 2e-3, "batch_size": 100, "epochs": max(1, first + rest), "first_epochs": first,
            "first_samples": FEW if first else None,
        }  # fmt: skip
        configs[name] = budget.config(**{**options, **changes})
    return configs


def evaluate(trained: Runs) -> Result:
    """Compares likelihoods and bounds."""
    return compare_with_first(
        trained, "training", epochs=lambda run: run.training["epochs"], seconds=lambda run: run.training["seconds"]
    )
