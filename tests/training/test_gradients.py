"""The gradients of every objective against autodiff of their definition, and against each other."""

import copy
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import iwae_tf
from iwae_tf import layers, objectives, random
from iwae_tf.training.gradients import compute

from ..fixtures import assert_same_mean, gradient_draws, small_model
from ..layers.test_layers import Plain
from ..objectives.reference import CASES, DOUBLY, reference

IWAE, MIWAE, CIWAE, PIWAE = objectives.ImportanceWeighted, objectives.MIWAE, objectives.CIWAE, objectives.PIWAE
RWS = objectives.ReweightedWakeSleep

#: Objectives that can do without the gradients of some samples.
RESAMPLED = [
    IWAE(6),
    IWAE(6, "path"),
    IWAE(6, DOUBLY),
    MIWAE(2, 3),
    MIWAE(2, 3, DOUBLY),
    CIWAE(6, 0.5),
    CIWAE(6, 0.5, DOUBLY),
    PIWAE(2, 3),
    PIWAE(2, 3, DOUBLY),
    objectives.Renyi(6, 0.5),
    objectives.Renyi(6, 2.5),
    RWS(6, sleep=0.5),
    objectives.VIMCO(6),
    objectives.OVIS(6, gamma=0.5),
    objectives.Thermodynamic(6),
]

#: One for each way to differentiate.
FORMS = [
    IWAE(6),
    IWAE(6, DOUBLY),
    IWAE(6, backward_samples=1),
    PIWAE(2, 3),
    PIWAE(2, 3, DOUBLY),
    RWS(6, sleep=0.5),
    RWS(6, DOUBLY, sleep=0.5),
    objectives.VIMCO(6),
    objectives.REINFORCE(6, baseline="learned"),
    objectives.ELBO(6, analytic_kl=True, free_bits=1.0),
]


@pytest.fixture(scope="module", params=[1, 3])
def exact(request, linear_gaussian, gaussian_chain):
    """A model whose posterior is known, of one layer and of three."""
    return {1: linear_gaussian, 3: gaussian_chain}[request.param]


def gradients(model, x):
    """The gradients of a step, and the seed that it used."""
    if not model.compiled:
        model.compile("sgd")
    seed = tf.cast(model.seed_generator.state.value, tf.int32)
    return model._gradients(tf.convert_to_tensor(x)), seed


def by_definition(make, x, seed, kl_weight):
    """The gradients from three separate derivatives, with the parameters of a second model for what is held fixed."""
    model, held = make(), make()
    objective, seed = model.objective, random.fold_in(seed, 1)
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        _, z = model.infer(model.posterior(x), objective.num_particles, seed)
        path = held.score(x, z, [layer(below) for layer, below in zip(held.encoder, [x, *z], strict=False)])
        fixed = [tf.stop_gradient(z_l) for z_l in z]
        densities = [layer(below) for layer, below in zip(model.encoder, [x, *fixed], strict=False)]
        log_q = tf.add_n([q.log_prob(z_l) for q, z_l in zip(densities, fixed, strict=True)])
        held_q = [layer(below) for layer, below in zip(held.encoder, [x, *fixed], strict=False)]
        log_p = model.score(x, fixed, held_q).log_weights(kl_weight)  # and the density of q, which is constant here
        _, a, b, c = reference(objective, path.log_weights(kl_weight), kl_weight)
        total = tf.reduce_sum(a * tf.cast(log_p, tf.float64) + b * tf.cast(path.log_weights(kl_weight), tf.float64)
                              + c * tf.cast(log_q, tf.float64), 0)  # fmt: skip
        loss = -tf.reduce_mean(total)
    return tape.gradient(loss, model.trainable_variables)


@pytest.mark.parametrize("objective", CASES, ids=repr)
def test_gradient_is_that_of_the_definition(exact, objective, gaussian_chain):
    kl_weight = 1.0 if exact is gaussian_chain else 0.4

    def make():
        model = exact.model(0.3, objective)
        model.kl_weight.assign(kl_weight)
        return model

    x = exact.sample(4)
    actual, seed = gradients(make(), x)
    expected = by_definition(make, x, seed, kl_weight)
    scale = max(float(tf.reduce_max(tf.abs(g))) for g in expected)
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * scale)


