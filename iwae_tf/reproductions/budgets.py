"""How much of a published protocol a reproduction runs."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from iwae_tf.callbacks import BurdaSchedule
from iwae_tf.runs.config import Config
from iwae_tf.runs.training import schedules

T = TypeVar("T")

#: Configurations by what they differ in.
Configs: TypeAlias = dict[Any, Config]


@dataclasses.dataclass(frozen=True)
class Budget:
    """Data, networks and training of the runs of a reproduction.

    Attributes:
      name: its name.
      datasets: the data sets, the main one first.
      options: the options of `runs.Config` that all runs share, among them the schedule.
      width: factor of all widths of Burda's networks.
      max_depth: most stochastic layers, where a reproduction goes up to seven.
      num_observations: test observations, the first ones.
      num_samples: k of the test log-likelihood.
      most: most values of each option that runs differ in: the first and the last are always among them.

    Example:
      ```python
      budget = reproductions.BUDGETS["quick"]
      budget.config("iwae", 5, num_layers=2).latent_sizes  # (32, 16)
      ```
    """

    name: str
    datasets: tuple[str, ...]
    options: Mapping[str, Any]
    width: float = 1.0
    max_depth: int = 7
    num_observations: int = 1000
    num_samples: int = 5000
    most: int = 100

    def config(self, objective: str, num_samples: int, num_layers: int = 1, **options: Any) -> Config:
        """Returns the configuration of a run with Burda's networks; `options` take precedence."""
        latent_sizes = (50,) if num_layers == 1 else (100, 50, 25, 12, 8, 6, 4)[:num_layers]
        hidden_sizes = [(200, 200), *[(100, 100)] * (num_layers - 1)]
        defaults: dict[str, Any] = {
            "dataset": self.datasets[0],
            "latent_sizes": tuple(self._scale(size) for size in latent_sizes),
            "hidden_sizes": tuple(tuple(self._scale(size) for size in sizes) for sizes in hidden_sizes),
            "test_samples": self.num_samples,
            "backward_samples": None,  # as in the papers
        }
        if "data" in options:
            del defaults["dataset"]
        return Config(objective=objective, num_samples=num_samples, **{**defaults, **self.options, **options})

    def train_for(self, epochs: int, **options: Any) -> dict[str, Any]:
        """Returns options for a training at a constant rate in place of the budget's schedule.

        Args:
          epochs: epochs of the published protocol. A budget takes the share of them that it takes of the 3280 epochs
            of Burda's schedule.
          **options: further options.
        """
        share = self.count_epochs() / BurdaSchedule().epochs
        return {"schedule": "constant", "epochs": max(1, round(share * epochs)), **options}

    def train_stages(self, stages: int) -> dict[str, Any]:
        """Returns options for the first stages of Burda's schedule; at a constant rate, for the same share of three."""
        if self.options.get("schedule") == "burda":
            return {"stages": min(stages, self.options["stages"])}
        share = min(1, BurdaSchedule(stages).epochs / BurdaSchedule(3).epochs)
        return {"epochs": max(1, round(self.options["epochs"] * share))}

    def diagnose(self) -> dict[str, Any]:
        """Returns options for about 15 diagnoses of a training."""
        return {"diagnose": True, "diagnose_every": max(1, self.count_epochs() // 15)}

    def count_epochs(self) -> int:
        """Returns the number of epochs of the budget's schedule."""
        return schedules(self.config("elbo", 1))[0]

    def thin(self, values: Sequence[T]) -> list[T]:
        """Returns at most `most` of the values, evenly spread from the first to the last."""
        if len(values) <= self.most:
            return list(values)
        last = len(values) - 1
        return [values[round(i * last / max(self.most - 1, 1))] for i in range(self.most)]

    def _scale(self, size: int) -> int:
        return max(2, round(self.width * size))


#: The budgets of the command line, by name.
BUDGETS: dict[str, Budget] = {
    budget.name: budget
    for budget in (
        Budget("quick", ("digits",), {"epochs": 30}, width=0.32, num_observations=250, num_samples=1000),
        Budget("hour", ("mnist",), {"schedule": "burda", "stages": 3}),
        Budget(
            "paper",
            ("mnist", "omniglot", "binarized_mnist"),
            {"schedule": "burda", "stages": 8},
            num_observations=10_000,
        ),
    )
}
