"""Piano rolls, filtered states and effective sample sizes of models of sequences."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from iwae_tf.plots.panels import PAGE, Panels, open_panels


def piano_rolls(
    rolls: Mapping[str, npt.ArrayLike],
    first_note: int = 21,
    start: Mapping[str, int] | None = None,
    *,
    ax: Panels | None = None,
) -> Figure:
    """Draws sequences of notes, one below the other.

    Args:
      rolls: arrays `[time, notes]` by title: 0 and 1, or probabilities. Steps of NaN are left out.
      first_note: MIDI number of the first note; 21 is the lowest of a piano.
      start: by title the step at which a forecast begins, drawn as a line; `None` draws none.
      ax: axes to draw on, one for each roll. `None` makes a figure.

    Returns:
      The `matplotlib.figure.Figure`.

    Raises:
      ValueError: if there is no roll, one is not `[time, notes]`, or `start` has a title that no roll has.

    Example:
      ```python
      rng = np.random.default_rng(0)
      plots.piano_rolls({"random": rng.random([40, 88]) < 0.05}).savefig("rolls.png")
      ```
    """
    if not rolls:
        raise ValueError("Expected at least one roll. Received: none")
    if unknown := set(start or {}) - set(rolls):
        raise ValueError(f"Expected start to have titles of rolls. Received: {sorted(unknown)}")
    arrays = {title: np.asarray(roll, np.float32) for title, roll in rolls.items()}
    for title, roll in arrays.items():
        if roll.ndim != 2:
            raise ValueError(f"Expected rolls [time, notes]. Received: shape {roll.shape} of {title!r}")
    # All panels show the notes that any of them plays.
    played = np.nonzero(np.nanmax(np.concatenate(list(arrays.values())), axis=0) > 0.5)[0]
    low, high = (played.min(), played.max() + 1) if len(played) else (0, next(iter(arrays.values())).shape[1])
    with open_panels(ax, len(arrays), 1, (PAGE, 1.2 * len(arrays) + 0.3)) as (figure, panels):
        for axes, (title, roll) in zip(panels, arrays.items(), strict=True):
            extent = (0.5, len(roll) + 0.5, first_note + low - 0.5, first_note + high - 0.5)
            axes.imshow(
                roll[:, low:high].T, cmap="gray_r", vmin=0, vmax=1, origin="lower", aspect="auto", extent=extent,
                interpolation="nearest",
            )  # fmt: skip
            if start and title in start:
                axes.axvline(start[title] - 0.5, color="C3", linewidth=0.8)
            axes.set(title=title, ylabel="note (MIDI)")
        panels[-1].set_xlabel("step")
    return figure


def filtered_states(
    mean: npt.ArrayLike,
    stddev: npt.ArrayLike,
    truth: npt.ArrayLike | None = None,
    *,
    ax: Panels | None = None,
) -> Figure:
    """Draws the mean of every latent unit over time, with a band of two standard deviations.

    Args:
      mean: means given the steps so far, `[time, units]`, such as a row of `StateSpaceModel.filter(x).mean`.
      stddev: standard deviations, `[time, units]`.
      truth: states to compare with, `[time, units]`, drawn dashed. `None` draws none.
      ax: axes to draw on, one for each unit. `None` makes a figure.

    Returns:
      The `matplotlib.figure.Figure`.

    Raises:
      ValueError: if the shapes differ or are not `[time, units]`.

    Example:
      ```python
      chain = iwae_tf.sequences.linear_gaussian([[0.9]], [[1.0]])
      filtered = chain.filter(np.zeros([1, 10, 1]), num_samples=16)
      plots.filtered_states(filtered.mean[0], filtered.stddev[0]).savefig("states.png")
      ```
    """
    means, stddevs = np.asarray(mean), np.asarray(stddev)
    truths = None if truth is None else np.asarray(truth)
    shapes = {array.shape for array in (means, stddevs, truths) if array is not None}
    if means.ndim != 2 or len(shapes) > 1:
        raise ValueError(f"Expected arrays [time, units] of one shape. Received: {sorted(map(str, shapes))}")
    steps = np.arange(1, len(means) + 1)
    with open_panels(ax, means.shape[1], 1, (PAGE, 1.3 * means.shape[1] + 0.4)) as (figure, panels):
        for unit, axes in enumerate(panels):
            m, s = means[:, unit], stddevs[:, unit]
            axes.fill_between(steps, m - 2 * s, m + 2 * s, alpha=0.3, label=r"mean $\pm 2$ standard deviations")
            axes.plot(steps, m, color="C0")
            if truths is not None:
                axes.plot(steps, truths[:, unit], "--", color="black", linewidth=0.8, label="truth")
            axes.set(ylabel=f"unit {unit} of $z_t$")
        panels[0].legend()
        panels[-1].set_xlabel("step")
    return figure


def effective_sample_size_over_time(
    table: pd.DataFrame | Mapping[str, pd.DataFrame], *, ax: Panels | None = None
) -> Figure:
    """Draws the effective sample size of a particle filter, and how often it resamples, step by step.

    Args:
      table: the table of `evaluation.effective_sample_size_over_time`, or a dict of tables by the names of the models.
      ax: two axes to draw on. `None` makes a figure.

    Returns:
      The `matplotlib.figure.Figure`.

    Raises:
      ValueError: if there is no table, or `ax` is not two axes.

    Example:
      ```python
      chain = iwae_tf.sequences.linear_gaussian([[0.9]], [[1.0]])
      table = evaluation.effective_sample_size_over_time(chain, np.zeros([5, 10, 1]), num_samples=16)
      plots.effective_sample_size_over_time(table).savefig("ess.png")
      ```
    """
    tables = {"": table} if isinstance(table, pd.DataFrame) else dict(table)
    if not tables:
        raise ValueError("Expected at least one table. Received: none")
    labels = {"effective_sample_size": "effective sample size", "resampled": "share of sequences resampled"}
    with open_panels(ax, 2) as (figure, panels):
        for axes, (column, label) in zip(panels, labels.items(), strict=True):
            for name, part in tables.items():
                axes.plot(part.index, part[column], label=name)
            axes.set(xlabel="step", ylabel=label, ylim=(0, None))
        if "" not in tables:
            panels[0].legend()
    return figure
