import io

import numpy as np
import pandas as pd
import pytest

from iwae_tf import plots

UNITS = pd.DataFrame({"layer": [1, 1, 1, 2, 2], "activity": [1.0, 0.5, 1e-5, 0.0, 0.2]})
BOUNDS = pd.DataFrame(
    {
        "num_samples": [1, 5, 50],
        "bound": [-95.0, -92.0, -90.0],
        "standard_error": [0.5, 0.4, 0.3],
        "sampling_error": [0.1, 0.1, np.nan],
    }
)


def written(figure):
    """Whether a figure can be written."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.tell() > 1000


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def areas(axes):
    """The areas of filled histograms, in observations times the width of a bin."""
    outlines = [np.vstack([patch.get_xy(), patch.get_xy()[:1]]) for patch in axes.patches]
    return [abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2 for x, y in (outline.T for outline in outlines)]


def test_activity_has_a_panel_for_each_layer():
    figure = plots.activity(UNITS)
    first, second = figure.axes
    assert "layer 1" in first.get_xlabel() and "layer 2" in second.get_xlabel()
    assert legend(first) == ["2 of 3 active", "$A_u = 0.01$"] and legend(second)[0] == "1 of 2 active"
    assert areas(first) == pytest.approx([3 * 5 / 10])  # three units, 10 bins from log10 1e-5 to log10 1
    assert first.get_lines()[0].get_xdata()[0] == -2 and written(figure)


def test_activity_of_models_of_different_depths():
    first, second = plots.activity({"flat": UNITS[:2], "deep": UNITS}, threshold=0.6).axes
    assert legend(first) == ["flat: 1 of 2 active", "deep: 1 of 3 active", "$A_u = 0.6$"]
    assert legend(second)[:2] == ["flat: 0 of 0 active", "deep: 0 of 2 active"]


def test_weights_of_one_model_and_of_two():
    names = ("effective_sample_size", "largest", "entropy")
    table = pd.DataFrame({name: np.random.default_rng(0).uniform(1, 5, 30) for name in names})
    for axes, name in zip(plots.weights(table).axes, names, strict=True):
        assert areas(axes) == pytest.approx([30 * np.ptp(table[name]) / 15])
        assert axes.get_lines()[0].get_xdata()[0] == table[name].median()
    assert legend(plots.weights({"a": table, "b": 2 * table}).axes[1]) == [
        f"{name}: median {scale * table.largest.median():.3g}" for name, scale in (("a", 1), ("b", 2))
    ]


def test_bounds_have_bars_and_approach_a_line():
    figure = plots.bounds({"vae": BOUNDS, "iwae": BOUNDS.assign(bound=BOUNDS.bound + 1)})
    (axes,) = figure.axes
    (bars,), (others,) = (container[2] for container in axes.containers)
    heights = [np.ptp(bar[:, 1]) for bar in bars.get_segments()]
    np.testing.assert_allclose(heights, [2.0, 1.6, 1.2])  # two standard errors on either side
    assert (bars.get_segments()[0][:, 0] < 1).all() and (others.get_segments()[0][:, 0] > 1).all(), "side by side"
    assert axes.get_xscale() == "log" and [label.get_text() for label in axes.get_xticklabels()] == ["1", "5", "50"]
    assert [line.get_ydata()[0] for line in axes.get_lines() if line.get_linestyle() == "--"] == [-90, -89]
    assert legend(axes)[0].startswith("vae: ") and legend(axes)[-1] == "value at the largest $k$" and written(figure)
    assert legend(plots.bounds(BOUNDS).axes[0])[0] == r"$\mathcal{L}_k \pm 2$ standard errors"


def test_histories_of_several_runs(tmp_path):
    table = pd.DataFrame({"epoch": [0, 1], "loss": [3.0, 2.0], "kl": [0.1, 0.2]})
    (tmp_path / "run").mkdir()
    table.to_csv(tmp_path / "run" / "history.csv", index=False)
    figure = plots.histories(
        {"a": tmp_path / "run", "b": tmp_path / "run" / "history.csv", "c": {"loss": [4.0, 1.0]}, "d": table}
    )
    loss, kl = figure.axes
    assert [len(axes.get_lines()) for axes in (loss, kl)] == [4, 3]
    np.testing.assert_array_equal(loss.get_lines()[2].get_xydata(), [[0, 4], [1, 1]])
    assert (loss.get_ylabel(), kl.get_ylabel()) == ("loss (nats)", "KL (nats)")
    with pytest.raises(ValueError, match="histories with one of accuracy"):
        plots.histories({"d": table}, ["accuracy"])


def test_histories_of_one_epoch_or_with_gaps_are_visible():
    gaps = {"loss": [3.0, 2.0, 1.0], "val_loss": [np.nan, 2.5, np.nan]}
    loss, validation = plots.histories({"gaps": gaps}).axes
    (line,), (point,) = loss.get_lines(), validation.get_lines()
    assert line.get_marker() == "" and len(line.get_xydata()) == 3
    assert point.get_marker() == "o" and point.get_xydata().tolist() == [[1, 2.5]]
    assert validation.get_ylabel() == "validation loss (nats)"
    assert all(tick == round(tick) for tick in validation.get_xticks()), "whole epochs"
