import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from iwae_tf import layers, random


def test_as_seed_takes_integers_and_pairs():
    np.testing.assert_array_equal(random.as_seed(7), [7, 0])
    np.testing.assert_array_equal(random.as_seed(2**32 + 1), [1, 1])
    np.testing.assert_array_equal(random.as_seed((3, 4)), [3, 4])
    assert random.as_seed(np.int64(5)).dtype == tf.int32


@pytest.mark.parametrize("seed", [None, "0", 1.5, True, (1, 2, 3), [0.5, 1.0], 2**64])
def test_as_seed_rejects_others(seed):
    with pytest.raises(ValueError, match="Expected a seed"):
        random.as_seed(seed)


def test_next_seed_advances():
    generator = keras.random.SeedGenerator(3)
    np.testing.assert_array_equal(random.next_seed(generator), [3, 0])
    np.testing.assert_array_equal(random.next_seed(generator), [3, 1])


def test_derive_is_reproducible_and_keeps_none():
    assert random.derive(0, 1) == random.derive(0, 1) != random.derive(0, 2)
    assert random.derive(None, 1) is None


@pytest.mark.parametrize("jit_compile", [False, True])
def test_draws_have_the_right_moments(jit_compile):
    n = 100_000  # at a fixed seed; |error| < 5 standard errors fails one seed in 1.7 million
    draw = tf.function(lambda f, seed: f([n], seed), jit_compile=jit_compile)
    seed = random.as_seed(1)
    z, u = draw(random.normal, seed).numpy(), draw(random.uniform, seed).numpy()
    assert abs(z.mean()) < 5 / n**0.5
    assert abs(z.var() - 1) < 5 * (2 / n) ** 0.5
    assert abs(u.mean() - 0.5) < 5 * (1 / 12 / n) ** 0.5
    assert u.min() >= 0 and u.max() < 1
    folded = draw(random.normal, random.fold_in(seed, 1)).numpy()
    assert abs(np.corrcoef(z, folded)[0, 1]) < 5 / n**0.5


@pytest.mark.parametrize("jit_compile", [None, False, True])
@pytest.mark.parametrize("seed", [(0, 0), (-5, 7), (2**31 - 1, -(2**31))])
def test_integers_are_those_of_tensorflow(seed, jit_compile):
    def draw_both(seed):
        uniform = functools.partial(tf.random.stateless_uniform, minval=None, maxval=None, alg="philox")
        draws = [
            (random.draw_integers(shape, seed, dtype), uniform(shape, seed, dtype=dtype))
            for dtype in (tf.int32, tf.uint32, tf.int64, tf.uint64)
            for shape in ([], [7, 1])
        ]
        return [*draws, (random.fold_in(seed, 3), tf.random.fold_in(seed, 3, alg="philox"))]

    function = draw_both if jit_compile is None else tf.function(draw_both, jit_compile=jit_compile)
    for own, expected in function(tf.constant(seed)):
        np.testing.assert_array_equal(own, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("draw", [random.uniform, random.normal])
def test_draws_are_the_same_compiled_and_not(draw, dtype):
    seed = random.as_seed((3, 4))
    eager = draw([50, 7], seed, dtype)
    assert eager.dtype == dtype
    for jit_compile in (False, True):
        compiled = tf.function(lambda seed: draw([50, 7], seed, dtype), jit_compile=jit_compile)(seed)
        np.testing.assert_allclose(compiled, eager, rtol=1e-4, atol=1e-6)


def test_normal_has_the_tails_of_a_normal():
    from scipy import stats

    z = random.normal([200_000], random.as_seed(0)).numpy()
    assert np.isfinite(z).all()
    assert stats.kstest(z, "norm").pvalue > 1e-4  # at a fixed seed; false alarm 1e-4
    assert 4 < abs(z).max() < 6


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(("dtype", "bits", "end"), [("float32", 23, 5.166578), ("float64", 52, 8.125891)])
def test_no_bits_give_an_infinite_normal(jit_compile, dtype, bits, end, monkeypatch):
    """The first and the last of the mantissas, which a test of moments would hardly meet."""
    ends = np.array([0, 2**bits - 1], f"uint{8 * np.dtype(dtype).itemsize}")
    monkeypatch.setattr(random, "_bits", lambda shape, *_: shape)
    draw = tf.function(lambda ends: random.normal(ends, None, dtype), jit_compile=jit_compile)
    np.testing.assert_allclose(draw(tf.constant(ends)), [-end, end], rtol=1e-4)


@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_indices_come_with_their_probabilities(jit_compile):
    """Each of 24 frequencies within 5 standard deviations: false alarm below 2e-5. What has no weight never comes."""
    log_weights = tf.constant([[0.0, 1e4], [1.0, -1e4], [2.0, 1e4], [-200.0, -1e4]])
    draw = lambda: random.categorical(log_weights, random.as_seed(3), 20_000)  # noqa: E731
    indices = (draw if jit_compile is None else tf.function(draw, jit_compile=jit_compile))().numpy()
    np.testing.assert_array_equal(indices, draw())
    frequencies = np.array([(indices == i).mean(0) for i in range(4)])
    p = tf.nn.softmax(log_weights, 0).numpy()
    assert indices.dtype == np.int32 and (abs(frequencies - p) <= 5 * np.sqrt(p * (1 - p) / 20_000)).all()


def test_an_index_of_one():
    np.testing.assert_array_equal(random.categorical(tf.zeros([1, 3]), random.as_seed(0), 2), np.zeros((2, 3)))


def test_distributions_take_the_seeds_of_tfp(model, x):
    """None draws anew, an integer goes with the global seed: as users of TFP sample."""
    q = model.encode(x)
    assert not np.array_equal(q.sample(), q.sample())
    draws = []
    for _ in range(2):
        tf.random.set_seed(3)
        draws.append([q.sample(seed=5), q.sample()])
    np.testing.assert_array_equal(*draws)
    assert np.isfinite(model.prior().sample(2)).all()


@pytest.mark.parametrize(
    "layer",
    [
        layers.NormalMixture(2, num_components=2),
        layers.DiscretizedLogistic(2, num_components=2),
        layers.Heterogeneous({"a": "real", "b": "count"}),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_draws_without_a_seed(layer):
    """Distributions that draw in several steps draw anew at every call, like those of TFP."""
    distribution = layer(tf.zeros([50, 3]))
    first, second = distribution.sample(), distribution.sample()
    assert np.any(first != second)
