"""Data and settings at the end of what there is: training stays finite, or an error says why it cannot."""

import keras
import numpy as np
import pytest

import iwae_tf
from iwae_tf import callbacks, layers, objectives

from .fixtures import small_model

IMAGES = {
    "zeros": np.zeros((40, 8, 8, 1), np.uint8),
    "ones": np.full((40, 8, 8, 1), 255, np.uint8),
    "constant pixels": np.broadcast_to(np.arange(64, dtype=np.uint8).reshape(8, 8, 1) * 4, (40, 8, 8, 1)).copy(),
    "a single row": np.random.default_rng(0).integers(0, 256, (1, 8, 8, 1), np.uint8),
    "identical rows": np.repeat(np.random.default_rng(0).integers(0, 256, (1, 8, 8, 1), np.uint8), 40, 0),
}


def check(model, x, epochs=100, learning_rate=1e-2):
    """Trains at ten times the default learning rate; whatever is logged, and the scores, are finite."""
    model.compile(keras.optimizers.Adam(learning_rate))
    history = model.fit(x, batch_size=20, epochs=epochs, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    assert np.isfinite(model.log_likelihood(x[:2], 50, seed=0)).all()
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    return history["loss"]


@pytest.mark.parametrize("name", IMAGES)
def test_images_of_one_kind(name):
    losses = check(small_model(mean=IMAGES[name].mean(0) / 255), IMAGES[name])
    assert np.mean(losses[-20:]) <= np.mean(losses[:20])


@pytest.mark.parametrize("name", IMAGES)
def test_densities_of_data_without_any_spread(name):
    """A Gaussian could grow without bound around constant pixels; its smallest scale keeps it finite."""
    model = iwae_tf.mlp(
        (8, 8, 1), (4,), [(16,)], likelihood="normal", objective=objectives.ImportanceWeighted(5), seed=0,
        preprocessing=layers.Grey(),
    )  # fmt: skip
    check(model, IMAGES[name])


def test_many_samples(x):
    check(small_model(objective=objectives.ImportanceWeighted(500)), x, epochs=10)


def test_seven_layers(digits):
    x = np.concatenate(list(digits.train))[:200]
    check(small_model(7), x, epochs=20)


def test_a_learning_rate_that_is_far_too_high_is_an_error(x):
    model = small_model()
    model.compile(keras.optimizers.SGD(1e30))
    with pytest.raises(FloatingPointError, match="lower learning rate"):
        model.fit(x, batch_size=20, epochs=20, verbose=0, callbacks=[callbacks.NonFiniteGuard()])
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
