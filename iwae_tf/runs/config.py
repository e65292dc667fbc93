"""The configuration of a run."""

import dataclasses
import os
import platform
from collections.abc import Collection
from importlib import metadata
from pathlib import Path
from typing import Any

from iwae_tf import builders, data, objectives
from iwae_tf.checks import check_run_options
from iwae_tf.files import find_in_run, read_json, write_json
from iwae_tf.options import NAMES, RunOptions
from iwae_tf.recipes import find_recipe

#: Options that say where or how fast a run trains, but not what it becomes.
INCIDENTAL = ("data_dir", "diagnose", "diagnose_every", "steps_per_execution")


def choices() -> dict[str, Collection[str]]:
    """Returns the names to choose from for every field of `Config` that is a name, with the registered names."""
    return {
        "dataset": data.NAMES,
        "objective": sorted(objectives.NAMES),
        "posterior": builders.POSTERIORS,
        "prior": builders.PRIORS,
        "likelihood": [*builders.LIKELIHOODS, "table"],
        **{name: NAMES[name] for name in ("network", "schedule", "precision")},
    }


@dataclasses.dataclass(frozen=True)
class Config(RunOptions):
    """Everything needed to repeat a run; `iwae-tf train --help` explains each field.

    Raises:
      ValueError: if a name is unknown, or a number is out of its range.

    Example:
      ```python
      config = runs.Config(objective="dreg", num_samples=8, latent_sizes=(10,), hidden_sizes=((50, 50),))
      config.posterior  # "normal", the default
      ```
    """

    def __post_init__(self) -> None:
        check_run_options(self, choices())
        if self.beta is not None or self.free_bits is not None or self.backward_samples not in (None, "auto"):
            self.make_objective()
        if self.first_samples is not None:
            self.make_objective(self.first_samples)
        if self.posterior in ("bernoulli", "categorical"):
            self._check_discrete()

    def _check_discrete(self) -> None:
        """Raises a `ValueError` unless the objective follows the score of q, which discrete variables need."""
        objective = self.make_objective()
        if not (objective.inference or objective).follows_scores:
            names = [name for name in sorted(objectives.NAMES) if objectives.get(name, 2).follows_scores]
            raise ValueError(
                f"Expected one of the objectives {', '.join(names)} with posterior {self.posterior!r}. "
                f"Received: {self.objective!r}"
            )

    @classmethod
    def from_recipe(cls, name: str, **options: Any) -> "Config":
        """Makes the configuration of a recipe.

        Args:
          name: one of `recipes.RECIPES`.
          **options: options that replace those of the recipe.

        Raises:
          ValueError: if there is no recipe of this name.

        Example:
          ```python
          config = runs.Config.from_recipe("mnist_iwae_1l", seed=1)
          config.dataset  # "mnist"
          ```
        """
        return cls(**{**find_recipe(name).options, **options})

    @property
    def source(self) -> str:
        """The file that the run trains on, or the name of its data set."""
        return self.data or self.dataset

    def make_objective(self, num_samples: int | None = None) -> objectives.Objective:
        """Makes the objective of the run, or the same with another number of samples."""
        return objectives.get(
            self.objective, num_samples or self.num_samples, self.beta, self.backward_samples, self.free_bits
        )

    def __repr__(self) -> str:
        values = ((field, getattr(self, field.name)) for field in dataclasses.fields(self))
        return f"Config({', '.join(f'{field.name}={v!r}' for field, v in values if v != field.default)})"

    @classmethod
    def read(cls, run: str | os.PathLike) -> "Config":
        """Reads the configuration of a run folder.

        Raises:
          FileNotFoundError: if `run` is not a run folder.
          ValueError: if its configuration is damaged.
        """
        path = find_in_run(run, "config.json")
        content = read_json(path)
        try:
            options = dict(content["options"])
            for name in ("latent_sizes", "hidden_sizes", "columns", "event_shape"):
                if options[name] is not None:
                    options[name] = tuple(tuple(n) if isinstance(n, list) else n for n in options[name])
            return cls(**options)
        except (KeyError, TypeError) as error:
            raise ValueError(f"Expected the options of a run in {path}. Received: {error!r}") from error


def write_config(config: Config, folder: Path) -> None:
    """Writes config.json: the options, and the versions of the packages."""
    packages = ("iwae-tf", "keras", "numpy", "tensorflow", "tensorflow-datasets", "tensorflow-probability")
    content = {
        "options": dataclasses.asdict(config),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}},
    }
    write_json(folder / "config.json", content)