@functools.cache
def draws(exact, error, objective, kl_weight=1.0, n=1000):
    """Gradients of n steps from the same weights, `[n, parameters]`; the inference network's are the first half."""
    model = exact.model(error, objective)
    model.kl_weight.assign(kl_weight)
    model.compile("sgd")
    return gradient_draws(model, tf.constant(exact.sample(8)), n)


def inference_part(exact, found):
    return found[:, : sum(int(tf.size(v)) for layer in exact.model().encoder for v in layer.trainable_variables)]


@pytest.mark.parametrize(
    ("num_layers", "one", "other"),
    [
        (1, IWAE(6), IWAE(6, DOUBLY)),
        (3, IWAE(6), IWAE(6, DOUBLY)),
        (1, RWS(6), RWS(6, DOUBLY)),
        (3, RWS(6), RWS(6, DOUBLY)),
        (1, MIWAE(2, 3), MIWAE(2, 3, DOUBLY)),
        (1, CIWAE(6, 0.5), CIWAE(6, 0.5, DOUBLY)),
    ],
    ids=repr,
)
def test_estimators_of_one_gradient_have_one_mean(linear_gaussian, gaussian_chain, num_layers, one, other):
    """And near the optimum the doubly reparameterised has less than half the variance.

    24 or 36 comparisons at 5 standard deviations in each of 8 cases: false alarm of all below 2e-4.
    """
    exact = {1: linear_gaussian, 3: gaussian_chain}[num_layers]
    first, second = (draws(exact, 0.1, objective) for objective in (one, other))
    assert_same_mean(first, second)
    if getattr(other, "gradient", None) == DOUBLY:
        of_one, of_other = (inference_part(exact, found).var(0).sum() for found in (first, second))
        assert of_other < 0.5 * of_one


@pytest.mark.parametrize(
    ("num_layers", "objective"),
    [*((1, o) for o in RESAMPLED), (3, IWAE(6)), (3, PIWAE(2, 3, DOUBLY)), (3, RWS(6)), (3, objectives.VIMCO(6))],
    ids=repr,
)
def test_a_resampled_gradient_has_the_mean_of_the_full_one(linear_gaussian, gaussian_chain, num_layers, objective):
    """q is off, so that weights are uneven. 24 or 36 comparisons in each of 19 cases: false alarm of all below 3e-4."""
    exact = {1: linear_gaussian, 3: gaussian_chain}[num_layers]
    some = copy.copy(objective)
    some.backward_samples = 2
    assert_same_mean(*(draws(exact, 0.5, each, 0.7) for each in (objective, some)))


class TopTwo(objectives.Objective):
    """An objective of a user's own, whose gradient is that of two samples."""

    num_particles = 6

    def __init__(self, backward_samples=None):
        self.backward_samples = backward_samples

    def bound(self, log_weights):
        return tf.reduce_mean(tf.sort(log_weights, axis=0)[-2:], axis=0)


