"""Anomalies of files: scores, thresholds from normal data, and curves where there are labels."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from iwae_tf import scoring
from iwae_tf.scoring.anomalies import compute_scores, detect
from tests.fixtures import check_refused, invoke

from .conftest import write


@pytest.fixture(scope="module")
def files(x, tmp_path_factory):
    """Normal digits, and a table of digits of which the last five are negatives."""
    folder = tmp_path_factory.mktemp("files")
    write(x, folder / "normal.parquet")
    mixed = np.concatenate([x[:15], 255 - x[15:]])
    frame = pd.DataFrame(mixed.reshape(20, -1)).rename(columns="pixel_{}".format)
    frame.assign(odd=np.arange(20) >= 15, name=[f"image {i}" for i in range(20)]).to_csv(folder / "mixed.csv")
    return folder


def test_scores_by_hand():
    scores = compute_scores([-90.0, -120.0], mean=-95.0, background=[-100.0, -100.0])
    assert {name: values.tolist() for name, values in scores.items()} == {
        "log_likelihood": [90.0, 120.0], "typicality": [5.0, 25.0], "likelihood_ratio": [-10.0, 20.0],
    }  # fmt: skip


def test_labelled_rows(saved_model, files, tmp_path):
    """Thresholds are quantiles of the normal rows' scores; the curves and rates are those of the labels."""
    result = invoke(
        "anomalies", saved_model, files / "mixed.csv", "--reference", files / "normal.parquet", "--labels", "odd",
        "--background", saved_model, "--false-alarms", 0.1, "--id-column", "name", "-o", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "out" / "anomalies.csv")
    thresholds = pd.read_csv(tmp_path / "out" / "thresholds.csv", index_col="score")
    assert table.name.tolist() == [f"image {i}" for i in range(20)]
    assert (table.likelihood_ratio == 0).all(), "a model has no ratio to itself"
    scoring.score(saved_model, files / "normal.parquet", tmp_path / "normal.csv")
    normal = pd.read_csv(tmp_path / "normal.csv").log_likelihood
    np.testing.assert_allclose(table.log_likelihood[:15], -normal[:15], rtol=1e-6)
    limits = {"log_likelihood": -normal, "typicality": abs(normal - normal.mean())}
    odd = np.arange(20) >= 15
    for name, values in limits.items():
        threshold, flagged = thresholds.threshold[name], table[f"{name}_anomaly"]
        assert (values > threshold + 1e-3).sum() == 2 and np.isclose(values, threshold).any(), "a tenth of twenty"
        assert flagged.sum() == thresholds.anomalies[name]
        assert thresholds.detected[name] == flagged[odd].mean()
        assert thresholds.false_alarms[name] == flagged[~odd].mean()
        assert thresholds.auroc[name] == pytest.approx(roc_auc_score(odd, table[name]))
    assert (tmp_path / "out" / "roc.png").stat().st_size > 5000


def test_without_labels(saved_model, files, tmp_path):
    table = detect(saved_model, files / "normal.parquet", files / "normal.parquet", tmp_path / "out", false_alarms=0.25)
    assert list(table) == ["score", "threshold", "anomalies"] and table.anomalies.tolist() == [5, 5]
    assert not (tmp_path / "out" / "roc.png").exists()


def test_background_that_rejects_other_rows(saved_model, files, tmp_path, monkeypatch):
    """Scores are not compared row by row where the two models scored different rows."""
    scored = iter([range(20), range(20), range(20), range(1, 20)])

    def score(*_, **__):
        rows = np.array(next(scored))
        return pd.DataFrame({"row": rows, "log_likelihood": -100.0 - rows})

    monkeypatch.setattr("iwae_tf.scoring.anomalies._score", score)
    normal = files / "normal.parquet"
    with pytest.raises(ValueError, match=r"same rows\. Received: row 0 is rejected"):
        detect(saved_model, normal, normal, tmp_path / "out", background=saved_model)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--labels", "pixel_9"), "Expected labels 0 and 1 in column 'pixel_9'"),
        (("--labels", "no"), "Expected a column 'no' in"),
        (("--false-alarms", 1), "false_alarms must be in (0, 1)"),
        (("--reference", "no.csv"), "no.csv, which does not exist"),
        ((), "unknown: 'odd', 'name'|Expected 64 values in each row"),
    ],
)
def test_bad_arguments(options, message, saved_model, files, tmp_path):
    reference = () if "--reference" in options else ("--reference", files / "normal.parquet")
    arguments = ("anomalies", saved_model, files / "mixed.csv", *reference, *options, "-o", tmp_path / "out")
    check_refused(arguments, message.split("|")[-1], tmp_path)
