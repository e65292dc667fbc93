"""Anomalies in a file, by an exported model and a file of normal data."""

import functools
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from sklearn import metrics

from iwae_tf import scoring
from iwae_tf.files import write_whole
from iwae_tf.scoring import sources
from iwae_tf.scoring.readers import read_frame


def compute_scores(
    log_likelihood: npt.ArrayLike, mean: float, background: npt.ArrayLike | None = None
) -> dict[str, np.ndarray]:
    """Computes scores that are high for an anomaly; see `evaluation.out_of_distribution`.

    Args:
      log_likelihood: log p^(x) `[n]`, in nats.
      mean: mean of log p^(x) over normal data, in nats.
      background: log p_0^(x) of a background model, `[n]`. `None` leaves the likelihood ratio out.

    Returns:
      A dict from the names of the scores to arrays `[n]`, in nats.

    Example:
      ```python
      scoring.anomalies.compute_scores([-90.0, -120.0], mean=-95.0)["typicality"]  # [5, 25]
      ```
    """
    values = np.asarray(log_likelihood, np.float64)
    scores = {"log_likelihood": -values, "typicality": abs(values - mean)}
    if background is not None:
        scores["likelihood_ratio"] = np.asarray(background, np.float64) - values
    return scores


def detect(
    saved_model: str | os.PathLike,
    source: str | os.PathLike,
    reference: str | os.PathLike,
    destination: str | os.PathLike,
    background: str | os.PathLike | None = None,
    labels: str | None = None,
    false_alarms: float = 0.05,
    id_column: str | None = None,
    overwrite: bool = False,
    verbose: int = 0,
) -> pd.DataFrame:
    """Scores the rows of a file as anomalies, with thresholds that a known share of normal data exceeds.

    The folder `destination` gets `anomalies.csv`, with a row for each row that can be scored: its number or file name,
    its identifier, each score, and whether it exceeds the threshold; `thresholds.csv`, the returned table; and
    `roc.png`, the ROC curves, where there are labels.

    Args:
      saved_model: folder that `iwae_tf.export` wrote.
      source: the rows to judge; see `scoring.score`.
      reference: normal rows that the model was not trained on, likewise.
      destination: the folder to write.
      background: a SavedModel of general features, for the likelihood ratio.
      labels: name of a column of `source` with 1 for anomalies and 0 for normal rows.
      false_alarms: the share of `reference` that may exceed a threshold, in (0, 1).
      id_column: column that identifies the rows of `source`; see `scoring.score`.
      overwrite: whether to replace an existing folder.
      verbose: 1 shows progress bars.

    Returns:
      A `DataFrame` with a row per `score`: its `threshold`, the number of `anomalies` and, where there are labels,
      `detected`, the share of the anomalies that exceed the threshold, `false_alarms`, the share of the normal rows
      that do, and `auroc`, the area under the ROC curve.

    Raises:
      FileExistsError: if `destination` exists and `overwrite` is false.
      FileNotFoundError: if a model or a file is missing.
      ValueError: as in `scoring.score`; also if `false_alarms` is not in (0, 1), the labels are not 0 and 1, or
        `background` rejects other rows than the model.

    Example:
      ```python
      iwae_tf.export(model, "exported", num_samples=10)
      np.save("normal.npy", x)
      np.save("new.npy", 255 - x)
      scoring.anomalies.detect("exported", "new.npy", "normal.npy", "anomalies").anomalies
      ```
    """
    if not 0 < false_alarms < 1:
        raise ValueError(f"false_alarms must be in (0, 1). Received: false_alarms={false_alarms}")
    for path in (source, reference):
        sources.check_kind(path)
    truth = None if labels is None else _read_labels(source, labels)
    ignored = [name for name in (labels, id_column) if name]
    with write_whole(destination, overwrite) as folder, tempfile.TemporaryDirectory() as temporary:
        score = functools.partial(_score, Path(temporary), ignored=ignored, verbose=verbose)
        normal, rows = score(saved_model, reference), score(saved_model, source, id_column=id_column)
        mean = float(normal.log_likelihood.mean())
        general: list[pd.Series | None] = [None, None]
        if background is not None:
            others = score(background, reference), score(background, source)
            general = [_match(*pair) for pair in zip((normal, rows), others, strict=True)]
        limits = compute_scores(normal.log_likelihood, mean, general[0])
        scores = compute_scores(rows.log_likelihood, mean, general[1])
        where = [name for name in rows if name not in ("log_likelihood", "standard_error", "effective_sample_size")]
        table, summary = rows[where].copy(), []
        for name, values in scores.items():
            threshold = float(np.quantile(limits[name], 1 - false_alarms, method="inverted_cdf"))
            table[name], table[f"{name}_anomaly"] = values, values > threshold
            summary.append({"score": name, "threshold": threshold, "anomalies": int((values > threshold).sum())})
            if truth is not None:
                summary[-1] |= _compare(truth[rows["row"]], values, threshold)
        folder.mkdir()
        table.to_csv(folder / "anomalies.csv", index=False)
        thresholds = pd.DataFrame(summary)
        thresholds.to_csv(folder / "thresholds.csv", index=False)
        if truth is not None:
            draw_roc(truth[rows["row"]], scores, false_alarms).savefig(folder / "roc.png", dpi=150)
    return thresholds


