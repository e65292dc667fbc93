"""Gradient estimators of the IWAE bound: learning curves, likelihood, SNR."""

from iwae_tf import evaluation, objectives
from iwae_tf.reproductions.budgets import Budget, Configs
from iwae_tf.reproductions.drawing import draw_curves
from iwae_tf.reproductions.results import Claim, Result, Runs, compare_likelihoods, tabulate
from iwae_tf.reproductions.workspace import Workspace

NUM_SAMPLES = 64
MODELS = {"IWAE": "iwae", "STL": "stl", "DReG(IWAE)": "dreg", "RWS": "rws", "DReG(RWS)": "rws-dreg"}


def configure(budget: Budget, workspace: Workspace) -> Configs:
    """Returns the runs by estimator."""
    return {model: budget.config(name, NUM_SAMPLES) for model, name in MODELS.items()}


def evaluate(trained: Runs) -> Result:
    """Compares likelihoods, and the SNR and the variance of all estimators at the weights of the first run."""
    table = tabulate(trained, ["estimator"], active_units=lambda run: run.active)
    first = trained["IWAE"]
    choices = [objectives.get(name, NUM_SAMPLES) for name in MODELS.values()]
    moments = evaluation.gradient_snr(first.model, first.x[:100], 100, objectives=choices)
    for network in ("encoder", "decoder"):
        rows = moments[moments.network == network]
        table[f"SNR, {network} of IWAE"] = rows.snr.to_numpy()
        table[f"variance, {network} of IWAE"] = rows.variance.to_numpy()
    curves = {str(model): run.history.set_index("epoch") for model, run in trained.items()}
    figure = draw_curves(
        {
            f"validation $-L_{{{NUM_SAMPLES}}}$ (nats)": {model: curve.val_loss for model, curve in curves.items()},
            "validation ELBO (nats)": {model: curve.val_elbo for model, curve in curves.items()},
        },
        "epoch",
    )
    variance = table["variance, encoder of IWAE"]
    claims = (
        Claim(
            "DReG has less variance in the encoder (share that it saves)", 1 - variance["DReG(IWAE)"] / variance["IWAE"]
        ),
        *compare_likelihoods(
            trained,
            {
                "DReG(IWAE) is better than IWAE": ("DReG(IWAE)", "IWAE"),
                "DReG(RWS) is better than RWS": ("DReG(RWS)", "RWS"),
                "DReG(IWAE) is better than STL, whose gradient is biased": ("DReG(IWAE)", "STL"),
            },
        ),
    )
    return Result(table, figure, claims)
