"""The report of a run: every table and picture on its test data."""

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from iwae_tf import data, evaluation, objectives, plots
from iwae_tf.files import check_absent, read_json, write_whole
from iwae_tf.hierarchy import summary
from iwae_tf.model import IWAE
from iwae_tf.plots.images import is_image
from iwae_tf.runs import pages
from iwae_tf.runs.cards import describe_run
from iwae_tf.runs.config import Config
from iwae_tf.runs.evaluation import load_model
from iwae_tf.runs.loading import load
from iwae_tf.runs.topics import TOPICS

#: Test observations for the evaluations that anneal or optimise, which are slow.
SUBSET_SIZE = 50
#: Samples of the layers below over which the means of the upper layers are averaged.
NUM_CHAINS = 20


def report(
    run: str | os.PathLike, data_dir: str | os.PathLike | None = None, overwrite: bool = False, verbose: int = 1
) -> Path:
    """Writes every table and picture of `evaluation` and `plots` on the test data of a run, and a page with all.

    The folder `evaluation` of the run gets a CSV file for each table, a PNG file for each picture, and `report.html`,
    which needs no other file. The log-likelihoods are those of the run, with the number of samples and the refinement
    of the last `evaluate`.

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
    run = Path(run)
    config, output = Config.read(run), run / "evaluation"
    check_absent(output, overwrite)
    model, metrics = load_model(run), read_json(run / "metrics.json")
    splits = load(config, data_dir).splits
    tables = {
        "log_likelihood": pd.read_csv(run / "test_log_likelihood.csv", index_col="observation"),
        **_make_tables(model, splits, config, metrics["test"]["num_samples"], verbose),
    }
    figures = _make_figures(model, splits, run, tables, config.seed)
    with write_whole(output, overwrite) as folder:
        folder.mkdir()
        for name, table in tables.items():
            table.to_csv(folder / f"{name}.csv", index=False)
        for name, figure in figures.items():
            figure.savefig(folder / f"{name}.png")
        facts = pages.facts_html(describe_run(run, model, config, metrics))
        content = facts + pages.preformatted(summary.to_text(model))
        first = pages.Section("summary", metrics["test"]["verdict"], content)
        options = pages.preformatted(json.dumps(dataclasses.asdict(config), indent=2))
        last = pages.Section("configuration", "Every option of the run, enough to repeat it.", options)
        sections = [first, *_make_sections(tables, folder), last]
        (folder / "report.html").write_text(pages.page(run.resolve().name, sections))
    return output / "report.html"


def _make_sections(tables: dict[str, pd.DataFrame], folder: Path) -> Iterator[pages.Section]:
    """Yields the sections of the topics that the run has a table or, in the folder, a picture for."""
    for topic in TOPICS:
        picture = folder / f"{topic.figure or topic.name}.png"
        content = [pages.image_html(picture)] if picture.exists() else []
        if topic.name in tables:
            content.append(pages.summary_html(tables[topic.name]))
        if content:
            yield pages.Section(topic.name, topic.explanation, "".join(content))


def _make_tables(
    model: IWAE, splits: data.Splits, config: Config, test_samples: int, verbose: int
) -> dict[str, pd.DataFrame]:
    test, seed = splits.test, config.seed
    num_batches = -(-SUBSET_SIZE // config.batch_size)
    subset = np.concatenate([np.asarray(x) for x in test.take(num_batches)])[:SUBSET_SIZE]
    units = evaluation.active_units(model, test, num_samples=NUM_CHAINS, seed=seed)
    tables = {
        "active_units": units,
        "active_directions": evaluation.active_units(model, test, num_samples=NUM_CHAINS, rotated=True, seed=seed),
        "kl_of_units": evaluation.kl_of_units(model, test, seed=seed),
        "decomposition": evaluation.decompose(model, subset, likelihood_samples=test_samples, seed=seed),
        "importance_weights": evaluation.importance_weights(model, test, max(config.num_samples, 2), seed),
        "bounds": evaluation.bounds(model, subset, seed=seed),
        "gradient_snr": evaluation.gradient_snr(model, subset, objectives=_list_estimators(model), seed=seed),
    }
    if not model.is_discrete:
        tables["ais"] = evaluation.ais(model, subset, seed=seed, verbose=verbose)
        tables["bdmc"] = evaluation.bdmc(model, SUBSET_SIZE, seed=seed)
    if is_image(model.event_shape):  # images can be flipped upside down
        tables["out_of_distribution"] = evaluation.out_of_distribution(model, subset, subset[:, ::-1], seed=seed)
    if hasattr(model.prior, "responsibilities"):
        tables["responsibilities"] = evaluation.responsibilities(model, test, seed=seed)
    if len(tables["kl_of_units"]) == len(units):  # All layers have independent units.
        tables["without_inactive"] = evaluation.without_inactive(model, subset, units, test_samples, seed)
    if len(model.encoder) == 1 and not model.is_discrete:
        tables["inference_gaps"] = evaluation.inference_gaps(model, subset, likelihood_samples=test_samples, seed=seed)
    return tables


def _list_estimators(model: IWAE) -> list[objectives.Objective]:
    """Returns the objective of the run and the usual baselines, all with its number of samples."""
    k = max(model.objective.num_particles, 2)
    usual = (
        (objectives.REINFORCE, objectives.VIMCO)
        if model.is_discrete
        else (objectives.ELBO, objectives.ImportanceWeighted)
    )
    estimators = model.objective, *(make(k) for make in usual)
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
    if model.latent_shapes == [(2,)] and not model.is_discrete:
        if is_image(model.event_shape):
            figures["manifold"] = plots.manifold(model)
        figures["posteriors"] = plots.posteriors({run.name: model}, first[:3], seed=seed)
    return figures
