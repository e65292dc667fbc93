"""PixelCNN given z: what a pixel sees, exact probabilities, draws, and models with it."""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

import iwae_tf
from iwae_tf import layers, log_weights, objectives, random
from iwae_tf.layers.logistic import DiscretizedLogisticDistribution

SHAPE = (2, 3, 1)
#: All 64 binary images.
IMAGES = np.array(list(itertools.product([0, 1], repeat=6)), np.float32).reshape(64, 1, *SHAPE)
each_condition = pytest.mark.parametrize("condition", ["all", "last"])
each_depth = pytest.mark.parametrize("num_layers", [1, 2, 3])


def make_layer(shape=SHAPE, **options):
    """Returns a layer with weights that are large enough for every path to matter."""
    layer = layers.PixelCNN(shape, **{"filters": 6, "kernel_size": 3, "seed": 1, "mean": 0.3, **options})
    layer.build((None, 2))
    rng = np.random.default_rng(1)
    for weight in layer.trainable_variables:
        weight.assign_add(0.3 * rng.normal(size=weight.shape))
    return layer


def make_z(*leading):
    return tf.constant(np.random.default_rng(0).normal(size=(*leading, 2)), tf.float32)


def make_model(builder=iwae_tf.mlp, shape=(8, 8, 1), seed=0, **options):
    sizes = {"latent_sizes": (3,), "hidden_sizes": ((16,),)} if builder is iwae_tf.mlp else {"latent_size": 3}
    options = {"objective": objectives.ImportanceWeighted(4), "likelihood": "pixelcnn", **sizes, **options}
    preprocessing = layers.StochasticBinarization() if options["likelihood"] == "pixelcnn" else layers.Grey()
    return builder(shape, preprocessing=preprocessing, mean=0.3, seed=seed, **options)


# ---------------------------------------------------------------------------------------------- the order of pixels


@each_condition
@each_depth
def test_a_pixel_depends_on_those_before_it_alone(num_layers, condition):
    """Exact zeros of the Jacobian. One layer of size 3 does not reach the first pixel of the row above the last."""
    layer = make_layer(num_layers=num_layers, condition=condition)
    x = tf.constant(np.random.default_rng(0).random((1, *SHAPE)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer.causal_network.evaluate(layer.observe(x), layer(make_z(1)).maps)
    seen = np.abs(tape.jacobian(outputs, x).numpy().reshape(6, 6)) > 0
    assert not np.triu(seen).any()
    if num_layers > 1:
        np.testing.assert_array_equal(seen, np.tri(6, k=-1) > 0)  # no blind spot


@each_condition
@each_depth
def test_probabilities_of_all_images_sum_to_one(num_layers, condition):
    p = make_layer(num_layers=num_layers, condition=condition)(make_z(4))
    np.testing.assert_allclose(np.exp(p.log_prob(IMAGES)).sum(0), 1, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 2, 1), (1, 1, 2)])
def test_probabilities_of_grey_and_colour_values_sum_to_one(shape):
    """All pairs of levels, of two pixels and of two channels of one."""
    layer = make_layer(shape, likelihood="logistic-mixture", num_components=2)
    pairs = np.stack(np.meshgrid(*[np.arange(256) / 255] * 2), -1).reshape(-1, 1, *shape).astype(np.float32)
    np.testing.assert_allclose(np.exp(layer(make_z(1)).log_prob(pairs)).sum(0), 1, rtol=1e-4)


def test_channels_depend_on_those_before_them_linearly():
    """Against a mixture by NumPy whose locations move with the channels before."""
    layer = make_layer((1, 1, 3), likelihood="logistic-mixture", num_components=2)
    x = np.random.default_rng(2).integers(0, 256, size=(5, 1, 1, 3)) / 255
    outputs = np.random.default_rng(3).normal(size=(5, 1, 1, layer.pixels.num_outputs))
    log_prob = layer.pixels.log_prob(tf.constant(outputs), tf.constant(x))
    logits, loc, log_scale, slopes = np.split(outputs.reshape(5, 10, 2), [1, 4, 7], axis=1)
    values, slopes = x.reshape(5, 3, 1), np.tanh(slopes)
    loc[:, 1:2] += slopes[:, :1] * (values[:, :1] - 0.5)
    loc[:, 2:] += slopes[:, 1:2] * (values[:, :1] - 0.5) + slopes[:, 2:] * (values[:, 1:2] - 0.5)
    joint = DiscretizedLogisticDistribution(loc, log_scale).log_prob(values).numpy().sum(1)
    reference = special.logsumexp(special.log_softmax(logits[:, 0], -1) + joint, -1)
    np.testing.assert_allclose(log_prob, reference, rtol=1e-6)


