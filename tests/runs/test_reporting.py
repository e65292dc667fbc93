"""Reports of small runs."""

import dataclasses
import html
import json
import re
import shutil

import keras
import numpy as np
import pandas as pd
import pytest

from iwae_tf import data, plots, runs
from iwae_tf.runs import reporting
from iwae_tf.runs.config import write_config

from ..fixtures import invoke, read_hparams

CONFIG = runs.Config(
    latent_sizes=(2,), hidden_sizes=((16,),), num_samples=3, epochs=1, test_samples=50
)  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A run, and what is left of one with another objective that came off worse."""
    folder = tmp_path_factory.mktemp("runs")
    runs.train(CONFIG, folder / "iwae", verbose=0)
    other = shutil.copytree(folder / "iwae", folder / "elbo")
    write_config(dataclasses.replace(CONFIG, objective="elbo"), other)
    metrics = json.loads((other / "metrics.json").read_text())
    metrics["test"]["log_likelihood"] -= 1.0
    (other / "metrics.json").write_text(json.dumps(metrics))
    scores = pd.read_csv(other / "test_log_likelihood.csv")
    scores.log_likelihood -= np.linspace(0.5, 1.5, len(scores))
    scores.to_csv(other / "test_log_likelihood.csv", index=False)
    return folder


def change(run, to, metrics=(), **options):
    """Copies a run with other metrics of the test data and other options."""
    other = shutil.copytree(run, to)
    write_config(dataclasses.replace(CONFIG, **options), other)
    content = json.loads((other / "metrics.json").read_text())
    content["test"].update(metrics)
    (other / "metrics.json").write_text(json.dumps(content))
    return other


def test_report_has_every_table_and_picture(folders, monkeypatch):
    monkeypatch.setattr(reporting, "SUBSET_SIZE", 5)
    labels, draw = [], plots.aggregated_posterior
    monkeypatch.setattr(plots, "aggregated_posterior", lambda *args: labels.append(args[2]) or draw(*args))
    page = runs.report(folders / "iwae", verbose=0)
    np.testing.assert_array_equal(labels[0], data.load("digits").test_labels)
    folder = page.parent
    tables = {"log_likelihood", "active_units", "kl_of_units", "decomposition", "importance_weights", "bounds",
              "gradient_snr", "ais", "bdmc", "inference_gaps", "active_directions", "without_inactive",
              "out_of_distribution"}  # fmt: skip
    figures = {"histories", "bounds", "weights", "activity", "samples", "reconstructions", "interpolations",
               "aggregated_posterior", "manifold", "posteriors"}  # fmt: skip
    assert {path.stem for path in folder.glob("*.csv")} == tables
    assert {path.stem for path in folder.glob("*.png")} == figures
    assert all(len(pd.read_csv(path)) for path in folder.glob("*.csv"))
    text = page.read_text()
    assert set(re.findall(r'<img alt="(\w+)"', text)) == figures
    assert not re.search(r"(src|href)=.(?!data:|#)", text), "no other file"
    sections = re.findall(r'<section id="(\w+)"><h2>[^<]+</h2><p>[^<]{20,}</p>', text)
    assert sections == re.findall(r'<a href="#(\w+)">', text), "all have an explanation and are in the contents"
    assert tables - {"responsibilities"} <= set(sections)
    with pytest.raises(FileExistsError):
        runs.report(folders / "iwae", verbose=0)


def test_a_run_of_bits_and_its_report(tmp_path, monkeypatch):
    """By the command line; what needs continuous variables is left out."""
    monkeypatch.setattr(reporting, "SUBSET_SIZE", 5)
    options = {"objective": "vimco", "posterior": "bernoulli", "latent-sizes": 2, "hidden-sizes": 16, "epochs": 1}
    arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
    result = invoke("train", *arguments, "-k", 3, "--test-samples", 50, "--diagnose", "-o", tmp_path / "run")
    assert result.exit_code == 0, result.output
    result = invoke("evaluate", tmp_path / "run", "--all")
    assert result.exit_code == 0, result.output
    written = {path.stem for path in (tmp_path / "run" / "evaluation").glob("*.csv")}
    assert {"gradient_snr", "active_units", "kl_of_units"} < written
    assert not written & {"ais", "bdmc", "inference_gaps"}
    objectives = pd.read_csv(tmp_path / "run" / "evaluation" / "gradient_snr.csv").objective
    assert {text.partition("(")[0] for text in objectives} == {"VIMCO", "REINFORCE"}


def test_the_top_of_a_report(folders, tmp_path, monkeypatch):
    """The data, the model, the objective, the time, the versions, and the likelihood as it was evaluated last."""
    monkeypatch.setattr(reporting, "_make_tables", lambda *_: {"bounds": pd.DataFrame({"bound": [-25.43612]})})
    monkeypatch.setattr(reporting, "_make_figures", lambda *_: {})
    run = shutil.copytree(folders / "elbo", tmp_path / "run")
    test = runs.evaluate(run, test_samples=30, verbose=0, refine=5)["test"]
    text = html.unescape(runs.report(run, verbose=0).read_text())
    for fact in (
        f"{test['log_likelihood']:.3f} \u00b1 {test['standard_error']:.3f} nats (30 samples, q refined by 5 steps",
        "digits, 250 test observations of shape (8, 8, 1)",
        "ImportanceWeighted(num_samples=3",
        "1 epoch in 0:00:",
        f"keras {keras.__version__}",
        "p(x|z1)",
        "-25.436",
        "amortized log likelihood",
        test["verdict"],
    ):
        assert fact in text, fact


def test_compare_shows_what_differs(folders, tmp_path):
    table = runs.compare([folders / "iwae", folders / "elbo"], tmp_path / "both")
    assert set(table.objective) == {"iwae", "elbo"} and "seed" not in table
    assert list(table.objective) == ["iwae", "elbo"], "the best first"
    assert table.test_log_likelihood.diff().iloc[1] == pytest.approx(-1.0)
    # Paired: of 250 numbers evenly spread over an interval of length 1.
    assert list(table.difference) == pytest.approx([0.0, -1.0])
    assert list(table.difference_standard_error) == pytest.approx([0.0, (1 / 12 / 250) ** 0.5], rel=0.01)
    assert {path.name for path in (tmp_path / "both").iterdir()} == {
        "comparison.csv", "comparison.html", "histories.png", "losses_1.png", "losses_2.png"
    }, "no losses of different bounds on one axis"  # fmt: skip
    assert "-1.000 \u00b1 0.018" in (tmp_path / "both" / "comparison.html").read_text()
    with pytest.raises(ValueError, match=r"at least two runs. Received: 1"):
        runs.compare([folders / "iwae"], tmp_path / "one")
    with pytest.raises(FileNotFoundError):
        runs.compare([folders / "iwae", folders], tmp_path / "one")
    assert not (tmp_path / "one").exists()


def test_compare_averages_over_seeds(folders, tmp_path):
    """Objectives that differ in their gradients alone share a bound, and an axis."""
    others = [change(folders / "iwae", tmp_path / f"{i}", {"log_likelihood": -30.0 - i}, seed=i) for i in (1, 2)]
    others.append(change(folders / "iwae", tmp_path / "4", {"log_likelihood": -34.0}, seed=4, diagnose=True))
    others.append(change(folders / "iwae", tmp_path / "dreg", {"log_likelihood": -20.0}, objective="dreg"))
    with pytest.warns(UserWarning, match="different seeds"):
        table = runs.compare(others, tmp_path / "all")
    seeds = pd.read_csv(tmp_path / "all" / "seeds.csv")
    pd.testing.assert_frame_equal(runs.average_seeds(table), seeds, check_dtype=False)
    assert list(seeds.objective) == ["dreg", "iwae"] and list(seeds.num_runs) == [1, 3] and "seed" not in seeds
    np.testing.assert_allclose(seeds.test_log_likelihood, [-20, -30 - 7 / 3])
    np.testing.assert_allclose(seeds.test_log_likelihood_spread, [np.nan, np.std([1, 2, 4], ddof=1)])
    assert not list((tmp_path / "all").glob("losses*"))
    result = invoke("compare", *others, "-o", tmp_path / "again")
    assert "Warning: The runs have different seeds" in result.output
    assert f"-32.333 \u00b1 {np.std([1, 2, 4], ddof=1):.3f}" in result.output


@pytest.mark.parametrize(
    ("options", "metrics", "warning"),
    [
        ({"dataset": "mnist"}, {}, "different data sets, digits, mnist"),
        ({"likelihood": "logistic"}, {}, "Some runs model binary images and others grey ones"),
        ({"seed": 1}, {}, "different seeds, so that each has binarised"),
        ({}, {"num_samples": 60}, "different numbers of test samples"),
        ({}, {"refine": 50}, "q refined by different numbers of steps"),
    ],
)
def test_compare_warns_of_what_cannot_be_compared(folders, tmp_path, options, metrics, warning):
    other = change(folders / "elbo", tmp_path / "other", metrics, **options)
    with pytest.warns(UserWarning, match=warning):
        table = runs.compare([f"{folders / 'iwae'}/", other], tmp_path / "both")
    assert warning in (tmp_path / "both" / "comparison.html").read_text()
    assert table.difference.isna().iloc[1] == ("dataset" in options)


def test_hparams_shows_a_run_by_its_name_with_its_results(folders):
    run = folders / "iwae"
    session, scalars = read_hparams(run / "tensorboard")
    assert session.group_name == str(run)
    assert session.hparams["objective"].string_value == "iwae" and session.hparams["num_samples"].number_value == 3
    test = json.loads((run / "metrics.json").read_text())["test"]
    assert scalars["test_log_likelihood"] == pytest.approx(test["log_likelihood"])


def test_evaluation_with_a_refined_q(folders, tmp_path):
    run = shutil.copytree(folders / "iwae", tmp_path / "run")
    result = invoke("evaluate", run, "--test-samples", 30, "--refine", 5)
    assert result.exit_code == 0, result.output
    test = json.loads((run / "metrics.json").read_text())["test"]
    assert test["refine"] == 5 and test["log_likelihood"] > test["amortized"]["log_likelihood"]
    assert f"q(z|x) before refinement: {test['amortized']['log_likelihood']:.3f}" in result.output
    assert "amortized_pareto_k" in pd.read_csv(run / "test_log_likelihood.csv")
