"""The report of a run: every table and picture on its test data."""

import dataclasses
import html
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from iwae_tf import data, evaluation, objectives, plots
from iwae_tf.files import write_whole
from iwae_tf.model import IWAE
from iwae_tf.plots.images import is_image
from iwae_tf.runs import pages
from iwae_tf.runs.config import Config
from iwae_tf.runs.evaluation import load_model
from iwae_tf.runs.loading import load

#: Test observations for the evaluations that anneal or optimise, which are slow.
SUBSET_SIZE = 50
#: Samples of the layers below over which the means of the upper layers are averaged.
NUM_CHAINS = 20


def report(
    run: str | os.PathLike, data_dir: str | os.PathLike | None = None, overwrite: bool = False, verbose: int = 1
) -> Path:
    """Writes every table and picture of `evaluation` and `plots` on the test data of a run, and a page with all.

    The folder `evaluation` of the run gets a CSV file for each table, a PNG file for each picture, and `report.html`,
    which needs no other file.

    Args:
      run: a run folder.
      data_dir: folder of prepared TFDS data; `None` uses the run's.
      overwrite: whether to replace an existing report.
      verbose: 1 shows progress bars.

    Returns:
      The path of the page.

    Raises:
      FileNotFoundError: if `run` is not a run folder, or its data set is not available.
      FileExistsError: if there is a report and `overwrite` is false.

    Example:
      ```python
      page = runs.report("runs/digits", verbose=0)
      pd.read_csv(page.parent / "active_units.csv")
      ```
    """
    config, model = Config.read(run), load_model(run)
    splits = load(config, data_dir).splits
    with write_whole(Path(run) / "evaluation", overwrite) as folder:
        folder.mkdir()
        tables = _make_tables(model, splits, config, verbose)
        figures = _make_figures(model, splits, Path(run), tables, config.seed)
        summary = evaluation.summarize(tables["log_likelihood"])
        for name, table in tables.items():
            table.to_csv(folder / f"{name}.csv", index=False)
        for name, figure in figures.items():
            figure.savefig(folder / f"{name}.png")
        numbers = pd.Series({name: value for name, value in summary.items() if name != "verdict"}, name="test data")
        options = html.escape(json.dumps(dataclasses.asdict(config), indent=2))
        page = pages.page(
            Path(run).name,
            f"<p>{html.escape(summary['verdict'])}</p>",
            pages.table_html(numbers.to_frame()),
            *(pages.section(name, pages.figure_html(figure)) for name, figure in figures.items()),
            *(pages.section(name, pages.summary_html(table)) for name, table in tables.items()),
            pages.section("configuration", f"<pre>{options}</pre>"),
        )
        (folder / "report.html").write_text(page)
    return Path(run) / "evaluation" / "report.html"


def _make_tables(model: IWAE, splits: data.Splits, config: Config, verbose: int) -> dict[str, pd.DataFrame]:
    test, seed = splits.test, config.seed
    num_batches = -(-SUBSET_SIZE // config.batch_size)
    subset = np.concatenate([np.asarray(x) for x in test.take(num_batches)])[:SUBSET_SIZE]
    units = evaluation.active_units(model, test, num_samples=NUM_CHAINS, seed=seed)
    tables = {
        "log_likelihood": evaluation.log_likelihood(model, test, config.test_samples, seed, verbose),
        "active_units": units,
        "active_directions": evaluation.active_units(model, test, num_samples=NUM_CHAINS, rotated=True, seed=seed),
        "kl_of_units": evaluation.kl_of_units(model, test, seed=seed),
        "decomposition": evaluation.decompose(model, subset, likelihood_samples=config.test_samples, seed=seed),
        "importance_weights": evaluation.importance_weights(model, test, max(config.num_samples, 2), seed),
        "bounds": evaluation.bounds(model, subset, seed=seed),
        "gradient_snr": evaluation.gradient_snr(model, subset, objectives=_estimators(model.objective), seed=seed),
        "ais": evaluation.ais(model, subset, seed=seed, verbose=verbose),
        "bdmc": evaluation.bdmc(model, SUBSET_SIZE, seed=seed),
    }
    if is_image(model.event_shape):  # images can be flipped upside down
        tables["out_of_distribution"] = evaluation.out_of_distribution(model, subset, subset[:, ::-1], seed=seed)
    if hasattr(model.prior, "responsibilities"):
        tables["responsibilities"] = evaluation.responsibilities(model, test, seed=seed)
    if len(tables["kl_of_units"]) == len(units):  # All layers have independent units.
        tables["without_inactive"] = evaluation.without_inactive(model, subset, units, config.test_samples, seed)
    if len(model.encoder) == 1:
        tables["inference_gaps"] = evaluation.inference_gaps(
            model, subset, likelihood_samples=config.test_samples, seed=seed
        )
    return tables


def _estimators(objective: objectives.Objective) -> list[objectives.Objective]:
    """Returns the objective of the run and the usual baselines, all with its number of samples."""
    k = max(objective.num_particles, 2)
    estimators = objective, objectives.ELBO(k), objectives.ImportanceWeighted(k)
    return list({repr(estimator): estimator for estimator in estimators}.values())


def _make_figures(
    model: IWAE, splits: data.Splits, run: Path, tables: dict[str, pd.DataFrame], seed: int
) -> dict[str, Figure]:
    first, second = (next(iter(splits.test.unbatch().skip(10 * i).batch(10))) for i in range(2))
    figures = {
        "histories": plots.histories({run.name: run}),
        "bounds": plots.bounds(tables["bounds"]),
        "weights": plots.weights(tables["importance_weights"]),
        "activity": plots.activity(tables["active_units"]),
    }
    if is_image(model.event_shape):
        figures["samples"] = plots.samples(model, seed=seed)
        figures["reconstructions"] = plots.reconstructions(model, first, seed)
        figures["interpolations"] = plots.interpolations(model, first, second, seed=seed)
    if int(np.prod(model.latent_shapes[0])) >= 2:
        units = sorted(tables["active_units"].query("layer == 1").activity.nlargest(2).index)
        figures["aggregated_posterior"] = plots.aggregated_posterior(
            model, splits.test, splits.test_labels, units, seed
        )
    if model.latent_shapes == [(2,)]:
        if is_image(model.event_shape):
            figures["manifold"] = plots.manifold(model)
        figures["posteriors"] = plots.posteriors({run.name: model}, first[:3], seed=seed)
    return figures
