"""Reports: all that can be said of a run, and of several beside each other."""

import base64
import dataclasses
import html
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd

from iwae_tf import data, evaluation, objectives, plots
from iwae_tf.files import read_json, write_whole
from iwae_tf.runs.config import Config
from iwae_tf.runs.evaluation import load_model

#: Observations that are annealed and whose q is optimised, which takes long.
FEW = 50
#: Chains that the means of the upper layers are averaged over.
CHAINS = 20

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; }}
table {{ border-collapse: collapse; margin: 1em 0; }} td, th {{ border: 1px solid #ccc; padding: .2em .6em; }}
td {{ text-align: right; }} img {{ max-width: 100%; }}
</style></head><body><h1>{title}</h1>
{body}
</body></html>
"""


def report(run, data_dir=None, overwrite=False, verbose=1):
    """Writes every table and picture of `evaluation` and `plots` on the test data of a run, and one page with all.

    The folder `evaluation` of the run gets a CSV file for each table, a PNG file for each picture, and `report.html`,
    which needs no other file.

    Args:
      run: a run folder.
      data_dir: folder of prepared TFDS data; `None` takes the run's own.
      overwrite: whether an existing report is replaced.
      verbose: 1 shows progress bars.

    Returns:
      The path of the page.

    Raises:
      FileNotFoundError: if `run` is no run folder, or its data set is not at hand.
      FileExistsError: if there is a report and `overwrite` is false.
    """
    config, model = Config.read(run), load_model(run)
    splits = data.load(config.dataset, config.batch_size, data_dir or config.data_dir, config.seed)
    with write_whole(Path(run) / "evaluation", overwrite) as folder:
        folder.mkdir()
        tables = _tables(model, splits, config, verbose)
        figures = _figures(model, splits, run, tables, config.seed)
        summary = evaluation.summarize(tables["log_likelihood"])
        for name, table in tables.items():
            table.to_csv(folder / f"{name}.csv", index=False)
        for name, figure in figures.items():
            figure.savefig(folder / f"{name}.png")
        numbers = pd.Series({name: value for name, value in summary.items() if name != "verdict"}, name="test data")
        parts = [f"<p>{html.escape(summary['verdict'])}</p>", _as_html(numbers.to_frame())]
        parts += [f"<h2>{_title(name)}</h2>{_as_image(figure)}" for name, figure in figures.items()]
        parts += [f"<h2>{_title(name)}</h2>{_shown(table)}" for name, table in tables.items()]
        parts.append(
            f"<h2>Configuration</h2><pre>{html.escape(json.dumps(dataclasses.asdict(config), indent=2))}</pre>"
        )
        (folder / "report.html").write_text(PAGE.format(title=html.escape(Path(run).name), body="\n".join(parts)))
    return Path(run) / "evaluation" / "report.html"


def compare(runs, output, overwrite=False):
    """Compares runs by what they differ in and how they did, and draws their histories.

    Args:
      runs: run folders, two or more.
      output: folder to write: `comparison.csv`, `histories.png` and `comparison.html`.
      overwrite: whether an existing folder is replaced.

    Returns:
      A `DataFrame` with a row per run.

    Raises:
      FileNotFoundError: if one is no run folder.
      FileExistsError: if `output` exists and `overwrite` is false.
      ValueError: if there are fewer than two runs.
    """
    if len(runs) < 2:
        raise ValueError(f"Expected two runs or more. Received: {len(runs)}")
    rows = {}
    for run in map(Path, runs):
        options = {name: str(value) for name, value in dataclasses.asdict(Config.read(run)).items()}
        metrics = read_json(run / "metrics.json")
        test = {f"test_{name}": value for name, value in metrics["test"].items() if not isinstance(value, str)}
        rows[str(run)] = {**options, **metrics["training"], **test, **metrics["active_units"]}
    table = pd.DataFrame.from_dict(rows, orient="index")
    same = [name for name in dataclasses.asdict(Config()) if table[name].nunique() == 1]
    table = table.drop(columns=same).sort_values("test_log_likelihood", ascending=False)
    figure = plots.histories({run: run for run in rows})
    with write_whole(output, overwrite) as folder:
        folder.mkdir()
        table.to_csv(folder / "comparison.csv", index_label="run")
        figure.savefig(folder / "histories.png")
        body = _as_html(table) + _as_image(figure)
        (folder / "comparison.html").write_text(PAGE.format(title="Comparison of runs", body=body))
    return table


def _tables(model, splits, config, verbose):
    test, seed = splits.test, config.seed
    few = np.concatenate([np.asarray(x) for x in test.take(-(-FEW // config.batch_size))])[:FEW]
    units = evaluation.active_units(model, test, num_samples=CHAINS, seed=seed)
    tables = {
        "log_likelihood": evaluation.log_likelihood(model, test, config.test_samples, seed, verbose),
        "active_units": units,
        "active_directions": evaluation.active_units(model, test, num_samples=CHAINS, rotated=True, seed=seed),
        "kl_of_units": evaluation.kl_of_units(model, test, seed=seed),
        "decomposition": evaluation.decompose(model, few, likelihood_samples=config.test_samples, seed=seed),
        "importance_weights": evaluation.importance_weights(model, test, max(config.num_samples, 2), seed),
        "bounds": evaluation.bounds(model, few, seed=seed),
        "gradient_snr": evaluation.gradient_snr(model, few, objectives=_estimators(model.objective), seed=seed),
        "ais": evaluation.ais(model, few, seed=seed, verbose=verbose),
        "bdmc": evaluation.bdmc(model, FEW, seed=seed),
    }
    if few.ndim > 2:  # images, which have an upside
        tables["out_of_distribution"] = evaluation.out_of_distribution(model, few, few[:, ::-1], seed=seed)
    if hasattr(model.prior, "responsibilities"):
        tables["responsibilities"] = evaluation.responsibilities(model, test, seed=seed)
    if len(tables["kl_of_units"]) == len(units):  # all layers are of independent units
        tables["without_inactive"] = evaluation.without_inactive(model, few, units, config.test_samples, seed)
    if len(model.encoder) == 1:
        tables["inference_gaps"] = evaluation.inference_gaps(
            model, few, likelihood_samples=config.test_samples, seed=seed
        )
    return tables


def _estimators(objective):
    """Returns the objective of the run, and those that everybody compares with, for as many samples."""
    k = max(objective.num_particles, 2)
    estimators = objective, objectives.ELBO(k), objectives.ImportanceWeighted(k)
    return list({repr(estimator): estimator for estimator in estimators}.values())


def _figures(model, splits, run, tables, seed):
    first, second = (next(iter(splits.test.unbatch().skip(10 * i).batch(10))) for i in range(2))
    figures = {
        "histories": plots.histories({Path(run).name: run}),
        "bounds": plots.bounds(tables["bounds"]),
        "weights": plots.weights(tables["importance_weights"]),
        "activity": plots.activity(tables["active_units"]),
        "samples": plots.samples(model, seed=seed),
        "reconstructions": plots.reconstructions(model, first, seed),
        "interpolations": plots.interpolations(model, first, second, seed=seed),
    }
    if int(np.prod(model.latent_shapes[0])) >= 2:
        most = tables["active_units"].query("layer == 1").activity.nlargest(2).index
        figures["aggregated_posterior"] = plots.aggregated_posterior(model, splits.test, units=tuple(most), seed=seed)
    if model.latent_shapes == [(2,)]:
        figures["manifold"] = plots.manifold(model)
        figures["posteriors"] = plots.posteriors({Path(run).name: model}, first[:3], seed=seed)
    return figures


def _title(name):
    return name.replace("_", " ").capitalize()


def _as_html(table):
    return table.to_html(float_format=lambda value: f"{value:.4g}")


def _shown(table):
    """Returns a table as HTML, or what it looks like where it is long."""
    return _as_html(table) if len(table) <= 30 else _as_html(table.describe())


def _as_image(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return f'<img src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
