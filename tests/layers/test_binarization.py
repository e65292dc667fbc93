import numpy as np
import pytest
import tensorflow as tf

from iwae_tf.layers import Grey, StochasticBinarization


def test_dynamic_draws_with_the_probability_of_the_pixel():
    image = np.array([0, 51, 128, 255], np.uint8)
    n = 20_000  # five standard errors at a fixed seed
    drawn = StochasticBinarization(seed=0)(np.tile(image, (n, 1))).numpy()
    assert set(np.unique(drawn)) == {0.0, 1.0}
    p = image / 255
    assert (abs(drawn.mean(0) - p) <= 5 * np.sqrt(p * (1 - p) / n)).all()


def test_dynamic_is_drawn_anew_unless_seeded():
    layer = StochasticBinarization(seed=0)
    x = np.full((3, 50), 0.5, np.float32)
    assert (layer(x).numpy() != layer(x).numpy()).any()
    seed = tf.constant([1, 2])
    np.testing.assert_array_equal(layer(x, seed=seed), layer(x, seed=seed))


@pytest.mark.parametrize("mode", ["dynamic", "threshold", "none"])
def test_binary_data_pass_unchanged(mode):
    x = np.random.default_rng(0).integers(0, 2, (5, 7))
    for values in (x.astype(np.float32), x.astype(np.uint8) * 255, x.astype(bool)):
        np.testing.assert_array_equal(StochasticBinarization(mode)(tf.constant(values)), x)


def test_other_modes():
    x = tf.constant([0, 100, 200, 255], tf.uint8)
    np.testing.assert_array_equal(StochasticBinarization("threshold")(x), [0, 0, 1, 1])
    for grey in (Grey(), StochasticBinarization("none")):
        np.testing.assert_allclose(grey(x), np.array([0, 100, 200, 255]) / 255, rtol=1e-6)


def test_rejects():
    layer = StochasticBinarization()
    with pytest.raises(ValueError, match=r"in \[0, 1\]. Received: values from 0 to 255"):
        layer(np.array([0.0, 255.0], np.float32))
    with pytest.raises(ValueError, match="NaN"):
        layer(np.array([0.0, np.nan], np.float32))
    with pytest.raises(TypeError, match="dtype int32"):
        layer(np.array([0, 1], np.int32))
    with pytest.raises(TypeError, match="dtype int32"):
        tf.function(layer)(tf.constant([0, 1]))
    with pytest.raises(ValueError, match="dynamic, threshold, none"):
        StochasticBinarization("static")


def test_floats_pass_through_xla():
    x = tf.constant([[0.0, 1.0, 1.0]])
    np.testing.assert_array_equal(tf.function(StochasticBinarization(), jit_compile=True)(x), x)


def test_rejects_values_in_a_graph():
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"Expected floats in \[0, 1\]"):
        tf.function(StochasticBinarization())(tf.constant([0.0, 2.0]))