def _score(
    folder: Path,
    saved_model: str | os.PathLike,
    source: str | os.PathLike,
    ignored: Sequence[str],
    verbose: int,
    id_column: str | None = None,
) -> pd.DataFrame:
    """Returns the scores of a file, written to a temporary folder on the way."""
    path = folder / "scores.parquet"
    scoring.score(
        saved_model, source, path, overwrite=True, verbose=verbose, id_column=id_column, ignored_columns=ignored
    )
    return pd.read_parquet(path)


def _match(scores: pd.DataFrame, background: pd.DataFrame) -> pd.Series:
    """Returns the log-likelihoods of the background; raises a `ValueError` if one of the models rejects other rows."""
    key = scores.columns[0]
    if differing := sorted(set(scores[key]) ^ set(background[key])):
        raise ValueError(
            f"Expected a background model that can score the same rows. Received: {key} {differing[0]} is rejected by "
            "one of the models and scored by the other"
        )
    return background.log_likelihood


def _read_labels(path: str | os.PathLike, name: str) -> np.ndarray:
    """Returns the labels in a column of a file, `[n]`, bool."""
    frame = read_frame(path)
    if name not in frame:
        raise ValueError(f"Expected a column {name!r} in {path}. Received: {', '.join(map(str, frame))}")
    values = frame[name]
    if set(values.unique()) != {0, 1}:
        raise ValueError(f"Expected labels 0 and 1 in column {name!r}. Received: {values.unique()[:5].tolist()}")
    return values.to_numpy(bool)


def _compare(truth: np.ndarray, values: np.ndarray, threshold: float) -> dict[str, float]:
    return {
        "detected": float((values[truth] > threshold).mean()),
        "false_alarms": float((values[~truth] > threshold).mean()),
        "auroc": float(metrics.roc_auc_score(truth, values)),
    }


def draw_roc(truth: npt.ArrayLike, scores: dict[str, np.ndarray], false_alarms: float | None = None) -> Figure:
    """Draws ROC curves, the share of the anomalies that exceed a threshold against that of the normal rows.

    Args:
      truth: whether each row is an anomaly, `[n]`, bool.
      scores: dict from names to scores `[n]`, high for an anomaly.
      false_alarms: share of normal rows at which to draw a line.

    Returns:
      A `matplotlib.figure.Figure`.

    Example:
      ```python
      scores = scoring.anomalies.compute_scores([-90.0, -100.0, -120.0], mean=-95.0)
      scoring.anomalies.draw_roc([False, False, True], scores).savefig("roc.png")
      ```
    """
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, values in scores.items():
        metrics.RocCurveDisplay.from_predictions(truth, values, name=name.replace("_", " "), ax=axes)
    axes.axline((0, 0), slope=1, color="0.6", linestyle="--", label="chance")
    if false_alarms is not None:
        axes.axvline(false_alarms, color="0.6", linestyle=":", label=f"{false_alarms:g} false alarms in the reference")
    axes.set(xlabel="normal rows above the threshold", ylabel="anomalies above the threshold")
    axes.legend(fontsize="small")
    return figure
