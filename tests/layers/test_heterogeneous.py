import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import iwae_tf
from iwae_tf import layers, objectives, random
from iwae_tf.layers.heterogeneous import MIN_SCALE, CategoricalDistribution

COLUMNS = (
    layers.Column("colour", "category", categories=("red", "green", "blue")),
    layers.Column("weight", "positive", loc=2.0, scale=0.5),
    layers.Column("year", "real", loc=2000.0, scale=10.0),
    layers.Column("ill", "binary"),
    layers.Column("visits", "count", loc=1.0, scale=0.7),
    layers.Column("age", "real", loc=-3.0, scale=2.0),
    layers.Column("shape", "category", categories=("round", "square")),
)
X = np.array([[2, 7.5, 1998, 1, 4, -2.5, 0], [0, 11, 2010, 0, 0, -6, 1], [1, 5, 2001.5, 1, 2, 0, 1]], np.float32)
HOLES = X.copy()
HOLES[1, [0, 2, 3]] = HOLES[2] = np.nan


def made(columns=COLUMNS, leading=(4, 3), **kwargs):
    """A layer, the values of its heads, and a function that makes its distribution."""
    layer = layers.Heterogeneous(columns, seed=0, **kwargs)
    z = tf.constant(np.random.default_rng(0).normal(size=(*leading, 6)), tf.float32)
    layer.build((None, 6))
    heads = layer.compute_parameters(tf.reshape(z, [-1, 6]), list(leading))
    return layer, {name: head.numpy() for name, head in heads.items()}, lambda: layer(z)


def reference(heads, x):
    """Densities of the single columns, by SciPy: `[4, 3, 7]`."""
    x = x.astype(np.float64)
    real, spread = heads["real_loc"], MIN_SCALE + np.exp(heads["real_log_scale"])
    positive = 2 + 0.5 * heads["positive_loc"][..., 0]
    colour, shape = heads["category_logits"][..., 0, :], heads["category_logits"][..., 1, :2]
    ill = 1 / (1 + np.exp(-heads["binary_logits"][..., 0]))
    rate = np.exp(1 + 0.7 * heads["count_log_rate"][..., 0])

    def category(logits, codes):
        logits = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        codes = np.broadcast_to(np.nan_to_num(codes).astype(int), logits.shape[:-1])
        return np.take_along_axis(logits, codes[..., np.newaxis], -1)[..., 0]

    entries = [
        category(colour, x[:, 0]),
        stats.lognorm.logpdf(
            x[:, 1], 0.5 * (MIN_SCALE + np.exp(heads["positive_log_scale"][..., 0])), scale=np.exp(positive)
        ),
        stats.norm.logpdf(x[:, 2], 2000 + 10 * real[..., 0], 10 * spread[..., 0]),
        stats.bernoulli.logpmf(np.nan_to_num(x[:, 3]), ill),
        stats.poisson.logpmf(np.nan_to_num(x[:, 4]), rate),
        stats.norm.logpdf(x[:, 5], -3 + 2 * real[..., 1], 2 * spread[..., 1]),
        category(shape, x[:, 6]),
    ]
    return np.stack(entries, -1)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_density_is_the_sum_over_the_columns_that_are_there(jit_compile):
    _, heads, distribution = made()
    density = tf.function(lambda x: distribution().log_prob(x), jit_compile=jit_compile)
    for x in (X, HOLES):
        log_prob = density(tf.constant(x))
        expected = np.where(np.isnan(x), 0, reference(heads, x)).sum(-1)
        np.testing.assert_allclose(log_prob, expected, rtol=2e-5, atol=2e-5)
    assert (log_prob.numpy()[:, 2] == 0).all(), "nothing is there"
    assert distribution().batch_shape == (4, 3) and distribution().event_shape == (7,)


@pytest.mark.parametrize("kind", ["real", "positive", "count", "binary", "category"])
def test_tables_of_one_kind(kind):
    """The density of a whole table is the sum of those of its parts by kind."""
    layer, heads, _ = made()
    places = [i for i, column in enumerate(COLUMNS) if column.kind == kind]
    part = layers.Heterogeneous([COLUMNS[i] for i in places])
    assert set(part.parameters) == {name for name in layer.parameters if name.startswith(kind)}
    log_prob = part.distribution(**{name: tf.constant(heads[name]) for name in part.parameters}).log_prob(X[:, places])
    np.testing.assert_allclose(log_prob, reference(heads, X)[..., places].sum(-1), rtol=1e-4, atol=1e-4)


def test_moments_of_samples():
    """Five standard errors of the mean in each of 7 columns at a fixed seed: a false alarm in 2e5."""
    _, heads, distribution = made(leading=(1,))
    n = 40_000
    x = distribution().sample(n, seed=random.as_seed(0)).numpy()[:, 0]
    logits = heads["category_logits"][0]
    probs = [np.exp(row[:k]) / np.exp(row[:k]).sum() for row, k in zip(logits, (3, 2), strict=True)]
    for place, p in ((0, probs[0]), (6, probs[1])):
        for code, expected in enumerate(p):
            assert abs((x[:, place] == code).mean() - expected) < 5 * (expected * (1 - expected) / n) ** 0.5
    mean = distribution().mean().numpy()[0]
    assert mean[0] == probs[0].argmax() and mean[6] == probs[1].argmax()
    others = x[:, 1:6]
    assert (abs(others.mean(0) - mean[1:6]) < 5 * others.std(0) / n**0.5).all()
    real = MIN_SCALE + np.exp(heads["real_log_scale"][0])
    np.testing.assert_allclose(others.std(0)[[1, 4]] / [10, 2], real, rtol=5 / (2 * n) ** 0.5)


