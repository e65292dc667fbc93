"""Reports of small runs."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from iwae_tf import data, plots, runs
from iwae_tf.runs import reporting
from iwae_tf.runs.config import write_config

from ..fixtures import invoke

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
    assert text.count("<img src=") == len(figures)
    assert not re.search(r"(src|href)=.(?!data:)", text), "no other file"
    assert "Pareto k" in text
    with pytest.raises(FileExistsError):
        runs.report(folders / "iwae", verbose=0)


def test_compare_shows_what_differs(folders, tmp_path):
    table = runs.compare([folders / "iwae", folders / "elbo"], tmp_path / "both")
    assert set(table.objective) == {"iwae", "elbo"} and "seed" not in table
    assert list(table.objective) == ["iwae", "elbo"], "the best first"
    assert table.test_log_likelihood.diff().iloc[1] == pytest.approx(-1.0)
    # Paired: of 250 numbers evenly spread over an interval of length 1.
    assert list(table.difference) == pytest.approx([0.0, -1.0])
    assert list(table.difference_standard_error) == pytest.approx([0.0, (1 / 12 / 250) ** 0.5], rel=0.01)
    assert {path.name for path in (tmp_path / "both").iterdir()} == {
        "comparison.csv", "comparison.html", "histories.png"
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"at least two runs. Received: 1"):
        runs.compare([folders / "iwae"], tmp_path / "one")
    with pytest.raises(FileNotFoundError):
        runs.compare([folders / "iwae", folders], tmp_path / "one")
    assert not (tmp_path / "one").exists()


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        ({"dataset": "mnist"}, "different data sets, digits, mnist"),
        ({"likelihood": "logistic"}, "Some runs model binary images and others grey ones"),
        ({"seed": 1}, "different seeds, so that each has binarised"),
        ({"test_samples": 60}, "different numbers of test samples"),
    ],
)
def test_compare_warns_of_what_cannot_be_compared(folders, tmp_path, options, warning):
    other = shutil.copytree(folders / "elbo", tmp_path / "other")
    write_config(dataclasses.replace(CONFIG, **options), other)
    metrics = json.loads((other / "metrics.json").read_text())
    metrics["test"]["num_samples"] = options.get("test_samples", CONFIG.test_samples)
    (other / "metrics.json").write_text(json.dumps(metrics))
    with pytest.warns(UserWarning, match=warning):
        table = runs.compare([f"{folders / 'iwae'}/", other], tmp_path / "both")
    assert warning in (tmp_path / "both" / "comparison.html").read_text()
    assert table.difference.isna().iloc[1] == ("dataset" in options)
    result = invoke("compare", folders / "iwae", other, "-o", tmp_path / "again")
    assert result.exit_code == 0 and "Warning: " in result.output and warning in result.output


def test_evaluation_with_a_refined_q(folders, tmp_path):
    run = shutil.copytree(folders / "iwae", tmp_path / "run")
    result = invoke("evaluate", run, "--test-samples", 30, "--refine", 5)
    assert result.exit_code == 0, result.output
    test = json.loads((run / "metrics.json").read_text())["test"]
    assert test["refine"] == 5 and test["log_likelihood"] > test["amortized"]["log_likelihood"]
    assert f"q(z|x) before refinement: {test['amortized']['log_likelihood']:.3f}" in result.output
    assert "amortized_pareto_k" in pd.read_csv(run / "test_log_likelihood.csv")
