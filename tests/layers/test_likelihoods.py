"""Every likelihood: its density, draws and mean, and a model that has it."""

import dataclasses
import math
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

import iwae_tf
from iwae_tf import layers, objectives, random
from iwae_tf.training import gradients

XLA = True
EVENT = (2, 3)
COUNTS = np.arange(4000.0)


@dataclasses.dataclass(frozen=True)
class Case:
    """A likelihood, points that cover its support, and its log density by NumPy and SciPy."""

    make: Callable
    points: np.ndarray
    reference: Callable  # of x and of the parameters, in float64
    spacing: float = 1.0  # of the points, for a density; 1 for probabilities
    mean_within: float = 1e-4


def _normal(scale):
    return lambda x, loc, log_scale: stats.norm.logpdf(x, loc, scale(log_scale))


def _continuous_bernoulli(x, logits):
    return logits * x - np.log(np.expm1(logits) / logits)


def _logistic(x, loc, log_scale, logits=None, levels=256):
    if logits is not None:
        parts = _logistic(x[..., np.newaxis], loc, log_scale, levels=levels) + special.log_softmax(logits, -1)
        return special.logsumexp(parts, -1)
    above = np.where(x == 1, np.inf, (x + 0.5 / (levels - 1) - loc) / np.exp(log_scale))
    below = np.where(x == 0, -np.inf, (x - 0.5 / (levels - 1) - loc) / np.exp(log_scale))
    sign = np.where(x > loc, -1, 1)  # the difference in the lower of the two tails
    return np.log(np.abs(special.expit(sign * above) - special.expit(sign * below)))


def _negative_binomial(x, log_mean, log_dispersion):
    return stats.nbinom.logpmf(x, np.exp(-log_dispersion), special.expit(-log_mean - log_dispersion))


def _categorical(x, logits):
    chosen = np.arange(logits.shape[-1]) == np.asarray(x)[..., np.newaxis]
    return (chosen * special.log_softmax(logits, -1)).sum(-1)


CASES = {
    "normal": Case(lambda **kw: layers.IndependentNormal(EVENT, **kw), np.arange(-20, 20, 2e-3), _normal(np.exp), 2e-3),
    "normal_softplus": Case(
        lambda **kw: layers.IndependentNormal(EVENT, scale="softplus", min_scale=0.1, **kw),
        np.arange(-20, 20, 2e-3),
        _normal(lambda head: np.logaddexp(head, 0) + 0.1),
        2e-3,
    ),
    "normal_shared": Case(
        lambda **kw: layers.IndependentNormal(EVENT, scale="shared", min_scale=0.1, **kw),
        np.arange(-20, 20, 2e-3),
        _normal(lambda weight: np.exp(weight) + 0.1),
        2e-3,
    ),
    "bernoulli": Case(
        lambda **kw: layers.IndependentBernoulli(EVENT, **kw),
        np.arange(2.0),
        lambda x, logits: x * logits - np.logaddexp(0, logits),
    ),
    "continuous_bernoulli": Case(
        lambda **kw: layers.ContinuousBernoulli(EVENT, **kw),
        (np.arange(2000) + 0.5) / 2000,
        _continuous_bernoulli,
        1 / 2000,
    ),
    "logistic": Case(
        lambda **kw: layers.DiscretizedLogistic(EVENT, **kw), np.arange(256) / 255, _logistic, mean_within=0.5 / 255
    ),
    "logistic_mixture": Case(
        lambda **kw: layers.DiscretizedLogistic(EVENT, num_components=3, num_levels=17, **kw),
        np.arange(17) / 16,
        lambda x, *parameters: _logistic(x, *parameters, levels=17),
        mean_within=0.5 / 16,
    ),
    "poisson": Case(
        lambda **kw: layers.IndependentPoisson(EVENT, **kw),
        COUNTS,
        lambda x, log_rate: stats.poisson.logpmf(x, np.exp(log_rate)),
    ),
    "negative_binomial": Case(
        lambda **kw: layers.NegativeBinomial(EVENT, dispersion="exp", **kw), COUNTS, _negative_binomial
    ),
    "negative_binomial_shared": Case(lambda **kw: layers.NegativeBinomial(EVENT, **kw), COUNTS, _negative_binomial),
    "categorical": Case(lambda **kw: layers.Categorical(EVENT, 5, **kw), np.arange(5.0), _categorical),
}

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def draw_parameters(layer, *leading, dtype=np.float32):
    rng = np.random.default_rng(0)
    shared = getattr(layer, "shared", ())
    shapes = {name: (*leading, *layer.parameter_shape(name)) for name in layer.parameters}
    shapes |= {name: layer.parameter_shape(name) for name in shared}
    return {name: rng.normal(-(name == "log_scale"), size=shape).astype(dtype) for name, shape in shapes.items()}


