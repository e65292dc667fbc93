"""Networks of the box and of a user's own, inside stochastic layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import iwae_tf
from iwae_tf import layers, networks, objectives, random

#: Each with the shape of its input and that of its output.
NETWORKS = [
    (networks.ResidualMLP(5, depth=3), (7,), (5,)),
    (networks.ResidualMLP(5, activation="tanh"), (4, 4, 1), (5,)),
    (networks.ConvEncoder((2, 3)), (8, 8, 1), (2, 2, 3)),
    (networks.ConvEncoder((2, 3, 4), kernel_size=5), (28, 28, 1), (4, 4, 4)),
    (networks.ConvDecoder((8, 8, 1), (3, 2)), (6,), (8, 8, 2)),
    (networks.ConvDecoder((28, 28, 1), (4, 3, 2)), (6,), (28, 28, 2)),
    (networks.ConvDecoder((7, 10, 3), (3, 2), activation="tanh"), (2, 2, 4), (7, 10, 2)),
]


def again(network, **changes):
    return type(network).from_config({**network.get_config(), **changes})


def inputs(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


def conv_model(seed=0, filters=(4, 8), **kwargs):
    kwargs.setdefault("preprocessing", layers.StochasticBinarization())
    kwargs.setdefault("objective", objectives.ImportanceWeighted(5))
    return iwae_tf.conv((8, 8, 1), 6, filters, seed=seed, **kwargs)


@pytest.fixture(scope="module")
def train(digits):
    return np.concatenate(list(digits.train.as_numpy_iterator()))[:200]


@pytest.mark.parametrize(("network", "given", "expected"), NETWORKS, ids=lambda value: getattr(value, "name", None))
@pytest.mark.parametrize("policy", ["float32", "float64", "mixed_bfloat16"])
def test_shapes_and_precision(network, given, expected, policy):
    """As a network says they are, for a batch whose size is known at run time only."""
    network = again(network, dtype=policy)
    network.build((None, *given))
    compute = tf.function(network, input_signature=[tf.TensorSpec([None, *given])], jit_compile=True)
    assert compute(inputs(3, *given)).shape == (3, *expected)
    assert network(inputs(3, *given)).shape == (3, *expected)
    assert network.compute_output_shape((None, *given)) == (None, *expected)
    assert network(inputs(3, *given)).dtype == keras.DTypePolicy(policy).compute_dtype


@pytest.mark.parametrize(("network", "given", "expected"), NETWORKS, ids=lambda value: getattr(value, "name", None))
def test_config_and_seed(network, given, expected):
    """A stochastic layer's seed fixes the weights; no two weights start alike."""

    def weights(seed):
        layer = layers.IndependentNormal(3, network=again(network), seed=seed)
        layer = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        assert layer.network.get_config() == network.get_config()
        layer.build((None, *given))
        return [w.numpy() for w in layer.trainable_variables]

    first, second, other = weights(1), weights(1), weights(2)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    kernels = [w for w in first if w.any()]  # the rest, biases and the ends of residual blocks, starts at 0
    for i, kernel in enumerate(kernels):
        assert not any(np.array_equal(kernel, w) for w in [*kernels[:i], *other])


def test_residual_blocks_start_as_the_identity_and_are_what_they_say():
    z = inputs(3, 4)
    network = networks.ResidualMLP(5, depth=2, activation="tanh")
    network.build((None, 4))
    _, first, *blocks, _ = network.chain
    h = z.numpy() @ first.kernel + first.bias
    np.testing.assert_allclose(network(z), np.tanh(h), atol=1e-6)
    rng = np.random.default_rng(0)
    for i, block in enumerate(blocks):
        block.outer.kernel.assign(rng.normal(size=(5, 5)))
        block.outer.bias.assign(np.full(5, i + 1))
        h = h + np.tanh(np.tanh(h) @ block.inner.kernel + block.inner.bias) @ block.outer.kernel + block.outer.bias
    np.testing.assert_allclose(network(z), np.tanh(h), atol=1e-5)


def test_head_of_feature_maps_is_a_1x1_convolution():
    """Against NumPy, for leading axes [k, batch]; the bias of every pixel starts at the logit of its mean."""
    mean = np.random.default_rng(0).uniform(0.1, 0.9, (7, 6, 1)).astype(np.float32)
    network = networks.ConvDecoder((7, 6, 1), (3, 2))
    layer = layers.IndependentBernoulli((7, 6, 1), mean=mean, network=network, seed=0)
    layer.build((None, 4))
    (head,) = layer.heads
    assert head.kernel.shape == (2, 1) and head.bias.shape == (7, 6, 1)
    np.testing.assert_allclose(head.bias, np.log(mean / (1 - mean)), rtol=1e-4)
    z = inputs(5, 3, 4)
    p = layer(z)
    assert p.batch_shape == (5, 3)
    maps = network(tf.reshape(z, [15, 4])).numpy()
    logits = np.einsum("nhwc,cd->nhwd", maps, head.kernel.numpy()) + head.bias.numpy()
    np.testing.assert_allclose(p.mean(), 1 / (1 + np.exp(-logits.reshape(5, 3, 7, 6, 1))), atol=1e-6)