# ---------------------------------------------------------------------------------------------- draws


@each_condition
@each_depth
def test_a_draw_is_the_one_that_scoring_implies(num_layers, condition):
    """Pixel by pixel the network of draws has the outputs of the network of scores."""
    layer = make_layer((4, 5, 1), num_layers=num_layers, condition=condition)
    maps, uniforms = layer(make_z(3)).maps, random.uniform([3, 4, 5, 1], random.as_seed(0))
    images = layer.draw(maps, uniforms)
    outputs = layer.causal_network.evaluate(layer.observe(images), maps)
    margin = np.abs(tf.sigmoid(outputs) - uniforms) > 1e-5
    np.testing.assert_array_equal(np.where(margin, images, 0), np.where(margin, uniforms < tf.sigmoid(outputs), 0))


def test_draws_of_channels_are_those_that_scoring_implies():
    """With one component, a channel is a rounded logistic variable at the location that its predecessors give."""
    layer = make_layer((3, 2, 3), likelihood="logistic-mixture", num_components=1, num_layers=2)
    maps, uniforms = layer(make_z(3)).maps, random.uniform([3, 3, 2, 4], random.as_seed(0))
    images = layer.draw(maps, uniforms)
    outputs = layer.causal_network.evaluate(layer.observe(images), maps)
    _, loc, log_scale, slopes = (part[..., 0] for part in layer.pixels._split(outputs))
    x, slopes = images.numpy(), np.tanh(slopes)
    loc = loc.numpy()
    loc[..., 1] += slopes[..., 0] * (x[..., 0] - 0.5)
    loc[..., 2] += slopes[..., 1] * (x[..., 0] - 0.5) + slopes[..., 2] * (x[..., 1] - 0.5)
    expected = np.clip(loc + np.exp(log_scale) * special.logit(uniforms[..., 1:]), 0, 1)
    np.testing.assert_allclose(images, expected, atol=0.5 / 255 + 1e-4)


@each_condition
def test_draws_have_the_frequencies_of_the_density(condition):
    """Chi-squared of 64 cells for each of 4 z (false alarms 4e-4)."""
    p = make_layer(num_layers=2, condition=condition)(make_z(4))
    draws, expected = p.sample(4000, seed=3).numpy().reshape(4000, 4, 6), np.exp(p.log_prob(IMAGES))
    codes = (draws @ 2 ** np.arange(5, -1, -1)).astype(int)
    for i in range(4):
        counts = np.bincount(codes[:, i], minlength=64)
        probabilities = expected[:, i].astype(float)
        assert stats.chisquare(counts, 4000 * probabilities / probabilities.sum()).pvalue > 1e-4


def test_draws_are_the_same_compiled_and_not():
    p = make_layer(num_layers=2)(make_z(2, 3))
    eager = p.sample(2, seed=(1, 2))
    assert eager.shape == (2, 2, 3, *SHAPE) and p.batch_shape == (2, 3)
    for jit_compile in (False, True):
        compiled = tf.function(lambda: p.sample(2, seed=(1, 2)), jit_compile=jit_compile)()
        np.testing.assert_array_equal(compiled, eager)
    drawn, log_prob = p.sample_and_log_prob(2, seed=(1, 2))
    np.testing.assert_array_equal(drawn, eager)
    np.testing.assert_allclose(log_prob, p.log_prob(eager), rtol=1e-5)


def test_the_mean_is_that_of_draws():
    p = make_layer()(make_z(4))
    exact = np.einsum("nb,n...->b...", np.exp(p.log_prob(IMAGES)), IMAGES[:, 0])
    assert np.abs(p.mean() - exact).max() < 5 * 0.5 / 20**0.5  # false alarms 24 * 6e-7
    np.testing.assert_array_equal(p.mean(), p.mean())


# ---------------------------------------------------------------------------------------------- given z