def draw_points(case):
    return np.random.default_rng(1).choice(case.points[case.points < 40], size=(4, *EVENT))


@each_case
def test_density_equals_the_reference(case):
    layer = case.make()
    parameters = draw_parameters(layer, 5, 4, dtype=np.float64)
    x = draw_points(case)
    distribution = layer.distribution(**{name: tf.constant(p) for name, p in parameters.items()})
    expected = case.reference(x, *parameters.values())
    assert distribution.batch_shape == (5, 4) and distribution.event_shape == EVENT
    np.testing.assert_allclose(distribution.distribution.log_prob(x), expected, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(distribution.log_prob(x), expected.sum((-2, -1)), rtol=1e-7)
    single = layer.distribution(**{name: tf.constant(p, tf.float32) for name, p in parameters.items()})
    np.testing.assert_allclose(single.log_prob(x.astype(np.float32)), expected.sum((-2, -1)), rtol=1e-4)


@each_case
def test_draws_have_the_moments_of_the_density(case):
    """Draws within five standard errors of the moments: 300 comparisons, one set of seeds in 6000 fails by chance."""
    layer = case.make()
    distribution = layer.distribution(**draw_parameters(layer, 3))
    points = case.points.reshape(-1, 1, 1, 1).astype(np.float32)
    probabilities = case.spacing * np.exp(distribution.distribution.log_prob(points), dtype=np.float64)
    np.testing.assert_allclose(probabilities.sum(0), 1, rtol=1e-4)
    mean = (probabilities * points).sum(0)
    variance, fourth = ((probabilities * (points - mean) ** power).sum(0) for power in (2, 4))
    if isinstance(layer, layers.Categorical):
        np.testing.assert_array_equal(distribution.mean(), probabilities.argmax(0))
    else:
        np.testing.assert_allclose(distribution.mean(), mean, rtol=1e-4, atol=case.mean_within)
    n = 5000
    draws = distribution.sample(n, seed=random.as_seed(0)).numpy()
    layer.check_data(draws)
    assert (abs(draws.mean(0) - mean) < 5 * (variance / n) ** 0.5).all()
    assert (abs(((draws - mean) ** 2).mean(0) - variance) < 5 * ((fourth - variance**2) / n) ** 0.5).all()


@each_case
def test_every_mode_gives_the_same(case):
    layer = case.make()
    parameters = list(draw_parameters(layer, 5, 4).items())
    x = draw_points(case).astype(np.float32)

    def everything(x, seed, values):
        with tf.GradientTape() as tape:
            tape.watch(values)
            distribution = layer.distribution(**dict(zip(dict(parameters), values, strict=True)))
            log_prob = distribution.log_prob(x)
        draws = distribution.sample(7, seed=seed)
        return log_prob, *tape.gradient(log_prob, values), draws, distribution.mean()

    arguments = tf.constant(x), random.as_seed(3), [tf.constant(p) for _, p in parameters]
    eager = everything(*arguments)
    assert all(np.isfinite(value).all() for value in eager) and eager[-2].shape == (7, 5, 4, *EVENT)
    unknown = [tf.TensorSpec([None, *EVENT]), tf.TensorSpec([2], tf.int32)]
    for jit_compile in (False, True):
        heads = [tf.TensorSpec([5, None, *p.shape[2:]] if p.ndim > 2 else p.shape) for p in arguments[2]]
        compiled = tf.function(everything, input_signature=[*unknown, heads], jit_compile=jit_compile)(*arguments)
        for actual, expected in zip(compiled, eager, strict=True):
            np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("case", [case for name, case in CASES.items() if name != "categorical"])
@pytest.mark.parametrize("shape", [(), EVENT])
def test_starts_at_the_mean(case, shape):
    mean = np.random.default_rng(0).uniform(0.05, 0.95, shape).astype(np.float32)
    layer = case.make(mean=mean)
    started = layer(tf.zeros([1, 4])).mean()[0]
    np.testing.assert_allclose(started, np.broadcast_to(mean, EVENT), atol=0.01)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(again(tf.zeros([1, 4])).mean()[0], started)


@pytest.mark.parametrize(
    "name",
    [
        "normal_shared",
        "logistic_mixture",
        "poisson",
        "negative_binomial_shared",
        "categorical",
    ],
)
def test_model(name, tmp_path):
    """A model trains in low precision under XLA, awake and asleep, and is the same when it is loaded again."""
    case = CASES[name]
    x = case.make().distribution(**draw_parameters(case.make())).sample(60, seed=random.as_seed(0)).numpy()
    whole = case.spacing == 1 and case.points[1] == 1
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = iwae_tf.IWAE(
            encoder=[layers.IndependentNormal(2, scale="shared")],
            decoder=[case.make(hidden=(4,))],
            prior=layers.StandardNormal(2),
            objective=objectives.ReweightedWakeSleep(3, sleep=0.5),
            seed=0,
        )
        model.compile("sgd")
        before = [v.numpy() for v in model.trainable_variables]
        history = model.fit(x.astype(np.int32) if whole else x, batch_size=20, epochs=2, verbose=0).history
        assert model.jit_compile and np.isfinite(history["loss"]).all()
        changed = [(a != v.numpy()).any() for a, v in zip(before, model.trainable_variables, strict=True)]
        assert all(changed), "some weight stands still"
        assert model.log_weights(x[:5], 4, seed=0).dtype == tf.float32
        model.save(tmp_path / "m.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.log_weights(x, 4, seed=0), model.log_weights(x, 4, seed=0))
    assert again.sample(3, seed=0).shape == again.reconstruct(x[:3]).shape == (3, *EVENT)


@pytest.mark.parametrize("name", ["logistic_mixture", "negative_binomial_shared"])
def test_export(name, tmp_path):
    case = CASES[name]
    x = case.make().distribution(**draw_parameters(case.make())).sample(6, seed=random.as_seed(0)).numpy()
    model = iwae_tf.IWAE(
        encoder=[layers.IndependentNormal(2)], decoder=[case.make()], prior=layers.StandardNormal(2), seed=0
    )
    endpoints = tf.saved_model.load(str(iwae_tf.export(model, tmp_path / "m", 20))).signatures
    scores = endpoints["serving_default"](x=tf.constant(x))["log_likelihood"]
    np.testing.assert_allclose(scores, model.log_likelihood(x, 20, seed=0), rtol=1e-6)
    z = tf.ones([4, 2])
    np.testing.assert_allclose(endpoints["decode"](z=z)["mean"], model.decoder[-1](z).mean(), atol=1e-6)


@pytest.mark.parametrize("gradient", ["reparameterized", "path", "doubly_reparameterized"])
def test_shared_scale_of_a_posterior(gradient):
    """A scale that is a weight, not a head, is held fixed and followed like one."""
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    model = iwae_tf.IWAE(
        encoder=[layers.IndependentNormal(2, scale="shared")],
        decoder=[layers.IndependentNormal(3)],
        prior=layers.StandardNormal(2),
        objective=objectives.ImportanceWeighted(1, gradient),
        seed=0,
    )
    loc, scale = model.encoder[0].heads[0], model.encoder[0].shared_values[0]
    scale.assign([0.3, -0.2])
    seed = random.as_seed(1)
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(model.terms(x, model.posterior(x), 1, seed).log_weights())
    expected = tape.gradient(loss, [loc.kernel.value, scale.value])
    found, _ = gradients.compute(model, model.objective, tf.constant(x), seed)
    found = dict(zip((v.path for v in model.trainable_variables), found, strict=True))
    if gradient != "reparameterized":  # whose score is left out: for a Gaussian it is known
        q = model.posterior(x)
        noise = (q.sample(1, seed=random.fold_in(seed, 0)) - q.mean()) / q.stddev()
        expected = [None, expected[1] + tf.reduce_mean(1 - noise**2, axis=(0, 1))]
    else:
        np.testing.assert_allclose(found[loc.kernel.path], expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[scale.path], expected[1], rtol=1e-4, atol=1e-5)


def independent_pixels(layer, images):
    """Mean log probability of images under the best independent pixels that a grid of parameters finds for them."""
    mean = images.mean(0)
    first = layer.apply_link(mean) if isinstance(layer, layers.ContinuousBernoulli) else mean

    def score(offset, log_scale):
        others = {name: np.full_like(mean, log_scale) for name in layer.parameters[1:]}
        pixels = layer.distribution(
            **{layer.parameters[0]: tf.constant(first + offset, tf.float32), **others}
        ).distribution
        return pixels.log_prob(images).numpy().mean(0)

    grid = [(offset, log_scale) for offset in np.linspace(-0.5, 0.5, 11) for log_scale in np.linspace(-6, 1, 15)]
    return np.max([score(*point) for point in grid], axis=0).sum()


@pytest.mark.parametrize(
    "make",
    [
        lambda *args, **kw: layers.IndependentNormal(*args, min_scale=0.05, **kw),
        layers.ContinuousBernoulli,
        layers.DiscretizedLogistic,
    ],
    ids=["normal", "continuous_bernoulli", "logistic"],
)
def test_grey_digits(make, digits):
    """The bound of a small model beats what pixels alone can reach, by 5 nats, and where it began."""
    model = iwae_tf.IWAE(
        encoder=[layers.IndependentNormal(8, hidden=(32,))],
        decoder=[make((8, 8, 1), hidden=(32,), mean=digits.mean)],
        prior=layers.StandardNormal(8),
        objective=objectives.ImportanceWeighted(5),
        preprocessing=layers.Grey(),
        seed=0,
    )
    images = np.concatenate(list(digits.test))

    def bound():
        return float(np.mean(model.objective.bound(model.log_weights(images, 5, seed=0))))

    start = bound()
    model.compile(keras.optimizers.Adam(3e-3))
    model.fit(digits.train, epochs=10, verbose=0)
    pixels = independent_pixels(model.decoder[0], images.astype(np.float32) / 255)
    assert bound() > max(start, pixels + 5), (start, pixels, bound())
    model.decoder[0].check_data(model.preprocess(images, random.as_seed(0)).numpy())


@pytest.mark.parametrize(
    ("name", "x", "message"),
    [
        ("continuous_bernoulli", [0.0, 1.5], r"ContinuousBernoulli likelihood in \[0, 1\].*from 0 to 1.5"),
        ("continuous_bernoulli", [np.nan, 0.5], "finite"),
        ("logistic", [0.0, 255.0], r"DiscretizedLogistic likelihood in \[0, 1\].*to 255"),
        ("logistic", [0.0, 0.5], r"multiples of 1/255. Received: .*such as 0.5"),
        ("poisson", [3.0, -1.0], r"IndependentPoisson likelihood in \[0, inf\].*from -1 to 3"),
        ("poisson", [0.5, 1.0], r"IndependentPoisson likelihood to be whole numbers. Received: .*such as 0.5"),
        ("negative_binomial", [3, -1], r"NegativeBinomial likelihood in \[0, inf\]"),
        ("negative_binomial", [2.5, 1.0], "NegativeBinomial likelihood to be whole"),
        ("categorical", [0, 5], r"Categorical likelihood in \[0, 4\].*from 0 to 5"),
        ("categorical", [-1.0, 1.0], r"in \[0, 4\]"),
        ("categorical", [0.25, 1.0], "whole numbers"),
        ("normal", [np.inf, 1.0], "finite"),
    ],
)
def test_data_that_cannot_be(name, x, message):
    layer = CASES[name].make()
    with pytest.raises(ValueError, match=message):
        layer.check_data(np.array(x))


@each_case
@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float32, np.float64])
def test_data_of_any_dtype(case, dtype):
    case.make().check_data(np.array([[0, 1]], dtype))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: layers.IndependentNormal(2, scale="tanh"),
            "scale must be one of exp, softplus, shared. Received: 'tanh'",
        ),
        (
            lambda: layers.IndependentNormal(2, min_scale=-1.0),
            "min_scale to be a finite number of 0 or more. Received: -1.0",
        ),
        (lambda: layers.IndependentNormal(2, min_scale=math.nan), "min_scale"),
        (lambda: layers.IndependentNormal(2, mean=math.inf), "finite"),
        (lambda: layers.ContinuousBernoulli(2, mean=1.5), r"mean in \[0, 1\]"),
        (lambda: layers.ContinuousBernoulli(2, mean=[0.5] * 3), r"shape \(2,\). Received: shape \(3,\)"),
        (lambda: layers.DiscretizedLogistic(2, num_components=0), "num_components must be a positive integer"),
        (
            lambda: layers.DiscretizedLogistic(2, num_levels=1),
            "num_levels must be an integer of 2 or more",
        ),
        (lambda: layers.IndependentPoisson(2, mean=-1.0), r"mean in \[0, inf\]"),
        (
            lambda: layers.NegativeBinomial(2, dispersion=0.5),
            "dispersion must be one of shared, exp",
        ),
        (lambda: layers.Categorical(2, 1), "num_classes must be an integer of 2 or more. Received: num_classes=1"),
        (lambda: layers.Categorical(2, 2.5), "num_classes must be an integer of 2 or more. Received: num_classes=2.5"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_continuous_bernoulli_at_any_logit(dtype):
    """Value and gradient near 0, where the textbook form is 0/0, and far out, where it overflows."""
    logits = np.array([0, 1e-20, 1e-7, -1e-4, 0.01, -0.1, 0.32, 0.33, -3, 16, -50, 50, -1000, 1000, 1e6], dtype)
    # log((e^l - 1)/l) and its derivative, by their series where the formulas lose digits even in float64.
    l64 = logits.astype(np.float64)
    with np.errstate(all="ignore"):
        size = np.abs(l64)
        value = np.where(size < 0.01, l64 / 2 + l64**2 / 24, np.maximum(l64, 0) + np.log(-np.expm1(-size) / size))
        slope = np.where(size < 0.05, 0.5 + l64 / 12 - l64**3 / 720 + l64**5 / 30240, -1 / np.expm1(-l64) - 1 / l64)
    x = tf.constant(0.25, dtype)
    parameter = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(parameter)
        log_prob = layers.ContinuousBernoulli(1).distribution(parameter[:, tf.newaxis]).log_prob(x[tf.newaxis])
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(log_prob, l64 / 4 - value, rtol=4 * eps, atol=4 * eps)
    np.testing.assert_allclose(
        tape.gradient(log_prob, parameter), 0.25 - slope, atol=1e-6 if dtype == np.float32 else 1e-11
    )


def test_logistic_far_from_its_location():
    """Tails in which both distribution functions round to 0 or 1 keep a density and a gradient."""
    layer = layers.DiscretizedLogistic(1)
    for log_scale in (-9.0, -3.0, 5.0):
        loc = tf.constant([[-40.0], [0.0], [0.5], [1.0], [40.0]])
        with tf.GradientTape() as tape:
            tape.watch(loc)
            log_prob = layer.distribution(loc=loc, log_scale=tf.fill([5, 1], log_scale)).log_prob([[128 / 255]])
        gradient = tape.gradient(log_prob, loc).numpy().ravel()
        assert np.isfinite(log_prob).all() and np.isfinite(gradient).all()
        assert gradient[0] > 0 > gradient[-1], "it must point at the data"


@pytest.mark.parametrize("log_rate", [-30.0, 0.0, 5.0, 11.0])
def test_counts_of_any_size(log_rate):
    """Five standard errors: of eight comparisons one in 200,000 sets of seeds fails by chance."""
    for layer in (layers.IndependentPoisson(1), layers.NegativeBinomial(1)):
        shared = {name: tf.constant([-4.0]) for name in layer.shared}
        counts = layer.distribution(tf.fill([1], log_rate), **shared)
        draws = tf.function(lambda counts=counts: counts.sample(1000, seed=(0, 1)), jit_compile=True)().numpy()
        variance = float(counts.distribution.variance()[0])
        assert abs(draws.mean() - np.exp(log_rate)) < 5 * (variance / 1000) ** 0.5 + 1e-6
        assert (draws >= 0).all()


@dataclasses.dataclass(frozen=True)
class Extreme:
    """A likelihood of one number, observations and parameters of every size, and log density and gradient in float64.

    What float32 makes of an input is taken to be exact, but for `moved` of them: an error is allowed that moving these
    by the last digit would make.
    """

    make: Callable
    x: tuple
    parameters: dict[str, tuple]
    reference: Callable  # of x and of the parameters: log density, and its derivative by each of them
    moved: tuple = ()

    def grid(self, dtype):
        """All combinations of the observations and the parameters, each `[n, *shape]`."""
        axes = [np.arange(len(values)) for values in (self.x, *self.parameters.values())]
        places = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes)).T
        values = zip((self.x, *self.parameters.values()), places, strict=True)
        return [np.asarray(value, np.float32).astype(dtype)[place] for value, place in values]

    def expected(self, inputs):
        """Log density and gradients in float64, and what each changes by as inputs move."""
        inputs = [values.astype(np.float64) for values in inputs]
        with np.errstate(all="ignore"):
            exact = self.reference(*inputs)
            changes = [np.zeros_like(value) for value in exact]
            for i, name in enumerate(("x", *self.parameters)):
                for step in (-6e-8, 6e-8) if name in self.moved else ():
                    others = self.reference(*inputs[:i], inputs[i] * (1 + step), *inputs[i + 1 :])
                    changes = [c + np.abs(b - a) for c, a, b in zip(changes, exact, others, strict=True)]
        return exact, changes