@pytest.mark.parametrize("event_shape", [(8, 7, 1), (5,)])
def test_head_of_other_features_is_dense(event_shape):
    layer = layers.IndependentNormal(event_shape, network=networks.ConvDecoder((8, 8, 1), (3, 2)))
    layer.build((None, 4))
    assert layer.heads[0].kernel.shape == (8 * 8 * 2, np.prod(event_shape))
    assert layer(inputs(5, 3, 4)).mean().shape == (5, 3, *event_shape)


class Halves(keras.layers.Layer):
    """A user's own network, without weights and without `compute_output_shape`."""

    def call(self, inputs):
        return inputs[..., ::2]


def test_networks_of_a_users_own():
    for network in (Halves(), keras.Sequential([Halves(), keras.layers.Dense(3)])):
        layer = layers.IndependentNormal(2, network=network)
        assert layer(inputs(5, 3, 6)).batch_shape == (5, 3)
        assert layer.heads[0].kernel.shape == (3, 2)


def test_eager_graph_and_xla_give_the_same_numbers(x):
    histories = []
    for mode in ({"run_eagerly": True}, {"jit_compile": False}, {"jit_compile": True}):
        model = conv_model()
        model.compile(keras.optimizers.SGD(1e-2), **mode)
        histories.append(model.fit(x, batch_size=10, verbose=0).history)
    for other in histories[1:]:
        for name, values in histories[0].items():
            np.testing.assert_allclose(values, other[name], rtol=1e-3, err_msg=name)


def test_convolutions_leave_xla_to_the_gpu():
    model = conv_model()
    model.compile("sgd")
    assert model.jit_compile == bool(tf.config.list_logical_devices("GPU"))


def test_same_seed_same_weights():
    one, same, other = conv_model(3), conv_model(3), conv_model(4)
    for a, b in zip(one.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_precisions_train(train, policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = conv_model(objective=objectives.ImportanceWeighted(5, "doubly_reparameterized"))
        model.compile("sgd", jit_compile=False)
        losses = model.fit(train, batch_size=20, epochs=2, verbose=0).history["loss"]
        weights = model.log_weights(train[:4], 3)
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(losses).all() and weights.dtype == (tf.float64 if policy == "float64" else tf.float32)


def test_training_and_round_trips(digits, x, tmp_path):
    """Ten epochs of digits beat independent pixels by a margin; `.keras` and SavedModel give the same scores."""
    model = conv_model(filters=(16, 32), mean=digits.mean)
    model.compile(keras.optimizers.Adam(3e-3), jit_compile=False)
    history = model.fit(digits.train, validation_data=digits.validation, epochs=10, verbose=0).history
    mean = np.clip(digits.mean, 0.001, 0.999)
    independent = -np.sum(digits.mean * np.log(mean) + (1 - digits.mean) * np.log1p(-mean))
    assert history["val_loss"][-1] < independent - 2
    model.save(tmp_path / "m.keras")
    scores = model.log_likelihood(x, 20, seed=0)
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded.log_likelihood(x, 20, seed=0), scores)
    loaded.fit(x, verbose=0)
    served = tf.saved_model.load(str(iwae_tf.export(model, tmp_path / "m", 20))).signatures
    np.testing.assert_array_equal(served["serving_default"](x=tf.constant(x))["log_likelihood"], scores)
    z = random.normal([3, 6], random.as_seed(0))
    np.testing.assert_allclose(served["decode"](z=z)["mean"], model.decoder[0](z).mean(), atol=1e-6)
    assert model.reconstruct(x).shape == x.shape and model.sample(2).shape == (2, 8, 8, 1)


def test_mnist_shaped_images_train():
    x = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 1), dtype=np.uint8)
    model = iwae_tf.conv((28, 28, 1), 3, filters=(2, 3), objective=objectives.ImportanceWeighted(2),
                         preprocessing=layers.StochasticBinarization(), seed=0)  # fmt: skip
    model.compile("sgd", jit_compile=False)
    assert np.isfinite(model.fit(x, verbose=0).history["loss"]).all()


def test_bad_arguments():
    for kind, name in ((networks.ConvEncoder, "filters"), (networks.ConvEncoder, "kernel_size")):
        with pytest.raises(ValueError, match=f"{name} must be a positive integer"):
            kind(**{name: 0})
    with pytest.raises(ValueError, match="at least one convolution"):
        networks.ConvEncoder(())
    with pytest.raises(ValueError, match=r"\(height, width, channels\)"):
        networks.ConvDecoder((28, 28))
    with pytest.raises(ValueError, match=r"Expected images .*Received: shape \(None, 7\)"):
        networks.ConvEncoder().build((None, 7))
    for arguments in ({"width": 0}, {"width": 3, "depth": 0}, {"width": 2.5}):
        with pytest.raises(ValueError, match=r"(width|depth) must be a positive integer"):
            networks.ResidualMLP(**arguments)
    with pytest.raises(ValueError, match=r"\(height, width, channels\)"):
        iwae_tf.conv((64,))
