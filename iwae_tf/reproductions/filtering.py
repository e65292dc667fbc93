"""Filtering bounds of recurrent models of piano rolls, as in Maddison et al. 2017."""

from typing import Any

import pandas as pd

from iwae_tf import evaluation
from iwae_tf.plots.panels import HEIGHT, PAGE, open_panels
from iwae_tf.reproductions.budgets import Budget, Configs
from iwae_tf.reproductions.drawing import draw_lines
from iwae_tf.reproductions.results import Claim, Result, Runs
from iwae_tf.reproductions.workspace import Workspace
from iwae_tf.runs.config import Config

#: Objectives and numbers of samples in training.
MODELS = {"ELBO": ("elbo", 1), "IWAE": ("iwae", 4), "FIVO": ("fivo", 4)}
#: Data and sizes of z and the cell; the rows of digits stand for music where there is none.
DATASETS = {"jsb": 32, "nottingham": 64, "musedata": 64, "piano_midi": 64}
WITHOUT_MUSIC = {"digit_rows": 8}
#: Particles that score.
NUM_PARTICLES = 128
#: Bounds in nats per step that replications report for four samples: McBits (arXiv:2102.11086).
PUBLISHED = {
    "nottingham": (-4.19, -3.44, -3.38), "jsb": (-8.69, -8.25, -7.60), "musedata": (-6.52, -6.54, -6.00),
    "piano_midi": (-7.33, -7.29, -7.19),
}  # fmt: skip
_NOTE = (
    "Bounds are in nats per time step, with {} samples; errors are standard errors over test sequences, of one seed."
)
#: Epochs, and those without a better validation loss that end a training.
EPOCHS, PATIENCE = 1000, 50


def configure(budget: Budget, workspace: Workspace) -> Configs:
    """Returns the runs by data set and model."""
    datasets = DATASETS if "mnist" in budget.datasets else WITHOUT_MUSIC
    names = list(datasets)[: 1 if budget.name == "hour" else None]
    epochs = EPOCHS if datasets is DATASETS else budget.count_epochs()
    options: dict[str, Any] = {
        "network": "vrnn", "batch_size": 4 if datasets is DATASETS else 20, "epochs": epochs, "patience": PATIENCE,
        "learning_rate": 1e-3, "backward_samples": None, "test_samples": min(NUM_PARTICLES, budget.num_samples),
    }  # fmt: skip
    return {
        (name, model): Config(
            dataset=name, objective=objective, num_samples=k, latent_sizes=(datasets[name],), **options
        )
        for name in names
        for model, (objective, k) in MODELS.items()
    }


def evaluate(trained: Runs) -> Result:
    """Compares the bounds of the test data with the published ones, and draws how the filters fare over time."""
    k = next(iter(trained.values())).config.test_samples
    rows: dict[Any, dict[str, Any]] = {}
    scores: dict[Any, pd.DataFrame] = {}
    over_time: dict[Any, pd.DataFrame] = {}
    for (dataset, model), run in trained.items():
        test = run.data.splits.test
        bounds = evaluation.sequence_bounds(run.model, test, k)
        published = dict(zip(MODELS, PUBLISHED.get(dataset, ()), strict=False))
        rows[dataset, model] = {
            "best bound per step": bounds.per_step.max(),
            "error": bounds.standard_error.iloc[bounds.per_step.argmax()],
            **({"published": published[model]} if published else {}),
            **{str(name).upper(): value for name, value in bounds.per_step.items()},
            "epochs": run.training["epochs"],
            "seconds": run.training["seconds"],
        }
        scores[dataset, model] = evaluation.sequence_log_likelihood(run.model, test, k, repeats=1)
        over_time[dataset, model] = evaluation.effective_sample_size_over_time(run.model, test, k)
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(table.index, names=["data", "trained by"])
    datasets = list(table.index.unique("data"))
    claims = []
    with open_panels(None, 2 * len(datasets), 2, (PAGE, HEIGHT * len(datasets))) as (figure, panels):
        for i, dataset in enumerate(datasets):
            histories = {m: -trained[dataset, m].history.val_loss_per_step for m in MODELS}
            draw_lines(panels[2 * i], histories, f"validation bound, {dataset} (nats per step)", "epoch")
            sizes = {m: over_time[dataset, m].effective_sample_size for m in MODELS}
            draw_lines(panels[2 * i + 1], sizes, f"effective sample size of {k}", "step")
            for other in ("IWAE", "ELBO"):
                ours, theirs = scores[dataset, "FIVO"], scores[dataset, other]
                gain = evaluation.sequences.average_per_step(
                    (ours.log_likelihood - theirs.log_likelihood).to_numpy(), ours.num_steps.to_numpy()
                )
                statement = f"{dataset}: training by FIVO is better than by {other}, by its filter's bound per step"
                claims.append(Claim(statement, *gain))
    return Result(table, figure, tuple(claims), _NOTE.format(k))