def test_draws_are_the_same_compiled_and_not():
    """But for the counts, which TFP draws."""
    columns = [column for column in COLUMNS if column.kind != "count"]

    _, _, distribution = made(columns)

    def draw():
        return distribution().sample(seed=random.as_seed(1))

    np.testing.assert_allclose(draw(), tf.function(draw, jit_compile=True)(), rtol=1e-4)


def test_averaged_expectations_make_a_row():
    """Numbers are averaged; of a category, the class of the largest mean probability is taken, not a mean of codes."""
    _, heads, make = made()
    distribution = make()
    expectations = distribution.expectations()
    np.testing.assert_array_equal(distribution.to_rows(expectations), distribution.mean())
    averaged = tf.reduce_mean(expectations, [0, 1])
    row = distribution.to_rows(averaged).numpy()
    np.testing.assert_allclose(row[1:6], distribution.mean().numpy()[..., 1:6].mean((0, 1)), rtol=1e-4)
    probs = np.exp(heads["category_logits"][..., 0, :])
    probs /= probs.sum(-1, keepdims=True)
    assert row[0] == probs.mean((0, 1)).argmax()
    codes = CategoricalDistribution(tf.constant([[9.0, 0, 0], [0, 0, 9.0], [0, 0.1, 9.0]]), dtype=tf.float32)
    assert tf.argmax(tf.reduce_mean(codes.probs_parameter(), 0)) == 2 != round(float(tf.reduce_mean(codes.mean())))


def test_features():
    features = layers.TableFeatures(COLUMNS)
    assert features.compute_output_shape((None, 7)) == (None, 17)
    seen = features(HOLES).numpy()
    assert seen.shape == (3, 17) and seen.dtype == np.float32
    first = [-0.2, 0.25, (np.log(7.5) - 2) / 0.5, (np.log(5) - 1) / 0.7, 1, 0, 0, 1, 1, 0]
    np.testing.assert_allclose(seen[0], [*first, *[0] * 7], rtol=1e-4)
    second = [0, -1.5, (np.log(11) - 2) / 0.5, -1 / 0.7, 0, 0, 0, 0, 0, 1]
    np.testing.assert_allclose(seen[1], [*second, 1, 0, 1, 1, 0, 0, 0], rtol=1e-4)
    np.testing.assert_array_equal(seen[2], [0] * 10 + [1] * 7)


@pytest.mark.parametrize("layer", [layers.Heterogeneous(COLUMNS, hidden=(4,)), layers.TableFeatures(COLUMNS)])
def test_config_round_trip(layer):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config() and again.columns == COLUMNS


def test_ways_to_name_columns():
    named = {"a": "real", "b": {"kind": "category", "categories": ["x", "y"]}}
    expected = (layers.Column("a", "real"), layers.Column("b", "category", categories=("x", "y")))
    assert layers.Heterogeneous(named).columns == layers.TableFeatures(list(expected)).columns == expected
    assert layers.Heterogeneous([dataclasses.asdict(column) for column in expected]).columns == expected


def table_model(columns=COLUMNS):
    model = iwae_tf.tabular(columns, (2,), [(8,)], objective=objectives.ImportanceWeighted(5), seed=0)
    model.compile("sgd")
    return model


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_precision(policy):
    """A column of years has no meaning in eight bits: the features are of the data as they are."""
    keras.config.set_dtype_policy(policy)
    try:
        model = table_model(COLUMNS[2:4])
        history = model.fit(np.tile(HOLES[:, 2:4], (5, 1)), epochs=2, verbose=0).history
        assert np.isfinite(history["loss"]).all()
        seen = []
        reader = model.encoder[0].network.first
        reader.call = lambda x, call=reader.call: seen.append(call(x)) or seen[-1]
        model.encode(X[:, 2:4])
        np.testing.assert_allclose(seen[0][:, 0], [-0.2, 1, 0.15], rtol=1e-3)
    finally:
        keras.config.set_dtype_policy("float32")


def test_rows_are_dreamt():
    model = table_model(COLUMNS[3:5])
    model.objective = objectives.ReweightedWakeSleep(5, sleep=0.5)
    assert np.isfinite(model.fit(np.tile(HOLES[:, 3:5], (5, 1)), epochs=2, verbose=0).history["loss"]).all()


def test_compiled_equals_eager():
    losses = []
    for compile_args in ({"run_eagerly": True}, {"jit_compile": True}):
        model = table_model()
        model.compile(keras.optimizers.SGD(1e-2), **compile_args)
        losses.append(model.fit(np.tile(HOLES, (2, 1)), epochs=2, verbose=0).history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.parametrize(
    "column, value", [(0, 3), (0, 0.5), (1, 0), (2, np.inf), (3, 2), (4, -1), (4, 1.5), (6, 2), (6, -1)]
)
def test_values_of_another_kind(column, value):
    x = HOLES.copy()
    x[0, column] = value
    with pytest.raises(ValueError, match="finite numbers" if value == np.inf else f"column '{COLUMNS[column].name}'"):
        table_model().fit(x, verbose=0)


BAD = {
    "none": ([], "at least one column"),
    "twice": ([layers.Column("a", "real")] * 2, "a different name for each"),
    "kind": ({"a": "text"}, "real, positive, count, binary, category. Received: 'text'"),
    "one category": ({"a": {"kind": "category", "categories": ["x"]}}, "two or more different categories"),
    "categories of a number": ({"a": {"kind": "real", "categories": ["x", "y"]}}, "none for another kind"),
    "scale": ({"a": {"kind": "real", "scale": 0.0}}, "positive scale"),
}


@pytest.mark.parametrize("layer", [layers.Heterogeneous, layers.TableFeatures])
@pytest.mark.parametrize("case", BAD)
def test_bad_columns(layer, case):
    columns, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        layer(columns)
