"""Table 1 of Rainforth et al. 2018, and its quantities across training."""

import pandas as pd

from iwae_tf.reproductions.budgets import Budget, Configs
from iwae_tf.reproductions.drawing import draw_curves
from iwae_tf.reproductions.results import Claim, Result, Runs, is_mnist, measure_bounds, tabulate
from iwae_tf.reproductions.workspace import Workspace

NUM_SAMPLES = 64
MODELS = {"IWAE": "iwae", "PIWAE(8, 8)": "piwae", "MIWAE(8, 8)": "miwae", "CIWAE(0.5)": "ciwae", "VAE": "elbo"}
#: L_64, log p^ and -KL(q, p).
PUBLISHED = {
    "IWAE": (-86.11, -84.52, -1.59), "PIWAE(8, 8)": (-85.74, -84.46, -1.28), "MIWAE(8, 8)": (-85.69, -84.97, -0.72),
    "CIWAE(0.5)": (-86.08, -85.24, -0.84), "VAE": (-86.69, -86.21, -0.47),
}  # fmt: skip
#: The scalars of the diagnostics, by their labels.
CURVES = {
    "$L_{64}$ (nats)": "bound",
    r"$\log \hat p$, 500 samples (nats)": "log_likelihood",
    "ESS of 64": "effective_sample_size",
    "SNR, encoder": "gradient_snr/encoder",
    "SNR, decoder": "gradient_snr/decoder",
}


def configure(budget: Budget, workspace: Workspace) -> Configs:
    """Returns the runs by model, with diagnostics by epoch; the VAE has 64 samples too."""
    return {model: budget.config(name, NUM_SAMPLES, **budget.diagnose()) for model, name in MODELS.items()}


def evaluate(trained: Runs) -> Result:
    """Compares bounds, likelihood and KL with the published ones, and draws them across training."""
    table = tabulate(trained, ["objective"]).rename(columns={"NLL": "log p^"})
    table["log p^"] *= -1
    bounds = pd.DataFrame([measure_bounds(run, NUM_SAMPLES) for run in trained.values()], index=table.index)
    table = bounds.iloc[:, :1].join(table).join(bounds.iloc[:, 1:])
    if is_mnist(trained):
        columns = [f"published {name}" for name in (f"L_{NUM_SAMPLES}", "log p^", "-KL(q, p)")]
        table = table.join(pd.DataFrame.from_dict(PUBLISHED, orient="index", columns=columns))
    diagnostics = {str(model): run.diagnostics for model, run in trained.items()}
    panels = {label: {m: d[scalar] for m, d in diagnostics.items()} for label, scalar in CURVES.items()}
    panels["-KL(q, p) (nats)"] = {m: d.elbo - d.log_likelihood for m, d in diagnostics.items()}
    kl, snr = table["-KL(q, p)"], table["SNR, encoder"]
    claims = (
        Claim("q of MIWAE is closer to the posterior than q of IWAE", kl["MIWAE(8, 8)"] - kl["IWAE"]),
        Claim("q of the VAE is closer to the posterior than q of MIWAE", kl["VAE"] - kl["MIWAE(8, 8)"]),
        Claim("the encoder of MIWAE has a higher SNR than that of IWAE", snr["MIWAE(8, 8)"] - snr["IWAE"]),
        Claim("PIWAE has a better likelihood than MIWAE", *trained["PIWAE(8, 8)"].gain_over(trained["MIWAE(8, 8)"])),
        Claim("IWAE has a better likelihood than the VAE", *trained["IWAE"].gain_over(trained["VAE"])),
    )
    return Result(table, draw_curves(panels, "epoch"), claims)
