import keras
import numpy as np
import pytest
import tensorflow as tf

from iwae_tf.layers.masked import MADE


def inputs(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


def randomised(network, *shapes):
    """Builds a network and gives it weights none of which is 0."""
    network.build(*shapes)
    rng = np.random.default_rng(1)
    for v in network.trainable_variables:
        v.assign(rng.normal(size=v.shape))
    return network


def jacobian(network, z, context=None):
    """The derivatives of output o of variable i for variable j, `[outputs, i, j]`, of one row."""
    with tf.GradientTape() as tape:
        tape.watch(z)
        outputs = tf.stack(network(z, context), axis=1)
    return tape.batch_jacobian(outputs, z)[0].numpy()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("context_size", [None, 3])
@pytest.mark.parametrize("hidden", [(), (24,), (24, 17)])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_each_output_sees_exactly_the_variables_before_its_own(size, hidden, context_size, reverse):
    network = randomised(MADE(2, hidden, reverse=reverse), (None, size), context_size and (None, context_size))
    found = jacobian(network, inputs(1, size), context_size and inputs(1, context_size, seed=2))
    before = np.tril(np.ones((size, size)), -1)
    np.testing.assert_array_equal(found != 0, [before.T if reverse else before] * 2)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("size", [2, 5])
def test_two_groups_are_those_of_a_coupling_layer(size, reverse):
    network = randomised(MADE(1, (24,), num_groups=2, reverse=reverse), (None, size))
    found = jacobian(network, inputs(1, size))[0] != 0
    first = np.arange(size) < (size + 1) // 2
    first = first[::-1] if reverse else first
    np.testing.assert_array_equal(found, ~first[:, np.newaxis] & first)


@pytest.mark.parametrize("hidden", [(), (24, 17)])
@pytest.mark.parametrize("size", [1, 5])
def test_every_output_sees_the_context(size, hidden):
    network = randomised(MADE(2, hidden), (None, size), (None, 3))
    context = inputs(1, 3)
    with tf.GradientTape() as tape:
        tape.watch(context)
        outputs = tf.concat(network(inputs(1, size), context), axis=1)
    assert (tape.batch_jacobian(outputs, context).numpy() != 0).all()


def test_narrow_layers_spread_over_the_groups():
    network = MADE(1, (3,))
    network.build((None, 9))
    np.testing.assert_array_equal(network.masks[0].sum(0), [1, 4, 8])


def test_context_is_shared_by_the_samples():
    network = randomised(MADE(2, (8,)), (None, 4), (None, 3))
    z, context = inputs(6, 5, 4), inputs(5, 3, seed=1)
    evaluate = network.bind(context)
    for together, alone in zip(evaluate(z), zip(*(network(row, context) for row in z), strict=True), strict=True):
        np.testing.assert_allclose(together, tf.stack(alone), atol=1e-5)


def test_what_is_bound_keeps_its_weights():
    network = randomised(MADE(1, (8,)), (None, 4))
    evaluate, z = network.bind(), inputs(5, 4)
    before = evaluate(z)[0]
    for v in network.trainable_variables:
        v.assign(tf.zeros_like(v))
    np.testing.assert_array_equal(evaluate(z)[0], before)
    assert not network(z)[0].numpy().any()


def test_outputs_start_at_zero_and_the_seed_fixes_the_rest():
    def made(seed):
        network = MADE(2, (8, 8), seed=seed)
        network.build((None, 4), (None, 3))
        return network

    assert not any(output.numpy().any() for output in made(1)(inputs(5, 4), inputs(5, 3)))
    for a, b in zip(made(1).trainable_variables, made(1).trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (made(1).kernels[0].numpy() != made(2).kernels[0].numpy()).all()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_precision_of_the_outputs_is_that_of_the_weights(policy):
    network = randomised(MADE(2, (8,), dtype=policy), (None, 4), (None, 3))
    for output in network(inputs(5, 4), inputs(5, 3)):
        assert output.dtype == network.variable_dtype


def test_config_round_trip():
    network = MADE(2, (8,), "relu", num_groups=2, reverse=True, seed=3)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(network))
    assert again.get_config() == network.get_config()


@pytest.mark.parametrize("bad", [{"num_outputs": 0}, {"hidden": (3, -1)}, {"num_groups": 1.5}])
def test_bad_arguments(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))} must be a positive integer"):
        MADE(**{"num_outputs": 1, **bad})
