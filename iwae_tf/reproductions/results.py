"""What a reproduction reads of its runs, and what it makes of them."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from iwae_tf import evaluation, random, runs
from iwae_tf.data import inputs
from iwae_tf.files import read_json
from iwae_tf.model import IWAE
from iwae_tf.reproductions.budgets import Budget
from iwae_tf.runs.config import Config
from iwae_tf.runs.loading import RunData, load

#: A difference of more standard errors than this one decides a claim.
DECISIVE = 2.0


class Claim(NamedTuple):
    """A statement of the source as a difference that should be positive.

    Attributes:
      statement: what the source says.
      difference: the difference of the runs, for example in nats.
      error: its standard error; 0 for counts.
    """

    statement: str
    difference: float
    error: float = 0.0

    @property
    def verdict(self) -> str:
        """`"yes"` or `"no"` if the difference exceeds two standard errors, otherwise `"undecided"`."""
        if math.isnan(self.difference) or abs(self.difference) <= DECISIVE * self.error:
            return "undecided"
        return "yes" if self.difference > 0 else "no"


class Result(NamedTuple):
    """What a reproduction makes of its runs.

    Attributes:
      table: its table; columns named `published ...` hold the published values.
      figure: its figure.
      claims: statements of the source, each with the difference that decides it.
      note: units and errors of the table; `None` says that NLLs are in nats, with errors over the test observations.
    """

    table: pd.DataFrame
    figure: Figure
    claims: tuple[Claim, ...] = ()
    note: str | None = None


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A finished run of a reproduction; its parts are loaded when they are used.

    Attributes:
      path: the run folder.
      config: its configuration.
      budget: the budget of the reproduction.
      data_dir: folder of prepared TFDS data.
    """

    path: Path
    config: Config
    budget: Budget
    data_dir: str | None = None

    @functools.cached_property
    def model(self) -> IWAE:
        """The trained model."""
        return runs.load_model(self.path)

    @functools.cached_property
    def data(self) -> RunData:
        """The data of the run."""
        return load(self.config, self.data_dir)

    @functools.cached_property
    def x(self) -> np.ndarray:
        """The first test observations, `[n, *event_shape]`, binarised once where the likelihood wants it."""
        return self.take(self.data.splits.test)

    @property
    def labels(self) -> np.ndarray:
        """Classes of `x`, `[n]`."""
        labels = self.data.splits.test_labels
        if labels is None:
            raise ValueError(f"Expected a data set with labels. Received: {self.config.source}")
        return labels[: len(self.x)]

    @functools.cached_property
    def scores(self) -> pd.DataFrame:
        """The table of `evaluation.log_likelihood` of x, kept in the run folder."""
        k = self.budget.num_samples
        path = self.path / f"log_likelihood-{len(self.x)}-{k}.csv"
        return evaluation.log_likelihood(self.model, self.x, k, path=path)

    @property
    def history(self) -> pd.DataFrame:
        """The metrics by epoch."""
        return pd.read_csv(self.path / "history.csv")

    @property
    def training(self) -> dict[str, Any]:
        """`epochs`, `seconds` and `parameters`."""
        return read_json(self.path / "metrics.json")["training"]

    @functools.cached_property
    def diagnostics(self) -> pd.DataFrame:
        """The scalars of `callbacks.Diagnostics` by epoch, for a run with `diagnose`."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.util.tensor_util import make_ndarray

        events = EventAccumulator(str(self.path / "tensorboard" / "diagnostics"), {"tensors": 0}).Reload()
        columns = {}
        for tag in events.Tags()["tensors"]:
            values = {event.step + 1: make_ndarray(event.tensor_proto) for event in events.Tensors(tag)}
            if all(np.ndim(value) == 0 and value.dtype.kind == "f" for value in values.values()):
                columns[tag] = pd.Series({epoch: float(value) for epoch, value in values.items()})
        return pd.DataFrame(columns).rename_axis("epoch")

    def take(self, part: Any) -> np.ndarray:
        """Returns the first observations of a data set of batches, as the likelihood sees them."""
        rows = inputs.take_rows(self.model, part, self.budget.num_observations)
        return self.model.preprocess(rows, random.as_seed(0)).numpy()

    @property
    def nll(self) -> float:
        """Negative mean of L_k of x, in nats."""
        return -average(self.scores.log_likelihood.to_numpy())[0]

    @property
    def error(self) -> float:
        """Standard error of `nll` over the observations, in nats."""
        return average(self.scores.log_likelihood.to_numpy())[1]

    @functools.cached_property
    def units(self) -> pd.DataFrame:
        """The table of `evaluation.active_units` of x."""
        return evaluation.active_units(self.model, self.x)

    @property
    def num_active(self) -> int:
        """Number of active units of all layers."""
        return int(self.units.active.sum())

    @property
    def active(self) -> str:
        """Numbers of active units by layer, from x up, such as `16+5`."""
        return "+".join(str(int(n)) for n in self.units.groupby("layer").active.sum())

    def gain_over(self, other: "TrainedRun") -> tuple[float, float]:
        """Returns the mean difference of the log-likelihoods from those of another run, and its standard error."""
        return average(self.scores.log_likelihood.to_numpy() - other.scores.log_likelihood.to_numpy())


#: The runs of a reproduction by what they differ in.
Runs: TypeAlias = Mapping[Any, TrainedRun]
#: Statements that the first run of a pair has a higher likelihood than the second.
Pairs: TypeAlias = dict[str, tuple[Any, Any]]


def count_layers(number: int) -> str:
    """Returns a number of stochastic layers in words, such as `2 layers`."""
    return f"{number} layer{'s' * (number > 1)}"


def is_mnist(trained: Runs) -> bool:
    """Returns whether the runs have MNIST, of which most papers publish values."""
    return next(iter(trained.values())).config.dataset == "mnist"


def average(values: np.ndarray) -> tuple[float, float]:
    """Returns the mean of values and its standard error."""
    return float(np.mean(values)), float(np.std(values, ddof=1) / len(values) ** 0.5)


def compare_likelihoods(trained: Runs, pairs: Pairs) -> tuple[Claim, ...]:
    """Returns a claim for each statement that the first run of a pair has a higher likelihood than the second.

    Pairs with a run that the budget leaves out are skipped.
    """
    return tuple(
        Claim(statement, *trained[better].gain_over(trained[worse]))
        for statement, (better, worse) in pairs.items()
        if better in trained and worse in trained
    )


def tabulate(
    trained: Runs,
    names: list[str],
    published: Mapping[Any, float] | None = None,
    **columns: Callable[[TrainedRun], Any],
) -> pd.DataFrame:
    """Makes a table with a row for each run: its NLL with the standard error, the published NLL, and more.

    Args:
      trained: the runs.
      names: what the parts of the keys mean: the index of the table.
      published: published NLL by key.
      **columns: functions from a run to the value of a further column, whose name has spaces for underscores.
    """
    rows = []
    for key, run in trained.items():
        row = {"NLL": run.nll, "error": run.error}
        if published and any(k in published for k in trained):
            value = published.get(key, math.nan)
            row |= {"published NLL": value, "difference": run.nll - value}
        rows.append(row | {name.replace("_", " "): measure(run) for name, measure in columns.items()})
    keys = [key if isinstance(key, tuple) else (key,) for key in trained]
    index = (
        pd.MultiIndex.from_tuples(keys, names=names)
        if len(names) > 1
        else pd.Index([k for (k,) in keys], name=names[0])
    )
    return pd.DataFrame(rows, index=index)


def measure_bounds(run: TrainedRun, num_samples: int = 64) -> dict[str, float]:
    """Returns L_64, -KL(q, p), the ESS of 64 and the gradient SNR of both networks, as in Rainforth et al."""
    table = evaluation.decompose(run.model, run.x, num_samples, num_samples)
    weights = evaluation.importance_weights(run.model, run.x, num_samples)
    snr = evaluation.gradient_snr(run.model, run.x[:100], 100).set_index("network").snr
    return {
        f"L_{num_samples}": float(table.bound.mean()),
        "-KL(q, p)": float(table.elbo.mean()) + run.nll,
        "ESS": float(weights.effective_sample_size.mean()),
        "SNR, encoder": float(snr["encoder"]),
        "SNR, decoder": float(snr["decoder"]),
    }
