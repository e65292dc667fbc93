"""Imputation of a table with half of its values missing."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from iwae_tf.plots.panels import open_panels
from iwae_tf.reproductions.budgets import Budget, Configs
from iwae_tf.reproductions.results import Claim, Result, Runs, average
from iwae_tf.reproductions.workspace import Workspace

MISSING = 0.5
#: Samples of imputation, and the published squared error of it.
NUM_SAMPLES, PUBLISHED = 10_000, 0.287
#: Epochs, sizes and k of the authors' notebook.
EPOCHS, TRAINING = 2000, {"latent_sizes": (10,), "hidden_sizes": ((128, 128),), "batch_size": 64}
SEEDS = (0, 1, 2)


def _load_rows() -> pd.DataFrame:
    """Returns the breast cancer data of scikit-learn, standardised."""
    from sklearn.datasets import load_breast_cancer

    rows = load_breast_cancer(as_frame=True).data
    return (rows - rows.mean()) / rows.std(ddof=0)


def _write_incomplete(path: Path) -> None:
    """Writes the rows with half of their values left out at random."""
    rows = _load_rows()
    missing = np.random.default_rng(1234).random(rows.shape) < MISSING
    with path.open("w") as file:
        rows.mask(missing).to_csv(file, index=False)


def configure(budget: Budget, workspace: Workspace) -> Configs:
    """Returns runs of the same data that differ in their seeds."""
    path = workspace.plan_data("breast_cancer_half_missing.csv", _write_incomplete)
    epochs = min(EPOCHS, 10 * budget.count_epochs())
    options: dict[str, Any] = {**TRAINING, "schedule": "constant", "epochs": epochs}
    return {f"seed {seed}": budget.config("iwae", 20, data=path, seed=seed, **options) for seed in budget.thin(SEEDS)}


def evaluate(trained: Runs) -> Result:
    """Compares the mean squared error of imputations with that of other methods on the same missing values."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

    complete = _load_rows()
    incomplete = pd.read_csv(str(next(iter(trained.values())).config.data))
    missing = incomplete.isna().to_numpy()
    truth = complete.to_numpy()[missing]
    methods = {
        "mean": SimpleImputer(),
        "5 nearest neighbours": KNNImputer(),
        "chained equations (IterativeImputer)": IterativeImputer(max_iter=20, random_state=0),
    }
    errors = {name: (method.fit_transform(incomplete)[missing] - truth) ** 2 for name, method in methods.items()}
    for key, run in trained.items():
        filled = run.model.impute(incomplete, NUM_SAMPLES, seed=0).numpy()
        errors[f"IWAE, {key}"] = (filled[missing] - truth) ** 2
    values = {name: average(error) for name, error in errors.items()}
    table = pd.DataFrame(values.values(), index=pd.Index(values, name="method"), columns=["MSE", "error"])
    table["RMSE"] = table.MSE**0.5
    table["published MSE"] = [PUBLISHED if name.startswith("IWAE") else np.nan for name in table.index]
    with open_panels(None, size=(4.5, 0.3 * len(table) + 0.8)) as (figure, (ax,)):
        ordered = table.iloc[::-1]
        ax.barh(list(ordered.index), ordered.MSE, xerr=2 * ordered.error, color="C0", height=0.6)
        ax.axvline(PUBLISHED, color="black", linestyle="--", linewidth=0.8)
        ax.set(xlabel=f"MSE of imputations \u00b1 2 standard errors; dashed: published, {PUBLISHED}")
    ours = np.mean([errors[f"IWAE, {key}"] for key in trained], axis=0)
    claims = tuple(Claim(f"imputation is better than by {name}", *average(errors[name] - ours)) for name in methods)
    return Result(table, figure, claims)
