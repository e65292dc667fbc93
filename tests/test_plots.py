import io

import numpy as np
import pytest
from matplotlib.figure import Figure

import iwae_tf
from iwae_tf import layers, plots


def canvas(figure):
    """The image that a figure shows."""
    return np.asarray(figure.axes[0].images[0].get_array())


def test_samples_show_the_models_samples(trained):
    figure = plots.samples(trained, n=5, seed=3)
    assert isinstance(figure, Figure)
    image = canvas(figure)
    assert image.shape == (2 * 9 + 1, 3 * 9 + 1)
    expected = trained.sample(5, seed=3).numpy()[..., 0]
    np.testing.assert_allclose(image[1:9, 10:18], expected[1], atol=1e-6)
    np.testing.assert_allclose(image[10:18, 1:9], expected[3], atol=1e-6)
    figure.savefig(io.BytesIO(), format="png")


def test_reconstructions_stand_below_what_the_model_sees(trained, x):
    image = canvas(plots.reconstructions(trained, x[:13], seed=1))
    assert image.shape == (4 * 9 + 1, 10 * 9 + 1)
    seen = trained.preprocess(x[:13], trained.next_seed(1)).numpy()[..., 0]
    np.testing.assert_array_equal(image[1:9, 1:9], seen[0])
    np.testing.assert_allclose(image[10:18, 1:9], trained.reconstruct(x[:13], seed=1)[0, ..., 0], atol=1e-6)
    np.testing.assert_array_equal(image[19:27, 19:27], seen[12])


def test_only_images():
    model = iwae_tf.IWAE(
        [layers.IndependentNormal(2)], [layers.IndependentBernoulli(5)], layers.StandardNormal(2), seed=0
    )
    with pytest.raises(ValueError, match="model of images"):
        plots.samples(model)
