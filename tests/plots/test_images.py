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
    figure = plots.samples(trained, n=6, seed=3)
    assert isinstance(figure, Figure)
    image = canvas(figure)
    assert image.shape == (2 * 9 + 1, 3 * 9 + 1)
    expected = trained.sample(6, seed=3).numpy()[..., 0]
    np.testing.assert_allclose(image[1:9, 10:18], expected[1], atol=1e-6)
    np.testing.assert_allclose(image[10:18, 1:9], expected[3], atol=1e-6)
    figure.savefig(io.BytesIO(), format="png")


@pytest.mark.parametrize(("n", "shape"), [(1, (1, 1)), (5, (1, 5)), (7, (3, 3)), (10, (2, 5)), (64, (8, 8))])
def test_samples_fill_their_grid(trained, n, shape):
    """But where n has no divisor near its root."""
    assert canvas(plots.samples(trained, n)).shape == tuple(9 * side + 1 for side in shape)


def test_reconstructions_stand_below_what_the_model_sees(trained, x):
    image = canvas(plots.reconstructions(trained, x[:13], seed=1))
    assert image.shape == (4 * 9 + 1, 10 * 9 + 1)
    processed = trained.preprocess(x[:13], trained.next_seed(1)).numpy()[..., 0]
    np.testing.assert_array_equal(image[1:9, 1:9], processed[0])
    np.testing.assert_allclose(image[10:18, 1:9], trained.reconstruct(x[:13], seed=1)[0, ..., 0], atol=1e-6)
    np.testing.assert_array_equal(image[19:27, 19:27], processed[12])
    assert canvas(plots.reconstructions(trained, x[:12])).shape == (4 * 9 + 1, 6 * 9 + 1), "two full rows"


def test_only_images():
    model = iwae_tf.IWAE(
        [layers.IndependentNormal(2)], [layers.IndependentBernoulli(5)], layers.StandardNormal(2), seed=0
    )
    with pytest.raises(ValueError, match="model of images"):
        plots.samples(model)


def plane(**kwargs):
    """A model of digits whose z is a plane."""
    return iwae_tf.mlp(
        (8, 8, 1), (2,), ((16,),), preprocessing=layers.StochasticBinarization("threshold"), seed=0, **kwargs
    )


def test_interpolations_begin_and_end_with_the_codes(trained, x):
    image = canvas(plots.interpolations(trained, x[:3], x[3:6], 5, seed=1))
    assert image.shape == (3 * 9 + 1, 5 * 9 + 1)
    seed = trained.next_seed(1)
    processed = trained.preprocess(x[3:6], seed)
    expected = trained.generate(0, trained.posterior(processed).mean(), None).mean()
    np.testing.assert_allclose(image[10:18, 37:45], expected[1, ..., 0], atol=1e-6)


def test_interpolations_need_pairs(trained, x):
    with pytest.raises(ValueError, match=r"as many second as first observations. Received: 3 and 2"):
        plots.interpolations(trained, x[:3], x[:2])
    with pytest.raises(ValueError, match="num_steps"):
        plots.interpolations(trained, x[:3], x[:3], 1)


def test_manifold_is_centred_on_the_origin():
    model = plane()
    figure = plots.manifold(model, 5, span=0.9)
    image, axes = canvas(figure), figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["-1.6", "-0.6", "0.0", "0.6", "1.6"]
    assert axes.get_yticks()[2] == axes.get_xticks()[2] == 22.5, "the middle of the third image"
    assert image.shape == (5 * 9 + 1, 5 * 9 + 1)
    np.testing.assert_allclose(image[19:27, 19:27], model.generate(0, np.zeros((1, 2), "f"), None).mean()[0, ..., 0],
                               atol=1e-5)  # fmt: skip


def test_manifold_of_a_plane_only(trained):
    with pytest.raises(ValueError, match=r"one stochastic layer of two units. Received: latent shapes"):
        plots.manifold(trained)
