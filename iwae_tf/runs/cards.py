"""The model card of a run: README.md of its folder."""

import datetime
from pathlib import Path
from typing import Any

from iwae_tf.files import compute_checksum, read_json, write_whole
from iwae_tf.model import IWAE
from iwae_tf.runs.config import Config

_CARD = """# {name}

{rows}

{verdict}
"""


def describe_run(folder: Path, model: IWAE, config: Config, metrics: dict[str, Any]) -> dict[str, str]:
    """Returns what was trained on which data, how, for how long and with which versions, by name."""
    test, training = metrics["test"], metrics["training"]
    refined = f", q refined by {test['refine']} steps" if test["refine"] else ""
    duration = datetime.timedelta(seconds=round(training["seconds"]))
    units = ", ".join(str(count) for count in metrics["active_units"].values())
    # An unfinished run is described under its final name.
    path = folder.with_name(folder.name.removesuffix(".part")) / "model.keras"
    per_step = f"{test['per_step']:.3f} \u00b1 {test['per_step_error']:.3f} nats" if "per_step" in test else None
    facts = {
        "Test log-likelihood": f"{test['log_likelihood']:.3f} \u00b1 {test['standard_error']:.3f} nats "
        f"({test['num_samples']} samples{refined}; sampling error {test['sampling_error']:.3f})",
        "Test log-likelihood per step": per_step,
        "Effective sample size": f"{test['effective_sample_size']:.1f}",
        "Pareto k of 0.7 or more": f"{test['unreliable']:.0%} of the observations" if "unreliable" in test else None,
        "Active units": f"{units}, from x up" if units else None,
        "Data": f"{config.source}, {test['num_observations']} test observations of shape {model.event_shape}",
        "Objective": repr(model.objective),
        "Options": repr(config),
        "Parameters": f"{training['parameters']:,}",
        "Training": f"{training['epochs']} epoch{'s' * (training['epochs'] != 1)} in {duration} (h:mm:ss)",
        # Keras knows the classes of the model only if the package is imported too.
        "To load it": f"import keras, iwae_tf; keras.saving.load_model({str(path)!r})",
        "SHA-256 of model.keras": compute_checksum(folder / "model.keras"),
        "Versions": ", ".join(f"{name} {v}" for name, v in read_json(folder / "config.json")["versions"].items()),
    }
    return {name: value for name, value in facts.items() if value is not None}


def write_card(folder: Path, model: IWAE, config: Config, metrics: dict[str, Any]) -> None:
    """Writes README.md to the folder of a run whose results are there."""
    facts = describe_run(folder, model, config, metrics)
    escaped = ((name, value.replace("|", r"\|")) for name, value in facts.items())
    rows = [f"| {name} | {value} |" for name, value in escaped]
    card = _CARD.format(
        name=folder.name.removesuffix(".part"),
        rows="\n".join(["| | |", "|---|---|", *rows]),
        verdict=metrics["test"]["verdict"],
    )
    if (folder / "samples.png").exists():
        card += "\n![Samples](samples.png)\n"
    with write_whole(folder / "README.md", overwrite=True) as path:
        path.write_text(card)