def _normal_by_head(scale, slope):
    """For a scale that is a function of a head, and the derivative of that function."""

    def reference(x, loc, head):
        z = (x - loc) / scale(head)
        return stats.norm.logpdf(x, loc, scale(head)), z / scale(head), (z**2 - 1) / scale(head) * slope(head)

    return reference


def _log_normal(x, loc, log_scale):
    value, *gradients = _normal_by_head(lambda head: 0.01 + np.exp(head), np.exp)(np.log(x), loc, log_scale)
    return value - np.log(x), *gradients


def _bernoulli(x, logits):
    return x * logits - np.logaddexp(0, logits), np.where(x, special.expit(-logits), -special.expit(logits))


def _continuous_bernoulli_slope(x, logits):
    # By the series where the closed forms lose digits even in float64.
    size, near = np.abs(logits), np.abs(logits) < 0.02
    value = np.maximum(logits, 0) + np.log(-np.expm1(-size) / size)
    value = np.where(near, logits / 2 + logits**2 / 24 - logits**4 / 2880, value)
    slope = np.where(near, 0.5 + logits / 12 - logits**3 / 720, -1 / np.expm1(-logits) - 1 / logits)
    return x * logits - value, x - slope


def _logistic_slopes(x, loc, log_scale, logits=None):
    if logits is not None:
        parts = np.stack(_logistic_slopes(x[:, np.newaxis, np.newaxis], loc, log_scale))
        joint = parts[0] + special.log_softmax(logits, -1)
        weights = special.softmax(joint, -1)
        by_logits = weights - special.softmax(logits, -1)
        return special.logsumexp(joint, -1)[:, 0], *(weights * parts[1:]), by_logits
    precision = np.exp(-log_scale)
    a, b, width = (x - 0.5 / 255 - loc) * precision, (x + 0.5 / 255 - loc) * precision, precision / 255
    first, last = x == 0, x == 1
    value = np.select(
        [first, last],
        [special.log_expit(b), special.log_expit(-a)],
        special.log_expit(b) + special.log_expit(-a) + np.log(-np.expm1(-width)),
    )
    below, above = np.where(first, 0, special.expit(a)), np.where(last, 0, special.expit(-b))
    inside = np.where(first | last, 0, width / np.expm1(width))
    return value, (below - above) * precision, np.where(first, 0, a) * below - np.where(last, 0, b) * above - inside


