"""Deep hierarchies: any depth trains, and skip connections reach every layer in all that a model does."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import iwae_tf
from iwae_tf import layers, objectives, random

from ..fixtures import small_model

#: The ways in which the layers may be connected.
CONNECTIONS = [{}, {"skip": True}, {"ladder": True}, {"skip": True, "ladder": True}]


@pytest.fixture(scope="module")
def train(digits):
    return np.concatenate(list(digits.train.as_numpy_iterator()))[:200]


@pytest.mark.parametrize("num_layers", [7])  # other depths train in test_model.py, at 1e-3
def test_any_depth_trains(num_layers, train):
    """From the default initialisation, at ten times the usual learning rate: 50 steps, finite and downhill."""
    model = small_model(num_layers)
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    losses = model.fit(train, batch_size=20, epochs=5, verbose=0).history["loss"]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    assert all(np.isfinite(w).all() for w in model.get_weights())


@pytest.mark.parametrize("connections", CONNECTIONS[1:], ids=repr)
def test_the_deepest_trains_however_it_is_connected(connections, train):
    model = small_model(7, **connections)
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    losses = model.fit(train, batch_size=20, epochs=5, verbose=0).history["loss"]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]


def test_layers_below_the_top_see_z_top_too(x):
    """The weights written out: log p of every layer given what is above it and z_3."""
    model = small_model(3, skip=True)
    assert [layer.perceptron[0].kernel.shape[0] for layer in model.decoder] == [6, 7 + 6, 8 + 6]
    seed = random.as_seed(5)
    seen = model.preprocess(x, seed)
    (q1, q2, q3), (z1, z2, z3) = model.infer(model.posterior(seen), 3, random.fold_in(seed, 1))
    p2 = model.decoder[0](z3)
    p1 = model.decoder[1](tf.concat([z2, z3], -1))
    px = model.decoder[2](tf.concat([z1, z3], -1))
    log_p = model.prior().log_prob(z3) + p2.log_prob(z2) + p1.log_prob(z1) + px.log_prob(seen)
    expected = log_p - q1.log_prob(z1) - q2.log_prob(z2) - q3.log_prob(z3)
    np.testing.assert_allclose(model.log_weights(x, 3, seed=seed), expected, rtol=1e-5)


def test_samples_go_down_past_the_skips():
    model = small_model(3, skip=True)
    p, (z1, z2, z3) = model.descend(4, random.as_seed(0))
    assert (z1.shape, z2.shape, z3.shape) == ((4, 8), (4, 7), (4, 6))
    np.testing.assert_allclose(p.mean(), model.decoder[2](tf.concat([z1, z3], -1)).mean(), atol=1e-6)
    np.testing.assert_allclose(model.sample(4, seed=0), p.mean(), atol=1e-6)


@pytest.mark.parametrize("connections", [{"skip": True, "ladder": True}], ids=repr)
def test_round_trips(connections, train, x, tmp_path):
    """`.keras` and SavedModel: the same scores, codes and decodings."""
    model = small_model(3, objectives.ImportanceWeighted(5, "doubly_reparameterized"), **connections)
    model.compile(keras.optimizers.SGD(1e-2), jit_compile=False)
    model.fit(train, batch_size=20, verbose=0)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    assert (again.skip, again.ladder) == (model.skip, model.ladder)
    scores = model.log_likelihood(x, 20, seed=0)
    np.testing.assert_array_equal(again.log_likelihood(x, 20, seed=0), scores)
    endpoints = tf.saved_model.load(str(iwae_tf.export(model, tmp_path / "m", 20))).signatures
    np.testing.assert_array_equal(endpoints["serving_default"](x=tf.constant(x))["log_likelihood"], scores)
    codes = endpoints["encode"](x=tf.constant(x))
    assert {name: value.shape[1] for name, value in codes.items() if "mean" in name} == {
        "mean": 8, "mean_2": 7, "mean_3": 6
    }  # fmt: skip
    z = {"z": codes["mean"], **({"z_top": codes["mean_3"]} if model.skip else {})}
    decoded = model.generate(0, codes["mean"], codes["mean_3"]).mean()
    np.testing.assert_allclose(endpoints["decode"](**z)["mean"], decoded, atol=1e-6)
    samples = endpoints["sample"](seed=tf.constant([3, 0]), num_samples=tf.constant(2))["mean"]
    np.testing.assert_allclose(samples, model.sample(2, seed=3), atol=1e-6)
    assert endpoints["reconstruct"](x=tf.constant(x))["mean"].shape == x.shape


@pytest.mark.parametrize("connections", CONNECTIONS, ids=repr)
def test_reconstructions_are_of_the_codes(connections, x):
    """`reconstruct` decodes z_1 and, with skip connections, z_L of one draw; `encode` gives the distribution of z_1."""
    model = small_model(3, preprocessing=layers.StochasticBinarization("threshold"), **connections)
    seed = random.as_seed(2)
    _, z = model.infer(model.posterior(model.preprocess(x, seed)), (), random.fold_in(seed, 1))
    np.testing.assert_allclose(model.reconstruct(x, seed=2), model.generative(z)[0].mean(), atol=1e-6)
    q = model.encode(x)
    assert q.batch_shape == (20,) and q.event_shape == (8,)


def test_mixed_precision_trains(train):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small_model(3, skip=True, ladder=True)
        model.compile("sgd", jit_compile=False)
        losses = model.fit(train, batch_size=20, epochs=2, verbose=0).history["loss"]
        weights = model.log_weights(train[:4], 3)
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(losses).all() and weights.dtype == tf.float32


def test_skips_are_for_latent_variables_of_one_axis():
    with pytest.raises(ValueError, match=r"Expected latent variables of one axis with skip=True. Received: \[.2, 2"):
        iwae_tf.IWAE(
            [layers.IndependentNormal((2, 2)), layers.IndependentNormal(3)],
            [layers.IndependentNormal((2, 2)), layers.IndependentBernoulli((8, 8, 1))],
            layers.StandardNormal(3),
            skip=True,
        )