@each_condition
def test_one_and_many_samples_agree(condition):
    layer, x = make_layer(num_layers=2, condition=condition), IMAGES[5:9, 0]
    z = make_z(3, 4)
    together = layer(z).log_prob(x)
    assert together.shape == (3, 4)
    np.testing.assert_allclose(together, [layer(z_i).log_prob(x) for z_i in tf.unstack(z)], rtol=1e-5)


@each_depth
def test_the_conditions_agree_where_z_has_no_influence(num_layers):
    layer, last = (make_layer(num_layers=num_layers, condition=condition) for condition in ("all", "last"))
    for part in layer.causal_network.chain:
        part.maps_kernel.assign(tf.zeros_like(part.maps_kernel))
    others = [weight for weight in layer.trainable_variables if weight.name != "maps"]
    for weight, value in zip(last.trainable_variables, others, strict=True):
        weight.assign(value.numpy())
    z = make_z(4)
    np.testing.assert_allclose(layer(z).log_prob(IMAGES), last(z).log_prob(IMAGES), rtol=1e-5)


@pytest.mark.parametrize(("condition", "convolutions"), [("last", 0), ("all", 2)])
def test_what_depends_on_x_alone_is_outside_of_the_loop_over_samples(condition, convolutions, x):
    model = make_model(likelihood=functools.partial(layers.PixelCNN, num_layers=2, condition=condition))
    row = model.preprocess(x[:1], random.as_seed(0))

    @tf.function
    def score():
        posterior, observed = model.posterior(row), model.observe(row)

        def add(i, total):
            terms = model.terms(observed, posterior, 3, random.fold_in(random.as_seed(0), i))
            return i + 1, total + tf.reduce_mean(terms.log_weights())

        return tf.while_loop(lambda i, _: i < 4, add, (0, 0.0))[1]

    graphs = score.get_concrete_function().graph.as_graph_def().library.function
    (body,) = [f for f in graphs if "while_body" in f.signature.name]
    assert sum(node.op == "Conv2D" for node in body.node_def) == convolutions  # of the second layer, if z enters it


def test_likelihoods_are_those_of_the_log_weights(x):
    model = make_model()
    row = model.preprocess(x[:3], random.as_seed(0))
    posteriors, z = model.infer(model.posterior(row), 5, random.as_seed(1))
    plain, given = (model.score(seen, z, posteriors).log_weights() for seen in (row, model.observe(row)))
    np.testing.assert_allclose(plain, given, rtol=1e-6)
    estimate = model.log_likelihood(x[:3], 2000, seed=0)
    again = log_weights.log_mean_exp(model.log_weights(x[:3], 2000, seed=0))
    assert np.abs(estimate - again).max() < 6  # of other binarisations and samples
    assert np.isfinite(iwae_tf.evaluation.bounds(model, x[:3], (1, 5)).bound).all()
    refined = iwae_tf.evaluation.log_likelihood(model, x[:3], 50, refine=3)
    assert np.isfinite(refined.log_likelihood).all()
    assert np.isfinite(iwae_tf.evaluation.ais(model, x[:3], 5, 2, 2).log_likelihood).all()


# ---------------------------------------------------------------------------------------------- models


@each_condition
def test_a_model_learns_a_known_distribution(condition):
    """2x3 pixels and one latent variable: the negative log-likelihood comes within 0.02 nats of the entropy."""
    logits = np.random.default_rng(5).normal(size=64) * 1.5
    probabilities = special.softmax(logits).astype(np.float32)
    likelihood = functools.partial(layers.PixelCNN, num_layers=2, filters=16, kernel_size=5, condition=condition)
    model = iwae_tf.mlp(
        SHAPE, (1,), ((8,),), likelihood=likelihood, objective=objectives.ImportanceWeighted(2), seed=0
    )  # fmt: skip
    model.compile(keras.optimizers.Adam(0.01))
    x = np.repeat(IMAGES[:, 0], 10, axis=0)
    weights = np.repeat(64 * probabilities, 10)
    model.fit(x, sample_weight=weights, batch_size=640, epochs=400, verbose=0)
    nll = -(probabilities * model.log_likelihood(IMAGES[:, 0], 200, seed=0)).numpy().sum()
    entropy = stats.entropy(probabilities)
    assert entropy - 1e-4 < nll < entropy + 0.02