def _poisson(x, log_rate):
    return stats.poisson.logpmf(x, np.exp(log_rate)), x - np.exp(log_rate)


def _counts_slopes(x, log_mean, log_dispersion):
    mean, shape = np.exp(log_mean), np.exp(-log_dispersion)
    value = -special.xlogy(1, np.maximum(x, 1)) - np.where(x > 0, special.betaln(shape, np.maximum(x, 1)), 0)
    value -= shape * np.log1p(mean / shape) + x * np.log1p(shape / mean)
    by_shape = special.digamma(x + shape) - special.digamma(shape) - np.log1p(mean / shape)
    by_shape += (mean - x) / (shape + mean)
    return value, (x - mean) / (1 + mean / shape), -shape * by_shape


def _categorical_slopes(x, logits):
    chosen = np.arange(logits.shape[-1]) == x[:, np.newaxis, np.newaxis]
    return (chosen * special.log_softmax(logits, -1)).sum(-1)[:, 0], chosen - special.softmax(logits, -1)


SIZES = (-200.0, -30.0, -3.0, -0.3, -1e-3, -1e-8, 1e-8, 1e-3, 0.3, 3.0, 30.0, 200.0)
LOCS = (-1e4, -40.0, -1.0, 0.0, 1e-6, 0.5, 1.0, 40.0, 1e4)
LOG_SCALES = (-20.0, -9.0, -3.0, 0.0, 3.0, 9.0, 20.0)
LOG_RATES = tuple(np.log(np.logspace(-9, 9, 19)))
#: Near the mode of every rate, and far from most.
FROM_0 = (0, 1, 2, 7, 8, 9, *(round(10**i + a * 10 ** (i / 2)) for i in range(2, 10) for a in (-6, -1, 0, 0.3, 6)))
LOGITS = np.array([[0, 0, 0], [1e-8, 0, -1e-8], [200, 0, -200], [-30, 30, 29.9], [-1e3, 1e3, 0], [5, -80, 4]])


