"""Models of richer posteriors and priors: whatever a model can do, it does with each of them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import iwae_tf
from iwae_tf import layers, objectives

XLA = True
#: The posterior of every layer, the prior, and the number of layers.
CASES = {
    "full covariance, Gaussian mixture": (
        layers.MultivariateNormalTriL,
        lambda n: layers.GaussianMixture(n, 4, learned_weights=True),
        2,
    ),
    "mixtures, VampPrior": (
        lambda n, **kwargs: layers.NormalMixture(n, 3, **kwargs),
        lambda n: layers.VampPrior(6, "sigmoid"),
        2,
    ),
}
OBJECTIVES = [
    objectives.ImportanceWeighted(6, "doubly_reparameterized"),
    objectives.ImportanceWeighted(6, backward_samples=2),
    objectives.ReweightedWakeSleep(6, sleep=0.5),
]


def make(name, objective=None, **kwargs):
    posterior, prior, num_layers = CASES[name]
    sizes = [6, 4][:num_layers]
    return iwae_tf.IWAE(
        encoder=[posterior(n, hidden=(16,), **kwargs) for n in sizes],
        decoder=[
            *(layers.IndependentNormal(n, hidden=(16,), **kwargs) for n in reversed(sizes[:-1])),
            layers.IndependentBernoulli((8, 8, 1), hidden=(16,), **kwargs),
        ],
        prior=prior(sizes[-1]),
        objective=objective or objectives.ImportanceWeighted(6),
        preprocessing=layers.StochasticBinarization(),
        seed=0,
    )


@pytest.fixture(scope="module", params=CASES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def fitted(name, digits):
    """A model trained on digits for three epochs, and its history. Not to be trained further."""
    model = make(name)
    model.compile(keras.optimizers.Adam(3e-3))
    return model, model.fit(digits.train, epochs=3, verbose=0).history


def test_training_moves_every_variable_and_the_bound(fitted, name):
    model, history = fitted
    assert model.jit_compile, "XLA compiled it"
    assert history["loss"][-1] < history["loss"][0] - 0.5
    for before, after in zip(make(name).trainable_variables, model.trainable_variables, strict=True):
        assert np.any(before.numpy() != after.numpy()), before.path


def test_save_and_load(fitted, x, tmp_path):
    model, _ = fitted
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.log_weights(x, 5, seed=1), model.log_weights(x, 5, seed=1))
    np.testing.assert_array_equal(again.sample(7, seed=1), model.sample(7, seed=1))


def test_export(fitted, x, tmp_path):
    model, _ = fitted
    loaded = tf.saved_model.load(str(iwae_tf.export(model, tmp_path / "model", num_samples=50)))
    scores = loaded.signatures["serving_default"](x=tf.constant(x))
    np.testing.assert_allclose(scores["log_likelihood"], model.log_likelihood(x, 50, seed=0), rtol=1e-5)
    encoded = loaded.signatures["encode"](x=tf.constant(x))
    assert encoded["mean"].shape == encoded["stddev"].shape == (20, 6)
    assert (encoded["stddev"].numpy() > 0).all()
    sampled = loaded.signatures["sample"](seed=tf.constant([1, 0]), num_samples=tf.constant(7))["mean"]
    np.testing.assert_allclose(sampled, model.sample(7, seed=1), atol=1e-5)


def test_compiled_and_eager_weights_are_the_same(fitted, x):
    model, _ = fitted
    compiled = tf.function(lambda: model.log_weights(x, 5, seed=3), jit_compile=True, autograph=False)
    np.testing.assert_allclose(compiled(), model.log_weights(x, 5, seed=3), rtol=1e-4)


def test_likelihood_and_reconstruction(fitted, x):
    model, history = fitted
    assert model.reconstruct(x, seed=0).shape == x.shape
    scores = model.log_likelihood(x, 700, seed=0).numpy()
    assert np.isfinite(scores).all() and abs(scores.mean() + history["loss"][-1]) < 10


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_every_objective(name, x, objective):
    model = make(name, objective)
    model.compile("sgd")
    found = model._gradients(tf.constant(x))
    assert all(np.isfinite(g).all() for g in found) and all(np.any(g) for g in found)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_precisions(name, x, policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = make(name)
        model.compile(keras.optimizers.SGD(1e-2), jit_compile=policy == "mixed_bfloat16")
        loss = model.fit(x, batch_size=20, epochs=2, verbose=0).history["loss"]
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(loss).all()
    assert model.log_weights(x, 2, seed=0).dtype == (tf.float64 if policy == "float64" else tf.float32)


def test_config_round_trip(name):
    for layer in (make(name).encoder[-1], make(name).prior):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        assert type(again) is type(layer) and again.get_config() == layer.get_config()
