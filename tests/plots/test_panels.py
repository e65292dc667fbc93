"""Every function draws on the axes of the user, or on a figure that fits a column or a page."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import rcParams
from matplotlib.figure import Figure

from iwae_tf import evaluation, plots
from iwae_tf.plots.panels import COLUMN, PAGE, open_panels

from .test_curves import BOUNDS, UNITS
from .test_images import plane
from .test_trials import TABLE

STEPS = pd.DataFrame({"effective_sample_size": [3.0, 2.0], "resampled": [0.0, 1.0]}, index=[1, 2])
ROLLS = {"a": np.eye(5, 88), "b": np.eye(4, 88)}
#: The functions on small inputs, and the number of axes that they draw on.
FUNCTIONS = {
    "activity": (2, lambda model, x, **ax: plots.activity(UNITS, **ax)),
    "aggregated_posterior": (1, plots.aggregated_posterior),
    "bounds": (1, lambda model, x, **ax: plots.bounds(BOUNDS, **ax)),
    "effective_sample_size_over_time": (2, lambda model, x, **ax: plots.effective_sample_size_over_time(STEPS, **ax)),
    "filtered_states": (2, lambda model, x, **ax: plots.filtered_states(np.zeros([5, 2]), np.ones([5, 2]), **ax)),
    "histories": (2, lambda model, x, **ax: plots.histories({"a": {"loss": [1.0], "kl": [2.0]}}, **ax)),
    "interpolations": (1, lambda model, x, **ax: plots.interpolations(model, x[:1], x[1:2], **ax)),
    "manifold": (1, lambda model, x, **ax: plots.manifold(model, 3, **ax)),
    "parallel_coordinates": (1, lambda model, x, **ax: plots.parallel_coordinates(TABLE, ["depth"], **ax)),
    "piano_rolls": (2, lambda model, x, **ax: plots.piano_rolls(ROLLS, start={"b": 3}, **ax)),
    "posteriors": (4, lambda model, x, **ax: plots.posteriors({"vae": model}, x[:2], num_points=9, **ax)),
    "reconstructions": (1, plots.reconstructions),
    "samples": (1, lambda model, x, **ax: plots.samples(model, 4, **ax)),
    "weights": (3, lambda model, x, **ax: plots.weights(evaluation.importance_weights(model, x, 2), **ax)),
}


@pytest.fixture(scope="module")
def planar():
    return plane()


def test_no_function_is_left_out():
    assert sorted(FUNCTIONS) == sorted(plots.__all__)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_new_figure_and_the_axes_of_the_user(name, planar, x):
    count, draw = FUNCTIONS[name]
    figure = draw(planar, x)
    assert figure.get_figwidth() <= PAGE and len(figure.axes) == count
    figure = Figure()
    panels = figure.subfigures(1, 2)[1].subplots(count, 1, squeeze=False)
    before = panels[0, 0].title.get_fontsize()
    assert draw(planar, x, ax=panels if count > 1 else panels[0, 0]) is figure
    assert len(figure.axes) == count and all(axes.has_data() for axes in panels.flat)
    assert panels[0, 0].title.get_fontsize() == before, "the style of the user"
    with pytest.raises(ValueError, match=rf"ax must be {count} axes, one for each panel. Received: {count + 1}"):
        draw(planar, x, ax=Figure().subplots(1, count + 1))


@pytest.mark.parametrize("draw", [plots.activity, plots.bounds, plots.effective_sample_size_over_time, plots.weights])
def test_tables_that_there_are_not(draw):
    with pytest.raises(ValueError, match=r"at least one table. Received: none"):
        draw({})


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (3, (1, 3)), (4, (2, 2)), (7, (3, 3))])
def test_panels_lie_side_by_side_or_in_a_square(count, shape):
    before = rcParams["font.size"]
    with open_panels(None, count) as (figure, panels):
        assert rcParams["font.size"] == 8
    assert rcParams["font.size"] == before
    assert len(figure.axes) == len(panels) == count and panels[0].get_gridspec().get_geometry() == shape
    assert figure.get_figwidth() == (COLUMN if count == 1 else PAGE)
    np.testing.assert_array_equal(panels, figure.axes)