def assert_exact(make, x):
    """The gradient of the samples that have all of the weight is the full one, from the same z."""
    some, full = (gradients(make(objective), x)[0] for objective in (TopTwo(3), TopTwo()))
    for a, b in zip(some, full, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_a_resampled_gradient_is_exact_where_the_chosen_have_all_of_the_weight(exact, gaussian_chain):
    assert_exact(lambda objective: exact.model(0.3, objective), exact.sample(4))
    assert_exact(lambda objective: gaussian_chain.model(0.3, objective, ladder=True), gaussian_chain.sample(4))


@pytest.mark.parametrize("posterior", ["iaf", "planar", "mixture", "full"])
def test_resampled_gradients_of_other_posteriors(x, posterior):
    """Also of flows that know the density of their own samples alone."""

    def make(objective):
        model = small_model(1, objective, posterior=posterior)
        model.build((None, 8, 8, 1))
        return model

    assert_exact(make, x)


def test_objectives_that_cannot_be_resampled(x):
    """Also one of a user's own, whose free bits would be those of the chosen samples, without a word."""
    objective = TopTwo(2)
    objective.free_bits = 1.0
    with pytest.raises(ValueError, match=r"without free_bits with backward_samples. Received: TopTwo"):
        small_model(1, objective).compile("sgd")
    analytic = objectives.ELBO(6, analytic_kl=True)
    model = small_model(1, objectives.Combined(analytic, analytic, backward_samples=2), posterior="full")
    model.build((None, 8, 8, 1))
    with pytest.raises(ValueError, match="diagonal Gaussians with backward_samples and a KL in closed form"):
        gradients(model, x)


def test_resampled_gradients_of_incomplete_data():
    x = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    x[::3, 1] = x[5] = np.nan

    def make(objective):
        return iwae_tf.IWAE(
            [layers.IndependentNormal(3, hidden=(8,)), layers.IndependentNormal(2, hidden=(8,))],
            [layers.IndependentNormal(3, hidden=(8,)), layers.IndependentNormal(4, hidden=(8,))],
            layers.StandardNormal(2), objective, seed=0, incomplete=True,
        )  # fmt: skip

    assert_exact(make, x)


@pytest.mark.parametrize("kl_weight", [0.0, 0.5])
def test_doubly_reparameterized_is_unbiased_during_warm_up(linear_gaussian, kl_weight):
    """Its factor is not w~ there. 24 comparisons in each case: false alarm below 3e-5."""
    assert_same_mean(*(draws(linear_gaussian, 0.3, objective, kl_weight) for objective in (IWAE(6), IWAE(6, DOUBLY))))


@pytest.mark.parametrize("gradient", ["reparameterized", DOUBLY])
def test_the_networks_follow_their_own_objectives(exact, gradient):
    """PIWAE's decoder gets IWAE's gradient and nothing of MIWAE's; its encoder the other way round."""
    cases = (PIWAE(2, 3, gradient), IWAE(6), MIWAE(2, 3, gradient))
    piwae, iwae, miwae = (gradients(exact.model(0.3, objective), exact.sample(5))[0] for objective in cases)
    inference = 4 * len(exact.model().encoder)  # kernel and bias of two heads
    for expected, part in ((miwae, slice(inference)), (iwae, slice(inference, None))):
        for a, b in zip(piwae[part], expected[part], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert any(abs(a - b).numpy().max() > 1e-3 for a, b in zip(piwae[:inference], iwae[:inference], strict=True))


def test_sleep_phase_is_the_likelihood_of_dreams(gaussian_chain):
    """Against its expectation where q is off by 0.3 in each mean; 36 comparisons: false alarm below 3e-5."""
    found = inference_part(gaussian_chain, draws(gaussian_chain, 0.3, RWS(2, sleep=1.0)))
    expected = []
    for layer in gaussian_chain.model().encoder:
        variance = np.exp(2 * layer.heads[1].bias.numpy())
        # Of kernel and bias of the mean, then of the logarithm of the scale; the mean input is 0.
        expected += [np.zeros(4), 0.3 / variance, np.zeros(4), -(0.3**2) / variance]
    error = found.std(0, ddof=1) / len(found) ** 0.5
    assert (abs(found.mean(0) - np.concatenate(expected)) < 5 * error).all()


def test_part_of_a_sleep_phase(gaussian_chain):
    x = gaussian_chain.sample(5)
    wake, both, sleep = (gradients(gaussian_chain.model(0.3, RWS(6, sleep=s)), x)[0] for s in (0.0, 0.25, 1.0))
    for i, (a, b, c) in enumerate(zip(wake, both, sleep, strict=True)):
        np.testing.assert_allclose(b, 0.75 * a + 0.25 * c if i < 12 else a, rtol=1e-4, atol=1e-6)


# --------------------------------------------------------------------------- every form, everywhere


@pytest.mark.parametrize("objective", [FORMS[2], FORMS[3], FORMS[5]], ids=repr)
def test_compiled_and_eager_gradients_are_the_same(x, objective):
    """Drawn indices and dreams too."""
    found = []
    for wrap in (lambda step: step, tf.function(jit_compile=True, autograph=False)):
        model = small_model(1, objective)
        model.compile("sgd")
        data = (tf.constant(x), None, tf.linspace(0.5, 1.5, 20))
        found.append(wrap(lambda model=model, data=data: model._gradients(data))())
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_compiled_and_eager_training_are_the_same(x):
    """Through fit, so in the loop of several steps."""
    losses = []
    for mode in ({"run_eagerly": True}, {"jit_compile": True}):
        model = small_model(1, IWAE(6, backward_samples=1))
        model.compile(keras.optimizers.SGD(1e-2), steps_per_execution=2, **mode)
        losses.append(model.fit(x, batch_size=10, epochs=2, verbose=0).history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.parametrize("name", sorted(set(objectives.NAMES) - {"fivo"}))
def test_any_depth(x, name):
    num_layers = 7  # a definition's gradient is tested with one and three
    model = small_model(num_layers, objectives.get(name, 6))
    found, _ = gradients(model, x)
    assert all(np.isfinite(g).all() for g in found)
    assert all(np.any(g) for g in found[: 4 * num_layers]), "some part of the inference network stands still"


def test_each_network_has_samples_of_its_own(x):
    """Where the numbers of samples differ, the encoder's gradient is that of its objective alone, with another seed."""
    combined = objectives.Combined(IWAE(5), IWAE(4, DOUBLY))
    model = small_model(1, combined)
    found, seed = gradients(model, x)
    prepared = model.preprocess(x, seed)
    seed = random.fold_in(seed, 1)
    expected = [
        compute(model, objective, prepared, s)[0]
        for objective, s in ((combined.generative, seed), (combined.inference, random.fold_in(seed, 2)))
    ]
    encoder = {id(v) for layer in model.encoder for v in layer.trainable_variables}
    for i, variable in enumerate(model.trainable_variables):
        np.testing.assert_allclose(found[i], expected[id(variable) in encoder][i], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("objective", FORMS, ids=repr)
def test_low_precision(x, objective):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        found, _ = gradients(small_model(2, objective), x)
    finally:
        keras.config.set_dtype_policy("float32")
    assert all(np.isfinite(g).all() for g in found) and all(np.any(g) for g in found)


@pytest.mark.parametrize("objective", FORMS[:-1], ids=repr)  # a user's layers may have no KL in closed form
def test_layers_of_a_users_own(x, objective):
    model = iwae_tf.IWAE(
        encoder=[layers.IndependentNormal(4, hidden=(8,)), Plain(3)],
        decoder=[Plain(4), layers.IndependentBernoulli((8, 8, 1), hidden=(8,))],
        prior=layers.StandardNormal(3),
        objective=objective,
        preprocessing=layers.StochasticBinarization(),
        seed=0,
    )
    model.build((None, 8, 8, 1))
    found, _ = gradients(model, x)
    assert all(np.isfinite(g).all() for g in found) and all(np.any(g) for g in found)


@pytest.mark.parametrize("objective", [*FORMS, *CASES], ids=repr)
def test_log_weights_of_any_size(linear_gaussian, objective):
    """Observations so far off that log weights are below -1e4: one weight has it all, and gradients stay finite."""
    model = linear_gaussian.model(3.0, objective)
    x = linear_gaussian.sample(3) + np.float32(100)
    assert model.log_weights(x, 6, seed=0).numpy().max() < -1e4
    assert all(np.isfinite(g).all() for g in gradients(model, x)[0])


def test_switching_between_forms_keeps_weights_and_optimizer(x):
    model = small_model(1, objectives.ELBO())
    model.compile(keras.optimizers.SGD(1e-2), jit_compile=False)
    for steps, objective in enumerate(FORMS[2:6], start=1):
        before = model.get_weights()
        model.objective = objective
        for a, b in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        model.fit(x, batch_size=20, verbose=0)
        assert int(model.optimizer.iterations) == steps


def test_save_and_load(x, tmp_path):
    for objective in (PIWAE(2, 3), objectives.Combined(IWAE(6), RWS(6)), objectives.get("vr-max", 6)):
        model = small_model(1, objective)
        model.save(tmp_path / "m.keras")
        assert keras.saving.load_model(tmp_path / "m.keras").objective == objective


# --------------------------------------------------------------------------- free bits


@pytest.mark.parametrize("num_layers", [1, 2])
def test_free_bits_are_a_floor_under_the_kl_of_a_layer(x, num_layers):
    def step(free_bits):
        model = small_model(num_layers, objectives.ELBO(3, free_bits=free_bits), seed=1)
        model.compile("sgd")
        return model._gradients(x), {name: float(value) for name, value in model.get_metrics_result().items()}

    (plain, logs), (none, low), (all_of_it, high) = (step(bits) for bits in (0.0, 1e-3, 100.0))
    assert logs["loss"] == low["loss"] and all(np.array_equal(a, b) for a, b in zip(plain, none, strict=True))
    assert high["kl"] == logs["kl"] and high["elbo"] == logs["elbo"]
    np.testing.assert_allclose(high["loss"], 100.0 * num_layers - logs["reconstruction"], rtol=1e-5)
    model = small_model(num_layers, objectives.ELBO(3, beta=0.0), seed=1)  # the reconstruction alone
    model.compile("sgd")
    for a, b in zip(all_of_it, model._gradients(x), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


# --------------------------------------------------------------------------- what a posterior cannot give


class Switches(keras.layers.Layer):
    """A posterior of binary variables, whose samples have no gradient."""

    def build(self, input_shape):
        self.dense = keras.layers.Dense(3)
        self.dense.build((None, int(np.prod(input_shape[1:]))))

    def call(self, inputs):
        logits = self.dense(tf.reshape(inputs, [-1, self.dense.kernel.shape[0]]))
        return tfd.Independent(tfd.Bernoulli(logits=logits, dtype=tf.float32), 1)


class Coins(keras.layers.Layer):
    """Their prior."""

    def call(self, inputs=None):
        return tfd.Independent(tfd.Bernoulli(logits=tf.zeros(3), dtype=tf.float32), 1)


def with_switches(objective):
    model = iwae_tf.IWAE(
        [Switches()], [layers.IndependentBernoulli((8, 8, 1))], Coins(), objective,
        preprocessing=layers.StochasticBinarization(), seed=0,
    )  # fmt: skip
    model.build((None, 8, 8, 1))
    model.compile("adam", jit_compile=False)
    return model


def test_wake_sleep_needs_no_reparameterization(x):
    history = with_switches(RWS(6, sleep=0.5)).fit(x, batch_size=20, epochs=30, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    found, _ = gradients(with_switches(objectives.Combined(objectives.ELBO(6), RWS(6))), x)
    assert all(np.any(g) for g in found)


@pytest.mark.parametrize("objective", [IWAE(6), objectives.ELBO(), RWS(6, DOUBLY), PIWAE(2, 3)], ids=repr)
def test_others_say_that_they_need_it(x, objective):
    with pytest.raises(ValueError, match=r"switches.* to return a reparameterised distribution.*ReweightedWakeSleep"):
        with_switches(objective).fit(x, verbose=0)


class OneWay(keras.layers.Layer):
    """A flow that cannot be inverted: it knows the density of what it has drawn, and of nothing else."""

    def build(self, input_shape):
        self.dense = keras.layers.Dense(3)
        self.dense.build(input_shape)

    def call(self, inputs):
        from tensorflow_probability import bijectors as tfb

        flow = tfb.Inline(
            forward_fn=lambda z: z + tf.tanh(z),
            forward_log_det_jacobian_fn=lambda z: tf.math.log(2.0 - tf.tanh(z) ** 2),
            forward_min_event_ndims=0,
        )
        return tfd.TransformedDistribution(tfd.Independent(tfd.Normal(self.dense(inputs), 1.0), 1), flow)


@pytest.mark.parametrize("objective", [IWAE(6, DOUBLY), IWAE(6, "path"), RWS(6)], ids=repr)
def test_a_flow_without_an_inverse(objective):
    x = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    model = iwae_tf.IWAE([OneWay()], [layers.IndependentNormal(4)], layers.StandardNormal(3), IWAE(6), seed=0)
    model.compile(keras.optimizers.SGD(1e-3), jit_compile=False)
    for samples in (None, 1):
        model.objective = IWAE(6, backward_samples=samples)
        assert np.isfinite(model.fit(x, verbose=0).history["loss"]).all()
    model.objective = objective
    with pytest.raises(ValueError, match="posteriors with a density for any z"):
        model.fit(x, verbose=0)
