import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf import layers, random
from iwae_tf.layers.base import emit
from iwae_tf.layers.bernoulli import BernoulliProduct
from iwae_tf.layers.normal import Normal

LAYERS = [
    layers.IndependentNormal(3, hidden=(4,)),
    layers.IndependentNormal((2, 2), hidden=()),
    layers.IndependentBernoulli(3, hidden=(5, 4), activation="relu"),
    layers.IndependentBernoulli((2, 2, 1), mean=0.3),
]


def inputs(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_leading_axes_are_restored(layer):
    layer = type(layer).from_config(layer.get_config())
    z = inputs(5, 4, 6)
    distribution = layer(z)
    assert distribution.batch_shape == (5, 4) and distribution.event_shape == layer.event_shape
    one_by_one = tf.stack([layer(z[i]).mean() for i in range(5)])
    np.testing.assert_allclose(distribution.mean(), one_by_one, atol=1e-6)


def test_images_are_flattened():
    assert layers.IndependentNormal(3, hidden=(4,))(inputs(7, 8, 8, 1)).batch_shape == (7,)


def test_built_by_shape_knows_the_event():
    layer = layers.IndependentNormal(3, hidden=(4,))
    layer.build((None, 4, 4))
    assert layer(inputs(7, 4, 4)).batch_shape == (7,)
    assert layer(inputs(2, 7, 4, 4)).batch_shape == (2, 7)
    with pytest.raises(ValueError, match=r"Expected .* to receive \[..., 4, 4\]"):
        layer(inputs(7, 4, 5))


def test_unknown_batch_in_a_graph():
    layer = layers.IndependentNormal(3, hidden=(4,))
    layer.build((None, 6))
    mean = tf.function(lambda z: layer(z).mean(), input_signature=[tf.TensorSpec([5, None, 6])])
    np.testing.assert_allclose(mean(inputs(5, 4, 6)), layer(inputs(5, 4, 6)).mean(), atol=1e-6)


def test_parameters_are_those_of_the_network():
    layer = layers.IndependentNormal(2, hidden=(4,))
    z = inputs(3, 6)
    q = layer(z)
    h = np.tanh(z @ layer.perceptron[0].kernel + layer.perceptron[0].bias)
    loc, log_scale = (h @ head.kernel + head.bias for head in layer.heads)
    np.testing.assert_allclose(q.mean(), loc, atol=1e-6)
    np.testing.assert_allclose(q.stddev(), np.exp(log_scale), rtol=1e-5)


def test_convolutional_network_gets_merged_images():
    network = keras.Sequential([keras.layers.Conv2D(2, 3), keras.layers.ReLU()])
    layer = layers.IndependentNormal(3, network=network)
    layer.build((None, 8, 8, 1))
    assert layer(inputs(5, 4, 8, 8, 1)).batch_shape == (5, 4)
    assert layer.heads[0].kernel.shape == (2 * 6 * 6, 3)


@pytest.mark.parametrize("layer", [*LAYERS, layers.StandardNormal(3), layers.StochasticBinarization("threshold")])
def test_config_round_trip(layer):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()


def test_network_config_round_trip():
    layer = layers.IndependentNormal(3, network=keras.Sequential([keras.layers.Dense(2)]), seed=4)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.network.layers[0].units == 2 and again.seed == 4


def test_seed_fixes_the_initial_weights():
    def weights(seed):
        layer = layers.IndependentNormal(3, hidden=(4, 4), seed=seed)
        layer.build((None, 4))
        return [w.numpy() for w in layer.trainable_variables]

    for a, b in zip(weights(1), weights(1), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(weights(1), weights(2), strict=True))
    hidden = weights(1)
    assert (hidden[0] != hidden[2]).any(), "two layers of one shape must not start alike"


def test_output_bias_starts_at_the_logit_of_the_clipped_mean():
    mean = np.array([0.0, 0.25, 1.0], np.float32)
    layer = layers.IndependentBernoulli(3, mean=mean)
    layer.build((None, 2))
    clipped = np.array([0.001, 0.25, 0.999])
    np.testing.assert_allclose(layer.heads[0].bias, np.log(clipped / (1 - clipped)), rtol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("event_shape", [(5,), (8, 8, 1), (7, 11), (3, 7, 2)])
def test_bernoulli_density_and_gradient_equal_tfps(event_shape, jit_compile):
    """Logits from -100 to 100, events in {0, 1} and between, of fewer axes, as many and more than the logits."""
    rng = np.random.default_rng(0)
    logits = tf.constant(rng.normal(size=(4, 3, *event_shape)) * 30, tf.float32)
    logits = tf.clip_by_value(
        tf.where(rng.uniform(size=logits.shape) < 0.2, 100.0 * tf.sign(logits), logits), -100, 100
    )
    ndims = len(event_shape)

    def ours():
        return BernoulliProduct(logits, ndims)

    def theirs():
        return tfd.Independent(tfd.Bernoulli(logits=logits), ndims)

    for leading in ((3,), (4, 3), (2, 4, 3)):
        x = tf.constant(rng.integers(0, 3, size=(*leading, *event_shape)) / 2, tf.float32)

        def value_and_gradients(make, x=x):
            with tf.GradientTape() as tape:
                tape.watch([x, logits])
                value = make().log_prob(x)
            return value, *tape.gradient(value, [x, logits])

        actual = tf.function(lambda f=value_and_gradients: f(ours), jit_compile=jit_compile)()
        for a, b in zip(actual, value_and_gradients(theirs), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-5)
    double = BernoulliProduct(tf.cast(logits, tf.float64), ndims).log_prob(tf.zeros([4, 3, *event_shape], tf.float64))
    np.testing.assert_allclose(double, theirs().log_prob(tf.zeros([4, 3, *event_shape])), rtol=1e-5)
    assert ours().sample(2, seed=(0, 1)).shape == (2, 4, 3, *event_shape)
    np.testing.assert_allclose(ours().mean(), theirs().mean())


@pytest.mark.parametrize("jit_compile", [False, True])
def test_normal_samples_and_density(jit_compile):
    q = Normal(tf.constant([1.0, -2.0]), tf.constant([0.5, 3.0]))
    n = 40_000  # five standard errors: one fixed seed in 0.4 million fails by chance
    z = tf.function(lambda seed: q.sample(n, seed=seed), jit_compile=jit_compile)(random.as_seed(0)).numpy()
    assert (abs(z.mean(0) - [1, -2]) < 5 * np.array([0.5, 3]) / n**0.5).all()
    assert (abs(z.std(0) / [0.5, 3] - 1) < 5 / (2 * n) ** 0.5).all()
    np.testing.assert_allclose(q.log_prob(z[:5]), tfd.Normal(q.loc, q.scale).log_prob(z[:5]), rtol=1e-6)


def test_standard_normal():
    prior = layers.StandardNormal(3)()
    np.testing.assert_allclose(prior.log_prob(tf.zeros([2, 3])), [-1.5 * np.log(2 * np.pi)] * 2, rtol=1e-6)


class Plain(keras.layers.Layer):
    """A user's own layer, which takes only [n, features]."""

    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(units)
        self.input_spec = keras.layers.InputSpec(ndim=2)

    def build(self, input_shape):
        self.dense.build(input_shape)

    def call(self, x):
        return tfd.Independent(tfd.Laplace(self.dense(x), 1.0), 1)


def test_emit_restores_the_axes_of_any_layer():
    layer = Plain()
    z = inputs(5, 4, 6)
    distribution = emit(layer, z, 1)
    assert distribution.batch_shape == (5, 4) and distribution.event_shape == (3,)
    np.testing.assert_allclose(distribution.mean()[2], layer(z[2]).mean(), atol=1e-6)
    with pytest.raises(TypeError, match=r"return a tfd.Distribution. Received: .*Tensor"):
        emit(keras.layers.Dense(3), z, 1)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float64"])
def test_densities_are_in_the_precision_of_the_variables(policy):
    q = layers.IndependentNormal(3, hidden=(4,), dtype=policy)(inputs(5, 6))
    assert q.dtype == (tf.float64 if policy == "float64" else tf.float32)


@pytest.mark.parametrize("event_shape", [0, -1, (), (2, 0), 2.5, "3", None, (None, 2)])
def test_bad_event_shape(event_shape):
    with pytest.raises(ValueError, match=r"Expected an event_shape|event_shape must be a positive integer"):
        layers.IndependentNormal(event_shape)


def test_bad_arguments():
    with pytest.raises(TypeError, match="network= to be a Keras layer"):
        layers.IndependentNormal(2, network="mlp")
    with pytest.raises(ValueError, match="hidden must be a positive integer"):
        layers.IndependentNormal(2, hidden=(3, 0))
    with pytest.raises(ValueError, match=r"mean in \[0, 1\]"):
        layers.IndependentBernoulli(2, mean=[0.5, 2.0])
    with pytest.raises(ValueError, match="shape"):
        layers.IndependentBernoulli(2, mean=[0.5, 0.5, 0.5])
