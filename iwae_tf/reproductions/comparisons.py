"""What comparisons of objectives and of layers share: a table of bounds, and differences from the first run."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from iwae_tf.plots.panels import open_panels
from iwae_tf.reproductions.results import Pairs, Result, Runs, TrainedRun, compare_likelihoods, measure_bounds, tabulate


def compare_with_first(
    trained: Runs,
    name: str,
    claims: Pairs | None = None,
    **columns: Callable[[TrainedRun], Any],
) -> Result:
    """Compares runs image by image with the first.

    Args:
      trained: the runs; the keys are names.
      name: what the names mean: the index of the table.
      claims: statements that the first run of a pair has a higher likelihood than the second.
      **columns: further columns of the table, as for `tabulate`.

    Returns:
      The table with the bounds of `measure_bounds`, a figure of the differences of the NLL, and the claims.
    """
    first = next(iter(trained.values()))
    gains = {key: run.gain_over(first) for key, run in trained.items()}
    table = tabulate(trained, [name], None, active_units=lambda run: run.active, **columns)
    table.insert(2, "NLL - that of the first", [-gain for gain, _ in gains.values()])
    table.insert(3, "its error", [error for _, error in gains.values()])
    table = table.join(pd.DataFrame([measure_bounds(run) for run in trained.values()], index=table.index))
    with open_panels(None, size=(5, 1 + 0.25 * len(trained))) as (figure, (ax,)):
        ordered = table.iloc[::-1]
        ax.errorbar(
            ordered.iloc[:, 2],
            [str(label) for label in ordered.index],
            xerr=2 * ordered["its error"],
            fmt="o",
            capsize=2,
        )
        ax.axvline(0, color="grey", linewidth=0.8)
        ax.set(xlabel=f"NLL - that of {next(iter(trained))} \u00b1 2 standard errors (nats)")
    return Result(table, figure, compare_likelihoods(trained, claims or {}))
