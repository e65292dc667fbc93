"""Table 1 of Burda et al. 2015: likelihoods and active units of VAE and IWAE."""

from typing import Any

import pandas as pd

from iwae_tf.reproductions.budgets import Budget, Configs
from iwae_tf.reproductions.drawing import Curves, draw_curves
from iwae_tf.reproductions.results import Pairs, Result, Runs, compare_likelihoods, tabulate
from iwae_tf.reproductions.workspace import Workspace

#: Objectives by the names in the papers; the VAE's is the ELBO of k samples.
MODELS = {"VAE": "elbo", "IWAE": "iwae"}
SAMPLES = (1, 5, 50)
#: NLL and active units by layers and k; per data set first the VAE, then the IWAE.
_PUBLISHED = {
    "mnist": {
        (1, 1): ((86.76, "19"), (86.76, "19")), (1, 5): ((86.47, "20"), (85.54, "22")),
        (1, 50): ((86.35, "20"), (84.78, "25")), (2, 1): ((85.33, "16+5"), (85.33, "16+5")),
        (2, 5): ((85.01, "17+5"), (83.89, "21+5")), (2, 50): ((84.78, "17+5"), (82.90, "26+7")),
    },
    "omniglot": {
        (1, 1): ((108.11, "28"), (108.11, "28")), (1, 5): ((107.62, "28"), (106.12, "34")),
        (1, 50): ((107.80, "28"), (104.67, "41")), (2, 1): ((107.58, "28+4"), (107.56, "30+5")),
        (2, 5): ((106.31, "30+5"), (104.79, "38+6")), (2, 50): ((106.30, "30+5"), (103.38, "44+7")),
    },
    "binarized_mnist": {
        (1, 1): ((88.71, ""), (88.71, "")), (1, 5): ((88.83, ""), (87.63, "")), (1, 50): ((89.05, ""), (87.10, "")),
        (2, 1): ((88.08, ""), (88.08, "")), (2, 5): ((87.63, ""), (86.17, "")), (2, 50): ((87.86, ""), (85.32, "")),
    },
}  # fmt: skip
PUBLISHED: dict[Any, tuple[float, str]] = {
    (dataset, layers, k, model): value
    for dataset, rows in _PUBLISHED.items()
    for (layers, k), values in rows.items()
    for model, value in zip(MODELS, values, strict=True)
}


def configure(budget: Budget, workspace: Workspace) -> Configs:
    """Returns the runs by data set, layers, k and model; with one sample VAE and IWAE are one run, the VAE."""
    return {
        (dataset, layers, k, model): budget.config(objective, k, layers, dataset=dataset)
        for dataset in budget.datasets
        for layers in (1, 2)
        for k in budget.thin(SAMPLES)
        for model, objective in MODELS.items()
        if k > 1 or model == "VAE"
    }


def evaluate(trained: Runs) -> Result:
    """Compares NLL and active units with the published ones."""
    published = {key: nll for key, (nll, _) in PUBLISHED.items()}
    names = ["data", "layers", "k", "model"]
    table = tabulate(trained, names, published, active_units=lambda run: run.active)
    units = [PUBLISHED.get(key, (0, ""))[1] for key in trained]
    if any(units):
        table["published active units"] = units
    panels: dict[str, Curves] = {}
    references: dict[str, Curves] = {}
    claims: Pairs = {}
    for dataset in table.index.unique("data"):
        for n in (1, 2):
            at = f"{dataset}, {n} layer{'s' * (n > 1)}"
            panels[f"NLL, {at} (nats)"] = _split_models(table.NLL.loc[dataset, n])
            if "published NLL" in table:
                references[f"NLL, {at} (nats)"] = _split_models(table["published NLL"].loc[dataset, n])
            claims |= {
                f"{at}: IWAE-50 is better than VAE-50": ((dataset, n, 50, "IWAE"), (dataset, n, 50, "VAE")),
                f"{at}: IWAE-50 is better than IWAE-5": ((dataset, n, 50, "IWAE"), (dataset, n, 5, "IWAE")),
                f"{at}: IWAE-50 is better than the VAE": ((dataset, n, 50, "IWAE"), (dataset, n, 1, "VAE")),
            }
        two, one = (dataset, 2, 50, "IWAE"), (dataset, 1, 50, "IWAE")
        claims[f"{dataset}: two layers are better than one, IWAE-50"] = (two, one)
    figure = draw_curves(panels, "number of samples $k$", references, log=True)
    return Result(table, figure, compare_likelihoods(trained, claims))


def _split_models(values: pd.Series) -> Curves:
    """Returns values by k for each model; with one sample both are the VAE."""
    one = values[values.index.get_level_values("k") == 1].droplevel("model")
    curves = {model: values.xs(model, level="model") for model in MODELS}
    return {model: pd.concat([one, curve[curve.index > 1]]) for model, curve in curves.items()}