@pytest.mark.parametrize("likelihood", ["pixelcnn", "pixelcnn-logistic"])
@pytest.mark.parametrize("builder", [iwae_tf.mlp, functools.partial(iwae_tf.conv, filters=(4, 8))], ids=["mlp", "conv"])
def test_builders_train_save_and_export(builder, likelihood, x, tmp_path):
    options = {} if builder is iwae_tf.mlp else {"latent_size": 3}
    small = functools.partial(iwae_tf.builders.LIKELIHOODS[likelihood], filters=8, kernel_size=3)
    model = make_model(likelihood=small) if builder is iwae_tf.mlp else builder((8, 8, 1), likelihood=small, **options)
    model.preprocessing = layers.StochasticBinarization() if likelihood == "pixelcnn" else layers.Grey()
    model.compile("adam")
    assert not model.jit_compile  # on a CPU
    before = model.evaluate(x, verbose=0, return_dict=True)["loss"]
    model.fit(x, batch_size=20, epochs=10, verbose=0)
    assert model.evaluate(x, verbose=0, return_dict=True)["loss"] < before
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded.log_likelihood(x[:2], 20, seed=0), model.log_likelihood(x[:2], 20, seed=0))
    images = model.sample(3, seed=0).numpy()
    levels = 1 if likelihood == "pixelcnn" else 255
    np.testing.assert_allclose(images * levels, np.round(images * levels), atol=1e-4)  # draws, not means
    endpoints = tf.saved_model.load(str(iwae_tf.export(model, tmp_path / "saved", num_samples=20))).signatures
    sample = endpoints["sample"](seed=tf.constant([0, 0]), num_samples=tf.constant(3))["mean"]
    np.testing.assert_array_equal(sample, model.sample(3, seed=(0, 0)))
    z = tf.random.stateless_normal([3, 3], (0, 0))
    decoded = endpoints["decode"](z=z)["mean"]
    np.testing.assert_array_equal(decoded[1:2], endpoints["decode"](z=z[1:2])["mean"])
    assert endpoints["reconstruct"](x=tf.constant(x[:2]))["mean"].shape == (2, 8, 8, 1)


@pytest.mark.parametrize("gradient", ["reparameterized", "path", "doubly_reparameterized"])
def test_every_gradient(gradient, x):
    model = make_model(objective=objectives.ImportanceWeighted(4, gradient))
    model.compile("adam")
    losses = model.fit(x, batch_size=20, epochs=10, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_densities_are_in_the_precision_of_the_variables(policy):
    layer = layers.PixelCNN(SHAPE, filters=4, kernel_size=3, dtype=policy)
    dtype = keras.DTypePolicy(policy).variable_dtype
    p = layer(tf.zeros([4, 2], dtype))
    assert p.log_prob(IMAGES[:4, 0].astype(dtype)).dtype == dtype
    assert p.sample(seed=0).dtype == dtype


def test_pixels_start_at_their_mean():
    mean = np.linspace(0.1, 0.9, 6).reshape(SHAPE)
    layer = layers.PixelCNN(SHAPE, mean=mean)
    layer.build((None, 2))
    np.testing.assert_allclose(tf.sigmoid(layer.causal_network.output_bias), mean, rtol=1e-5)


# ---------------------------------------------------------------------------------------------- errors


def test_missing_pixels_are_refused():
    with pytest.raises(TypeError, match="independent entries"):
        make_model(incomplete=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"event_shape": (8, 8)}, r"event_shape to be \(height, width, channels\). Received: \(8, 8\)"),
        ({"kernel_size": 4}, "kernel_size to be odd. Received: 4"),
        ({"kernel_size": 1}, "kernel_size"),
        ({"num_layers": 0}, "num_layers"),
        ({"filters": 0}, "filters"),
        ({"num_maps": 0}, "num_maps"),
        ({"likelihood": "poisson"}, "likelihood must be one of bernoulli, logistic-mixture. Received: 'poisson'"),
        ({"condition": "first"}, "condition must be one of all, last. Received: 'first'"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        layers.PixelCNN(**{"event_shape": SHAPE, **options})


def test_data_must_be_binary_or_levels():
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        layers.PixelCNN(SHAPE).check_data(np.full((1, *SHAPE), 2.0))
    with pytest.raises(ValueError, match="multiples of 1/255"):
        layers.PixelCNN(SHAPE, likelihood="logistic-mixture").check_data(np.full((1, *SHAPE), 0.3012))
