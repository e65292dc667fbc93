import keras
import numpy as np
import pytest
import tensorflow as tf

from iwae_tf import objectives

ALL = [
    objectives.ELBO(),
    objectives.ELBO(num_samples=4, beta=2.0, analytic_kl=True),
    objectives.ImportanceWeighted(5),
    objectives.ImportanceWeighted(5, gradient="path"),
    objectives.ImportanceWeighted(5, gradient="doubly_reparameterized"),
]


def log_weights(k=5, batch=3, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=(k, batch)) * 3, tf.float32)


@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_bounds_equal_their_definitions(jit_compile):
    lw = log_weights()
    wrap = (lambda f: f) if jit_compile is None else lambda f: tf.function(f, jit_compile=jit_compile)
    exact = np.log(np.mean(np.exp(lw.numpy().astype(np.float64)), 0))
    np.testing.assert_allclose(wrap(objectives.ImportanceWeighted(5).bound)(lw), exact, rtol=1e-5)
    np.testing.assert_allclose(wrap(objectives.ELBO(5).bound)(lw), lw.numpy().mean(0), rtol=1e-5)


def test_reported_bound_is_not_the_surrogate():
    """sum w~ log w is too high by log k less the entropy of w~: a mistake of published implementations."""
    lw = log_weights()
    w = tf.nn.softmax(lw, 0).numpy()
    entropy = -(w * np.log(w)).sum(0)
    surrogate = (w * lw.numpy()).sum(0)
    bound = objectives.ImportanceWeighted(5).bound(lw).numpy()
    np.testing.assert_allclose(surrogate - bound, np.log(5) - entropy, rtol=1e-4)


def test_one_sample_is_the_elbo():
    lw = log_weights(k=1)
    np.testing.assert_allclose(objectives.ImportanceWeighted(1).bound(lw), objectives.ELBO(1).bound(lw), rtol=1e-6)


def test_gradient_of_the_bound_is_the_normalized_weights():
    lw = log_weights()
    with tf.GradientTape() as tape:
        tape.watch(lw)
        bound = tf.reduce_sum(objectives.ImportanceWeighted(5).bound(lw))
    np.testing.assert_allclose(tape.gradient(bound, lw), tf.nn.softmax(lw, 0), rtol=1e-5)


def test_path_weights():
    lw = log_weights()
    assert objectives.ImportanceWeighted(5).path_weights is None
    np.testing.assert_array_equal(objectives.ImportanceWeighted(5, "path").path_weights(lw), np.ones((5, 3)))
    doubly = objectives.ImportanceWeighted(5, "doubly_reparameterized").path_weights(lw)
    np.testing.assert_allclose(doubly, tf.nn.softmax(lw, 0))


@pytest.mark.parametrize("value", [1e4, -1e4])
def test_extreme_weights_and_ties_stay_finite(value):
    lw = tf.constant([[value, value], [value, -value]])
    for objective in ALL:
        with tf.GradientTape() as tape:
            tape.watch(lw)
            bound = objective.bound(lw)
        assert np.isfinite(bound).all() and np.isfinite(tape.gradient(bound, lw)).all()


@pytest.mark.parametrize("objective", ALL, ids=repr)
def test_serialization(objective):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(objective))
    assert again == objective and hash(again) == hash(objective) and repr(again) == repr(objective)
    assert again != objectives.ELBO(num_samples=99)


@pytest.mark.parametrize("name", sorted(objectives.NAMES))
def test_names(name):
    assert objectives.get(name, 7).num_particles == 7


@pytest.mark.parametrize("k", [0, -1, 2.5, True, "3", None])
def test_bad_number_of_samples(k):
    for make in (objectives.ImportanceWeighted, objectives.ELBO):
        with pytest.raises(ValueError, match="num_samples to be an integer of at least 1"):
            make(k)


def test_bad_arguments():
    with pytest.raises(ValueError, match="reparameterized, path, doubly_reparameterized"):
        objectives.ImportanceWeighted(5, gradient="dreg")
    with pytest.raises(ValueError, match="beta"):
        objectives.ELBO(beta=-1)
    with pytest.raises(ValueError, match="dreg, elbo, iwae, stl"):
        objectives.get("vae", 5)
