"""The configuration of a run."""

import dataclasses
import json
import platform
from importlib import metadata
from pathlib import Path

from iwae_tf import builders, data, objectives
from iwae_tf.checks import check_choice, check_count
from iwae_tf.files import read_json

SCHEDULES = ("constant", "burda")
NETWORKS = ("mlp", "conv")
PRECISIONS = ("float32", "float64", "mixed_bfloat16", "mixed_float16")


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything needed to repeat a run; for the meaning of each see `iwae-tf train --help`.

    Raises:
      ValueError: if a value is not among those there are.
    """

    dataset: str = "digits"
    data_dir: str | None = None
    objective: str = "iwae"
    num_samples: int = 50
    beta: float | None = None
    warm_up: int = 0
    network: str = "mlp"
    posterior: str = "normal"
    prior: str = "normal"
    likelihood: str = "bernoulli"
    ladder: bool = False
    skip: bool = False
    latent_sizes: tuple[int, ...] = (50,)
    hidden_sizes: tuple[tuple[int, ...], ...] = ((200, 200),)
    schedule: str = "constant"
    epochs: int = 50
    stages: int = 8
    learning_rate: float = 1e-3
    batch_size: int = 20
    seed: int = 0
    steps_per_execution: int | None = None
    precision: str = "float32"
    test_samples: int = 5000
    diagnose: bool = False

    def __post_init__(self):
        for name, known in (
            ("dataset", data.NAMES),
            ("objective", sorted(objectives.NAMES)),
            ("network", NETWORKS),
            ("posterior", builders.POSTERIORS),
            ("prior", builders.PRIORS),
            ("likelihood", builders.LIKELIHOODS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
        ):
            check_choice(getattr(self, name), name, known)
        for name in ("num_samples", "epochs", "stages", "batch_size", "steps_per_execution", "test_samples"):
            if name != "steps_per_execution" or self.steps_per_execution is not None:
                check_count(getattr(self, name), name)
        if self.warm_up:
            check_count(self.warm_up, "warm_up")
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"Expected learning_rate to be a positive number. Received: {self.learning_rate}")
        if self.beta is not None:
            objectives.get(self.objective, self.num_samples, self.beta)
        if not 1 <= len(self.latent_sizes) <= 7:
            raise ValueError(f"Expected 1 to 7 latent sizes, one per stochastic layer. Received: {self.latent_sizes}")
        if self.network == "conv" and len(self.latent_sizes) > 1:
            raise ValueError(f"Expected one latent size with network 'conv'. Received: {self.latent_sizes}")

    def __repr__(self):
        values = ((field, getattr(self, field.name)) for field in dataclasses.fields(self))
        return f"Config({', '.join(f'{field.name}={v!r}' for field, v in values if v != field.default)})"

    @classmethod
    def read(cls, run):
        """Reads the configuration of a run folder."""
        path = Path(run) / "config.json"
        if not path.is_file():
            raise FileNotFoundError(f"Expected the folder of a run, with config.json in it. Received: {run}")
        held = read_json(path)
        try:
            options = dict(held["options"])
            options["latent_sizes"] = tuple(options["latent_sizes"])
            options["hidden_sizes"] = tuple(map(tuple, options["hidden_sizes"]))
            return cls(**options)
        except (KeyError, TypeError) as error:
            raise ValueError(f"Expected the options of a run in {path}. Received: {error!r}") from error


def write_config(config, folder):
    """Writes config.json: the options, and the versions they were run with."""
    packages = ("iwae-tf", "keras", "numpy", "tensorflow", "tensorflow-datasets", "tensorflow-probability")
    content = {
        "options": dataclasses.asdict(config),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}},
    }
    (folder / "config.json").write_text(json.dumps(content, indent=2) + "\n")
