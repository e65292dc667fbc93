"""Reproductions: trains the runs, and writes table, figure and page."""

import concurrent.futures
import contextlib
import dataclasses
import functools
import multiprocessing
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras.src.utils import io_utils

from iwae_tf import runs
from iwae_tf.checks import check_choice
from iwae_tf.files import write_whole
from iwae_tf.notices import load_tensorflow
from iwae_tf.reproductions import catalog, pages
from iwae_tf.reproductions.budgets import BUDGETS, Budget
from iwae_tf.reproductions.results import Result, TrainedRun
from iwae_tf.reproductions.workspace import Workspace
from iwae_tf.runs.config import INCIDENTAL, Config

#: Trainings after which a process is replaced.
RUNS_PER_PROCESS = 8


def reproduce(
    name: str,
    budget: str | Budget = "quick",
    output: str | os.PathLike = "runs/reproductions",
    data_dir: str | os.PathLike | None = None,
    verbose: int = 1,
    isolate: bool = False,
) -> Result:
    """Reproduces tables and figures of a paper.

    It trains the runs that are not in `output` yet, one run folder each; after an interrupt the same call resumes. Then
    it writes the folder `output/NAME-BUDGET`: `table.csv`, `table.md`, `figure.png`, `claims.csv`, and `page.md` with
    the published values beside ours, the claims of the paper with the differences that decide them, and what of the
    published protocol was changed.

    Args:
      name: one of `reproductions.NAMES`.
      budget: `"quick"`, minutes with the digits of scikit-learn; `"hour"`, about an hour of two cores with MNIST;
        `"paper"`, the published protocol; or a `Budget`.
      output: the folder; reproductions in the same folder share runs.
      data_dir: folder of prepared TFDS data; `None` is TFDS's own.
      verbose: 1 prints a line for each run.
      isolate: whether to train in other processes, since what XLA compiles stays in memory as long as a process lives.
        As with `multiprocessing`, a script then needs `if __name__ == "__main__":`.

    Returns:
      A `Result`: `table`, `figure` and `claims`.

    Raises:
      FileNotFoundError: if the data set is not available.
      KeyboardInterrupt: after an interrupt; the runs so far are kept.
      ValueError: if there is no reproduction or budget of this name.

    Example:
      ```python
      small = reproductions.Budget("small", ("digits",), {"epochs": 1}, width=0.1, num_observations=20, num_samples=20)
      result = reproductions.reproduce("jackknife", small, "reproductions", verbose=0)
      result.table.columns[0]  # "ELBO"
      ```
    """
    entry = catalog.find(name)
    if not isinstance(budget, Budget):
        budget = BUDGETS[check_choice(budget, "budget", BUDGETS)]
    workspace = Workspace(Path(output), None if data_dir is None else str(data_dir))
    module = entry.load()
    configs: dict[Any, Config] = module.configure(budget, workspace)
    trained: dict[Any, TrainedRun] = {}
    with _open_pool() if isolate else contextlib.nullcontext() as pool:
        for i, (key, config) in enumerate(configs.items(), 1):
            if verbose:
                io_utils.print_msg(f"{i} of {len(configs)}: {pages.describe_key(key)}, {workspace.find_run(config)}")
            trained[key] = train(config, budget, workspace, pool)
    result: Result = module.evaluate(trained)
    folder = workspace.folder / f"{name}-{budget.name}"
    published = {} if budget.name == "paper" else module.configure(BUDGETS["paper"], workspace)
    changes = find_changes(configs, published)
    with write_whole(folder, overwrite=True) as part:
        part.mkdir()
        pages.write(part, entry, trained, result, changes)
    return result


def _open_pool() -> concurrent.futures.ProcessPoolExecutor:
    """Makes one process for a few trainings, then the next."""
    context = multiprocessing.get_context("spawn")
    return concurrent.futures.ProcessPoolExecutor(1, context, load_tensorflow, max_tasks_per_child=RUNS_PER_PROCESS)


def train(
    config: Config, budget: Budget, workspace: Workspace, pool: concurrent.futures.Executor | None = None
) -> TrainedRun:
    """Trains a run, or resumes it, unless it is complete; in a process of the pool if there is one."""
    path = workspace.find_run(config)
    if not path.exists():
        if config.data:
            workspace.write_data(config.data)
        located = config if config.data else dataclasses.replace(config, data_dir=workspace.data_dir)
        work = functools.partial(runs.train, located, path, verbose=0, resume=True, evaluate=False)
        if pool:
            pool.submit(work).result()
        else:
            work()
    return TrainedRun(path, config, budget, workspace.data_dir)


def find_changes(
    configs: Mapping[Any, Config], published: Mapping[Any, Config]
) -> dict[str, tuple[list[str], list[str]]]:
    """Returns the options whose values differ from those of the published protocol.

    Returns:
      For each option its values in the published protocol and in ours, over all runs, as texts.
    """
    sides = [[_describe(config) for config in side.values()] for side in (published, configs)]
    if not all(sides):
        return {}
    values = {name: [sorted({options[name] for options in side}) for side in sides] for name in sides[0][0]}
    return {name: (first, second) for name, (first, second) in values.items() if first != second}


def _describe(config: Config) -> dict[str, str]:
    """Returns the options of a run that a protocol has, by name, as texts."""
    options = dataclasses.asdict(config) | {"epochs": runs.schedules(config)[0]}
    ignored = (*INCIDENTAL, "stages", "start_from", "data")
    return {name: str(value) for name, value in options.items() if name not in ignored}