def _column(kind, **fields):
    return lambda: layers.Heterogeneous([layers.Column("a", kind, **fields)])


EXTREMES = {
    "normal": Extreme(
        lambda: layers.IndependentNormal(1),
        LOCS,
        {"loc": LOCS, "log_scale": LOG_SCALES},
        _normal_by_head(np.exp, np.exp),
    ),
    "normal_softplus": Extreme(
        lambda: layers.IndependentNormal(1, scale="softplus"),
        LOCS,
        {"loc": LOCS, "log_scale": LOG_SCALES},
        _normal_by_head(lambda head: np.logaddexp(head, 0), special.expit),
    ),
    "bernoulli": Extreme(lambda: layers.IndependentBernoulli(1), (0, 1), {"logits": SIZES}, _bernoulli),
    "continuous_bernoulli": Extreme(
        lambda: layers.ContinuousBernoulli(1),
        (0, 1e-8, 0.3, 1),
        {"logits": SIZES},
        _continuous_bernoulli_slope,
    ),
    "logistic": Extreme(
        lambda: layers.DiscretizedLogistic(1),
        tuple(np.array([0, 1, 100, 254, 255]) / 255),
        {"loc": LOCS, "log_scale": LOG_SCALES},
        _logistic_slopes,
        ("x", "loc", "log_scale"),
    ),
    "logistic_mixture": Extreme(
        lambda: layers.DiscretizedLogistic(1, num_components=3),
        tuple(np.array([0, 1, 100, 255]) / 255),
        {
            "loc": np.array([[[-40, 0, 40]], [[0.4, 0.5, 0.6]], [[1e-6, 0, 1]], [[1e3, -1e3, 0.1]]]),
            "log_scale": np.array([[[-9, -3, 0]], [[9, -9, 3]], [[-20, 20, -5]]]),
            "logits": LOGITS[:, np.newaxis],
        },
        _logistic_slopes,
        ("x", "loc", "log_scale"),
    ),
    "poisson": Extreme(lambda: layers.IndependentPoisson(1), FROM_0, {"log_rate": LOG_RATES}, _poisson),
    "negative_binomial": Extreme(
        lambda: layers.NegativeBinomial(1, dispersion="exp"),
        FROM_0,
        {"log_mean": LOG_RATES, "log_dispersion": tuple(np.log([1e-6, 1e-3, 0.3, 1, 30, 1e3]))},
        _counts_slopes,
    ),
    "categorical": Extreme(
        lambda: layers.Categorical(1, 3), (0, 1, 2), {"logits": LOGITS[:, np.newaxis]}, _categorical_slopes
    ),
    "real column": Extreme(
        _column("real"),
        LOCS,
        {"real_loc": LOCS, "real_log_scale": LOG_SCALES},
        _normal_by_head(lambda head: 0.01 + np.exp(head), np.exp),
    ),
    "positive column": Extreme(
        _column("positive"),
        (1e-20, 1e-3, 1.0, 1.001, 1e9),
        {"positive_loc": LOCS, "positive_log_scale": LOG_SCALES},
        _log_normal,
        ("x", "positive_loc"),
    ),
    "count column": Extreme(_column("count"), FROM_0, {"count_log_rate": LOG_RATES}, _poisson),
    "binary column": Extreme(_column("binary"), (0, 1), {"binary_logits": SIZES}, _bernoulli),
    "category column": Extreme(
        _column("category", categories="abc"),
        (0, 1, 2),
        {"category_logits": LOGITS[:, np.newaxis]},
        _categorical_slopes,
    ),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("jit_compile", [None, True])
@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_parameters(name, jit_compile, dtype):
    """Log densities within 1e-4 nats and 2e-6 of their size, gradients within 2e-6 and 2e-5 of theirs."""
    case, layer = EXTREMES[name], EXTREMES[name].make()
    x, *parameters = case.grid(dtype)

    def everything(x, *parameters):
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            values = zip(case.parameters, parameters, strict=True)
            values = {key: tf.reshape(value, [-1, *layer.parameter_shape(key)]) for key, value in values}
            log_prob = layer.distribution(**values).log_prob(x[:, tf.newaxis])
        return log_prob, *tape.gradient(log_prob, parameters)

    run = tf.function(everything, jit_compile=True) if jit_compile else everything
    found = [value.numpy().astype(np.float64) for value in run(*map(tf.constant, (x, *parameters)))]
    exact, changes = case.expected([x, *parameters])
    for i, (actual, expected, change) in enumerate(zip(found, exact, changes, strict=True)):
        what = (name, "log density" if i == 0 else f"derivative by {[*case.parameters][i - 1]}")
        assert np.isfinite(actual).all(), what
        allowed = (1e-4 if i == 0 else 2e-6) + (2e-6 if i == 0 else 2e-5) * np.abs(expected) + 4 * change
        worst = np.argmax((np.abs(actual - expected) / allowed).reshape(len(x), -1).max(-1))
        inputs = [value[worst] for value in (x, *parameters)]
        assert (np.abs(actual - expected) <= allowed).all(), (*what, inputs, actual[worst], expected[worst])


def test_a_shared_dispersion_gathers_the_gradients_of_all_samples():
    rng = np.random.default_rng(0)
    x = rng.poisson(30, (4, 3)) * np.array([1, 0, 1e5], np.float32)
    log_mean = tf.constant(rng.normal([3, 3, 14], 1, (5, 4, 3)), tf.float32)
    log_dispersion = tf.constant([-3.0, 0.5, -8.0])
    with tf.GradientTape() as tape:
        tape.watch([log_mean, log_dispersion])
        log_prob = layers.NegativeBinomial(3).distribution(log_mean, log_dispersion).log_prob(x.astype(np.float32))
    inputs = (np.broadcast_to(values, (5, 4, 3)).astype(np.float64) for values in (x, log_mean, log_dispersion))
    value, *slopes = _counts_slopes(*inputs)
    found = tape.gradient(log_prob, [log_mean, log_dispersion])
    np.testing.assert_allclose(log_prob, value.sum(-1), rtol=1e-6)
    np.testing.assert_allclose(found[0], slopes[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[1], slopes[1].sum((0, 1)), rtol=1e-5)


@pytest.mark.parametrize("layer", [layers.IndependentPoisson(1), layers.NegativeBinomial(1)])
def test_what_is_no_count_has_no_probability(layer):
    counts = layer.distribution(tf.zeros([1]), **{name: tf.zeros([1]) for name in layer.shared})
    np.testing.assert_array_equal(counts.log_prob(tf.constant([[-1.0], [-0.5]])), -np.inf)
