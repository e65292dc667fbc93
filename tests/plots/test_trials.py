import numpy as np
import pandas as pd
import pytest

from iwae_tf import plots

from .test_curves import legend, written

TABLE = pd.DataFrame(
    {
        "learning_rate": [1e-4, 1e-3, 1e-2, 1e-3],
        "depth": [1, 2, 3, 2],
        "objective": ["iwae", "elbo", "iwae", "elbo"],
        "beta": [np.nan, 0.5, np.nan, 1.0],
        "score": [-30.0, -20.0, -25.0, np.nan],
    }
)


def lines(figure):
    """The lines of the trials, in the order in which they are drawn."""
    return [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) > 2]


def test_a_line_for_each_trial_at_the_heights_of_its_values():
    figure = plots.parallel_coordinates(TABLE, ["learning_rate", "depth", "objective", "beta"])
    failed, worst, middle, best = lines(figure)
    np.testing.assert_allclose(best.get_ydata(), [0.5, 0.5, 0, 0, 1], atol=1e-12)  # the rate on a logarithmic axis
    np.testing.assert_allclose(worst.get_ydata()[[0, 1, 2, 4]], [0, 0, 1, 0], atol=1e-12)
    assert worst.get_ydata()[3] < 0, "below the axis of a beta that its objective does not have"
    assert middle.get_ydata()[-1] == 0.5
    assert best.get_linewidth() > middle.get_linewidth() and best.get_color() != worst.get_color()
    assert failed.get_linestyle() == "--" and len(failed.get_ydata()) == 4
    assert "1 without a score" in figure.axes[0].get_title() and written(figure)
    assert legend(figure.axes[0]) == ["without a score", "best trial"]


def test_one_trial_and_no_score_at_all():
    for table in (TABLE[:1], TABLE[3:]):
        figure = plots.parallel_coordinates(table, ["learning_rate", "objective"])
        assert written(figure) and figure.axes[0].get_title().startswith("1 trials")
    with pytest.raises(ValueError, match="at least one trial"):
        plots.parallel_coordinates(TABLE[:0], ["depth"])
