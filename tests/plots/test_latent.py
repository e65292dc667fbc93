import numpy as np
import pytest

import iwae_tf
from iwae_tf import layers, plots

from ..fixtures import LinearGaussian
from .test_images import canvas, plane


def test_the_true_posterior_is_where_it_is():
    """Of the linear-Gaussian model, whose posterior is q: the same heat map, with its peak at the exact mean."""
    exact = LinearGaussian()
    x = exact.sample(2)
    figure = plots.posteriors({"exact": exact.model(), "off": exact.model(1.0)}, x, num_points=141)
    panels = np.array(figure.axes).reshape(2, 4)
    true, q, again, off = (np.asarray(axes.images[0].get_array()) for axes in panels[0])
    np.testing.assert_allclose(true, q, atol=1e-5)
    assert panels[0, 2].images[0].get_extent() == panels[0, 3].images[0].get_extent()
    # The square is as small as the two posteriors allow: most of its border holds nothing.
    assert again[0].max() < 1e-3 * again.max() and off[-1].max() < 2e-3 * off.max()
    for panel, heat, mean in ((0, true, exact.posterior_mean(x)[0]), (3, off, exact.posterior_mean(x)[0] + 1.0)):
        left, right, bottom, top = panels[0, panel].images[0].get_extent()
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        peak = np.linspace(left, right, 141)[column], np.linspace(bottom, top, 141)[row]
        np.testing.assert_allclose(peak, mean, atol=0.05)
    assert panels[0, 0].get_title() == "exact\np(z|x)" and panels[0, 3].get_title() == "off\nq(z|x)"


def test_posteriors_of_a_plane_only(trained, x):
    with pytest.raises(ValueError, match="one stochastic layer of two units"):
        plots.posteriors({"deep": trained}, x[:1])


def test_aggregated_posterior_has_a_point_for_every_observation(digits):
    figure = plots.aggregated_posterior(plane(), digits.test, labels=np.arange(240) % 10)
    prior, points = figure.axes[0].collections
    assert len(prior.get_offsets()) == len(points.get_offsets()) == 240


def test_units_that_there_are(x):
    model = iwae_tf.mlp((8, 8, 1), (3,), ((4,),), preprocessing=layers.StochasticBinarization(), seed=0)
    plots.aggregated_posterior(model, x, units=(2, 0))
    for units in ((0, 3), (0,)):
        with pytest.raises(ValueError, match=r"two of the units 0 to 2. Received"):
            plots.aggregated_posterior(model, x, units=units)


def test_heat_maps_are_of_equal_size(x):
    assert canvas(plots.posteriors({"vae": plane()}, x[:2], num_points=30)).shape == (30, 30)
