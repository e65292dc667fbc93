"""Pictures of sequences."""

import numpy as np
import pytest

from iwae_tf import plots


def test_rolls_show_the_notes_that_are_played_and_where_a_forecast_begins():
    roll = np.zeros([6, 88])
    roll[:, 39], roll[5, 43] = 1, 1
    padded = np.full([8, 88], np.nan)
    padded[:6] = roll
    figure = plots.piano_rolls({"data": roll, "forecast": padded}, start={"forecast": 4})
    data, forecast = figure.axes
    assert data.images[0].get_array().shape == (5, 6) and data.get_ylim() == forecast.get_ylim() == (59.5, 64.5)
    assert not data.lines and list(forecast.lines[0].get_xdata()) == [3.5, 3.5]
    with pytest.raises(ValueError, match="at least one roll"):
        plots.piano_rolls({})
    with pytest.raises(ValueError, match=r"titles of rolls. Received: \['other'\]"):
        plots.piano_rolls({"data": roll}, start={"other": 3})
    with pytest.raises(ValueError, match=r"rolls \[time, notes\]. Received: shape \(3,\) of 'flat'"):
        plots.piano_rolls({"flat": np.zeros(3)})


def test_states_lie_in_bands_of_two_standard_deviations():
    mean, stddev = np.arange(8.0).reshape(4, 2), np.full([4, 2], 0.5)
    axes = plots.filtered_states(mean, stddev, truth=mean + 0.1).axes[1]
    band = axes.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (0.0, 8.0)
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), mean[:, 1])
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), mean[:, 1] + 0.1)
    with pytest.raises(ValueError, match=r"arrays \[time, units\] of one shape"):
        plots.filtered_states(mean, stddev[:3])
