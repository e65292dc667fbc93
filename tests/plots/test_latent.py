import numpy as np
import pytest

import iwae_tf
from iwae_tf import layers, plots

from .test_curves import legend, written
from .test_images import plane


def test_aggregated_posterior_has_a_point_for_every_observation(digits):
    axes = plots.aggregated_posterior(plane(), digits.test).axes[0]
    assert [len(points.get_offsets()) for points in axes.collections] == [240, 240]
    assert axes.get_legend() is None and "over $p(z_1)$" in axes.get_title()


@pytest.mark.parametrize(
    "classes", [np.array(["a", "b", "c"]), np.arange(30), [0.5, np.nan]], ids=["strings", "thirty", "missing"]
)
def test_every_class_has_a_colour_and_a_name(classes, x):
    labels = np.asarray(classes)[np.arange(60) % len(classes)]
    figure = plots.aggregated_posterior(plane(), np.concatenate([x] * 3), labels)
    axes = figure.axes[0]
    colours = axes.collections[1].get_facecolor()
    assert len(np.unique(colours, axis=0)) == len(classes)
    assert (colours[: len(classes)] == colours[len(classes) : 2 * len(classes)]).all()
    assert legend(axes) == [str(name) for name in classes] and written(figure)


def test_a_label_for_each_observation(x):
    with pytest.raises(ValueError, match=r"a label for each of 20 observations. Received: 3"):
        plots.aggregated_posterior(plane(), x, [0, 1, 2])
    many = plots.aggregated_posterior(plane(), np.concatenate([x] * 4), np.arange(80)).axes[0]
    assert many.get_legend() is None, "more than 60 classes"


def test_units_that_there_are(x):
    model = iwae_tf.mlp((8, 8, 1), (3,), ((4,),), preprocessing=layers.StochasticBinarization(), seed=0)
    axes = plots.aggregated_posterior(model, x, units=(2, 0)).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("unit 2 of $z_1$", "unit 0 of $z_1$")
    for units in ((0, 3), (0,)):
        with pytest.raises(ValueError, match=r"two of the units 0 to 2. Received"):
            plots.aggregated_posterior(model, x, units=units)
