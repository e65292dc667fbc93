import io

import numpy as np
import pandas as pd
import pytest

from iwae_tf import plots


def written(figure):
    """Whether a figure can be written."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.tell() > 1000


def test_activity_has_a_panel_for_each_layer():
    table = pd.DataFrame({"layer": [1, 1, 1, 2, 2], "activity": [1.0, 0.5, 1e-5, 0.0, 0.2]})
    figure = plots.activity(table)
    assert [axes.get_title() for axes in figure.axes] == ["layer 1: 2 of 3 active", "layer 2: 1 of 2 active"]
    assert sum(patch.get_height() for patch in figure.axes[0].patches) == 3 and written(figure)


def test_weights():
    names = ("effective_sample_size", "largest", "entropy")
    table = pd.DataFrame({name: np.random.default_rng(0).uniform(1, 5, 30) for name in names})
    figure = plots.weights(table)
    assert [sum(patch.get_height() for patch in axes.patches) for axes in figure.axes] == [30] * 3 and written(figure)


def test_bounds_approach_a_line():
    table = pd.DataFrame(
        {"num_samples": [1, 5, 50], "bound": [-95.0, -92.0, -90.0], "sampling_error": [0.1, 0.1, np.nan]}
    )
    axes = plots.bounds(table).axes[0]
    assert axes.get_xscale() == "log" and axes.get_lines()[-1].get_ydata()[0] == -90


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
    with pytest.raises(ValueError, match="histories with one of accuracy"):
        plots.histories({"d": table}, ["accuracy"])
