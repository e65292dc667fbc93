import numpy as np
import pytest

from iwae_tf import plots
from iwae_tf.plots import true_posterior

from ..fixtures import LinearGaussian
from .test_images import canvas, plane


@pytest.fixture(scope="module")
def exact():
    return LinearGaussian()


def window(axes):
    """The middle and half the sides of what axes show."""
    limits = np.array([axes.get_xlim(), axes.get_ylim()])
    return limits.mean(axis=1), np.ptp(limits, axis=1) / 2


def test_the_window_holds_the_true_posterior(exact):
    """Of the linear-Gaussian model: 0.999 of it lie within 3.72 standard deviations, whether q covers it or not."""
    x = exact.sample(2)
    models = {"exact": exact.model(), "far": exact.model(3.0), "narrow": narrow(exact)}
    panels = np.array(plots.posteriors(models, x, num_points=141).axes).reshape(2, 4)
    radius = (-2 * np.log(1 - true_posterior.MASS) * exact.posterior_variance.max()) ** 0.5
    for row, mean in zip(panels[:, 1:], exact.posterior_mean(x), strict=True):
        for axes in row:
            middle, half = window(axes)
            np.testing.assert_allclose(middle, mean, atol=0.1 * radius)
            np.testing.assert_allclose(half, 1.2 * radius, rtol=0.1)
            heat = np.asarray(axes.images[0].get_array())
            peak = np.unravel_index(heat.argmax(), heat.shape)
            np.testing.assert_allclose(middle + half * (np.array(peak[::-1]) / 70 - 1), mean, atol=0.05)
    assert [axes.get_title() for axes in panels[0]] == ["$x$", *models]


def narrow(exact):
    """The model with a q that is a fifth as wide as the posterior."""
    model = exact.model()
    scale = model.encoder[0].heads[1]
    scale.bias.assign_sub(np.full(2, np.log(5.0)))
    return model


def test_the_lines_hold_the_masses_of_q(exact):
    """They are ellipses, with radii of sqrt(-2 log(1 - mass)) standard deviations."""
    figure = plots.posteriors({"exact": exact.model()}, x := exact.sample(1), num_points=141)
    (lines,) = figure.axes[1].collections
    paths = sorted((path.vertices for path in lines.get_paths()), key=np.ptp)
    radii = [
        np.sqrt(((path - exact.posterior_mean(x)) ** 2 / exact.posterior_variance).sum(1)).mean() for path in paths
    ]
    np.testing.assert_allclose(radii, np.sqrt(-2 * np.log(1 - np.array(true_posterior.LEVELS))), rtol=0.05)
    assert "10, 30, 50, 70, 90, 99 %" in figure.legends[0].get_texts()[1].get_text()


def test_same_scale(exact):
    models = {"exact": exact.model(), "wide": LinearGaussian(scale=2.0).model()}
    sizes = [
        [window(axes)[1][0] for axes in plots.posteriors(models, exact.sample(1), same, 40).axes[1:]]
        for same in (False, True)
    ]
    assert sizes[0][0] < 0.9 * sizes[0][1]
    np.testing.assert_allclose(sizes[1], sizes[0][1], rtol=1e-6)


def test_observations_stand_beside_their_rows(exact, x):
    model = plane()
    figure = plots.posteriors({"vae": model}, x[:2], num_points=30)
    processed = model.preprocess(x[:2], model.next_seed(0)).numpy()
    for axes, image in zip(figure.axes[::2], processed, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), image[..., 0])
    assert canvas(plots.posteriors({"exact": exact.model()}, exact.sample(2), num_points=30)).shape == (1, 5)


def test_posteriors_of_a_plane_only(trained, x):
    with pytest.raises(ValueError, match="one stochastic layer of two units"):
        plots.posteriors({"deep": trained}, x[:1])
    with pytest.raises(ValueError, match=r"at least one model. Received: none"):
        plots.posteriors({}, x[:1])
