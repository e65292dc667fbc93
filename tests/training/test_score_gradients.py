"""Gradients that follow the score of q, against sums over all states of models of a few bits."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from iwae_tf import evaluation, layers, networks, objectives, sequences
from iwae_tf.log_weights import log_mean_exp
from iwae_tf.objectives import OVIS, REINFORCE, VIMCO, Combined, ImportanceWeighted, Objective, Thermodynamic
from iwae_tf.training import executions

from ..enumeration import (
    MODELS,
    X,
    bit_model,
    expected_bound,
    expected_gradients,
    gradients_at,
    list_states,
    log_evidence,
    score_states,
)
from ..fixtures import assert_same_mean, gradient_draws, small_model

RWS = objectives.ReweightedWakeSleep

UNBIASED = [
    VIMCO(2),
    VIMCO(2, "arithmetic"),
    OVIS(2),
    REINFORCE(2),
    REINFORCE(2, baseline=None),
    Thermodynamic(2, betas=(0, 1)),
    Combined(REINFORCE(2), VIMCO(2)),
]


def assert_close(found, expected):
    scale = max(float(tf.reduce_max(tf.abs(g))) for g in expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=2e-5 * scale)


def differentiate(model, value):
    """The gradient of `value()` for all variables, in the direction of ascent."""
    with tf.GradientTape() as tape:
        result = value()
    found = tape.gradient(result, model.trainable_variables)
    return [tf.zeros_like(v) if g is None else g for g, v in zip(found, model.trainable_variables, strict=True)]


def split(model, found):
    """The gradients for the inference network, and those for the generative one."""
    own = {id(v) for layer in model.encoder for v in layer.trainable_variables}
    pairs = list(zip(found, model.trainable_variables, strict=True))
    return [g for g, v in pairs if id(v) in own], [g for g, v in pairs if id(v) not in own]


# --------------------------------------------------------------------------- exact answers


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def bernoulli(x, logits):
    return np.prod(np.where(x == 1, sigmoid(logits), sigmoid(-logits)), -1)


def logits_of(layer, inputs):
    (dense,), (head,) = layer.perceptron, layer.heads
    hidden = np.tanh(inputs @ dense.kernel.numpy().astype(np.float64) + dense.bias.numpy())
    return hidden @ head.kernel.numpy().astype(np.float64) + head.bias.numpy()


def test_densities_of_two_layers_in_numpy():
    model = MODELS["two layers"]()
    z1, z2 = (z.numpy()[:, 0].astype(np.float64) for z in list_states(model))
    q1, q2 = model.encoder
    p1, px = model.decoder
    x = np.tile(X, (len(z1), 1))
    q = bernoulli(z1, logits_of(q1, x)) * bernoulli(z2, logits_of(q2, z1))
    p = bernoulli(z2, model.prior.logits.numpy()) * bernoulli(z1, logits_of(p1, z2)) * bernoulli(x, logits_of(px, z1))
    log_w, log_q = score_states(model)
    np.testing.assert_allclose(log_q[:, 0], np.log(q), rtol=1e-5)
    np.testing.assert_allclose(log_w[:, 0], np.log(p / q), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose([q.sum(), log_evidence(model)[0]], [1, np.log(p.sum())], rtol=1e-5)


@pytest.mark.parametrize("make", [*MODELS.values(), lambda: bit_model(latent_sizes=(8,))], ids=[*MODELS, "8 bits"])
def test_likelihood_and_bounds(make):
    """Of all three bits of x; the probabilities sum to 1. False alarm of the estimate: 6e-7 for each of 8 x."""
    model = make()
    x = np.array(list(np.ndindex(2, 2, 2)), np.float32)
    exact = log_evidence(model, x).numpy()
    np.testing.assert_allclose(np.exp(exact).sum(), 1, rtol=1e-5)
    table = evaluation.log_likelihood(model, x, 2000)
    assert (abs(table.log_likelihood - exact) < 5 * table.standard_error + 1e-5).all()
    if len(list_states(model)[0]) <= 32:
        bounds = [
            float(expected_bound(model, objective, x)) for objective in (REINFORCE(1, None), REINFORCE(2), VIMCO(2))
        ]
        np.testing.assert_allclose(bounds[0], bounds[1], rtol=1e-5)
        assert bounds[1] < bounds[2] < exact.mean()


@pytest.mark.parametrize("objective", UNBIASED, ids=repr)
@pytest.mark.parametrize("name", MODELS)
def test_the_mean_of_the_gradient_is_the_gradient_of_the_mean(name, objective):
    """Exactly: the sum over all pairs of states, for both networks."""
    model = MODELS[name](objective)
    found = split(model, expected_gradients(model, objective))
    parts = objective.inference or objective, getattr(objective, "generative", objective)
    exact = (differentiate(model, lambda part=part: expected_bound(model, part)) for part in reversed(parts))
    generative, inference = exact
    assert_close(found[0], split(model, inference)[0])
    assert_close(found[1], split(model, generative)[1])


@pytest.mark.parametrize("objective", [VIMCO(3), OVIS(3), REINFORCE(3)], ids=repr)
def test_three_samples_and_a_weight_of_the_kl(objective):
    model = bit_model(objective)
    model.kl_weight.assign(0.6)
    assert_close(
        expected_gradients(model, objective), differentiate(model, lambda: expected_bound(model, objective, X, 0.6))
    )


def test_the_bias_of_ovis_is_the_wake_phase():
    model = bit_model()
    unbiased, biased, wake = (
        split(model, expected_gradients(model, objective))[0] for objective in (OVIS(2), OVIS(2, gamma=0.7), RWS(2))
    )
    assert_close(biased, [a + 0.7 * b for a, b in zip(unbiased, wake, strict=True)])


def test_a_learned_baseline_changes_no_mean():
    """Of a network with random weights, which has a gradient of its own. 43 comparisons: false alarm below 3e-5."""
    objective = REINFORCE(2, baseline="learned")
    model = bit_model(objective)
    model.compile("sgd")
    draws = gradient_draws(model, tf.constant(np.tile(X, (5, 1))), 2000)
    exact = flatten(differentiate(model, lambda: expected_bound(model, objective)))
    own = {id(v) for v in model.baseline.trainable_variables}
    of_baseline = flatten([tf.fill(v.shape, float(id(v) in own)) for v in model.trainable_variables]) == 1
    error = draws.std(0, ddof=1) / len(draws) ** 0.5
    assert (abs(draws.mean(0) + exact) <= 5 * error + 1e-6)[~of_baseline].all()
    assert (abs(draws.mean(0)) > 5 * error)[of_baseline].any()


def flatten(arrays):
    return np.concatenate([np.ravel(array) for array in arrays])


# --------------------------------------------------------------------------- TVO


def even_model(k, betas):
    """A model whose q is uniform, and each state k / 8 times, which is what q would draw."""
    objective = Thermodynamic(k, betas=betas)
    model = bit_model(objective)
    (head,) = model.encoder[0].heads
    head.kernel.assign(tf.zeros_like(head.kernel))
    head.bias.assign(tf.zeros_like(head.bias))
    (states,) = list_states(model)
    return model, objective, tf.repeat(states, k // 8, axis=0)


def exact_path(model, betas):
    """The left Riemann sum over the means of log w under q w^beta, by the sum over all states."""
    log_w, log_q = score_states(model)
    means = [tf.reduce_sum(tf.nn.softmax(log_q + beta * log_w, axis=0) * log_w) for beta in betas[:-1]]
    return tf.tensordot(np.diff(betas).astype(np.float32), tf.stack(means), 1)


@pytest.mark.parametrize("betas", [(0, 1), (0, 0.2, 1), (0, 0.1, 0.3, 0.6, 1)])
def test_thermodynamic_objective_against_its_exact_path(betas):
    """The covariance has k / (k - 1), 1.0006 here."""
    model, objective, z = even_model(1600, betas)
    log_w = score_states(model)[0]
    np.testing.assert_allclose(objective.bound(tf.repeat(log_w, 200, axis=0)), [exact_path(model, betas)], rtol=1e-4)
    found = gradients_at(model, objective, [z], tf.constant(X))
    exact = differentiate(model, lambda: exact_path(model, betas))
    scale = max(float(tf.reduce_max(tf.abs(g))) for g in exact)
    for one, other in zip(found, exact, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=1e-3 * scale)


def test_more_betas_take_the_bound_to_the_likelihood():
    model, _, _ = even_model(8, (0, 1))
    log_w = tf.cast(score_states(model)[0], tf.float64)
    bounds = [Thermodynamic(8, np.linspace(0, 1, n + 1)).bound(log_w)[0].numpy() for n in (1, 2, 4, 16, 256)]
    gaps = float(log_evidence(model)[0]) - np.array(bounds)
    assert (np.diff(gaps) < 0).all() and (gaps > -1e-6).all()
    np.testing.assert_allclose(gaps[-1] * 16, gaps[-2], rtol=0.05)  # of first order in the step


# --------------------------------------------------------------------------- variance


class Naive(Objective):
    """L_k by the score of q without a control variate."""

    def __init__(self, num_samples):
        self.num_samples = self.num_particles = num_samples

    def bound(self, log_weights):
        return log_mean_exp(log_weights)

    def advantages(self, log_weights):
        return tf.ones_like(log_weights) * self.bound(log_weights)


def measure(model, objective, n=500, x=X):
    return evaluation.gradient_snr(model, x, n, [objective]).set_index("network").loc["encoder"]


def test_control_variates_lower_the_variance():
    """At k = 10. REINFORCE follows the ELBO and the others L_10; 500 gradients tell variances to about 10 percent."""
    model = bit_model(latent_sizes=(8,))
    found = [measure(model, o).variance for o in (REINFORCE(10, None), REINFORCE(10), VIMCO(10), Naive(10))]
    none, leave_one_out, vimco, naive = found
    assert none > 5 * leave_one_out and leave_one_out > 1.5 * vimco and naive > 100 * vimco


def test_the_signal_of_ovis_grows_with_the_samples(linear_gaussian):
    """As sqrt(k), where the reparameterised gradient's falls: the asymptotic experiment of Lievin et al., in small.

    From 10 to 100 samples the factors are 3.2 and 1 / 3.2 in the limit; 3.0 and 1 / 3.0 were measured.
    """
    model, x = linear_gaussian.model(0.2), linear_gaussian.sample(4)
    few, many = ({make: measure(model, make(k), 1000, x).snr for make in (OVIS, ImportanceWeighted)} for k in (10, 100))
    assert 2.5 < many[OVIS] / few[OVIS] < 3.8
    assert 0.25 < many[ImportanceWeighted] / few[ImportanceWeighted] < 0.45


# --------------------------------------------------------------------------- everywhere


FORMS = [VIMCO(6), OVIS(6, gamma=0.5), REINFORCE(6), REINFORCE(6, "learned"), Thermodynamic(6), RWS(6, sleep=0.5)]


@pytest.mark.parametrize("objective", FORMS, ids=repr)
@pytest.mark.parametrize("name", ["two layers", "classes"])
def test_compiled_and_eager_gradients_are_the_same(name, objective):
    found = []
    for wrap in (lambda step: step, tf.function(jit_compile=True, autograph=False)):
        model = MODELS[name](objective)
        model.compile("sgd")
        data = tf.constant(np.tile(X, (4, 1))), None, tf.linspace(0.5, 1.5, 4)
        found.append(wrap(lambda model=model, data=data: model._gradients(data))())
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("make", [VIMCO, OVIS, Thermodynamic])
def test_a_resampled_gradient_has_the_mean_of_the_full_one(make):
    """Of bits. 47 comparisons in each of 3 cases: false alarm of all below 9e-5."""
    draws = []
    for m in (None, 2):
        model = MODELS["two layers"](make(6, backward_samples=m))
        model.compile("sgd")
        draws.append(gradient_draws(model, tf.constant(X), 1000))
    assert_same_mean(*draws)


@pytest.mark.parametrize("posterior", ["bernoulli", "categorical"])
@pytest.mark.parametrize("objective", FORMS, ids=repr)
def test_training(x, posterior, objective):
    """Of two layers on digits, through fit."""
    model = small_model(2, objective, posterior=posterior)
    model.compile(keras.optimizers.Adam(1e-2))
    losses = model.fit(x, batch_size=10, epochs=20, verbose=0).history["loss"]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]


@pytest.mark.parametrize(
    "objective",
    [ImportanceWeighted(6), objectives.ELBO(), objectives.PIWAE(2, 3), RWS(6, "doubly_reparameterized")],
    ids=repr,
)
def test_others_list_the_objectives_that_work(objective):
    model = bit_model(objective)
    model.compile("sgd")
    with pytest.raises(
        ValueError, match=r"reparameterised.*objectives VIMCO, OVIS, Thermodynamic, REINFORCE and Reweigh"
    ):
        model._gradients(X)


def test_sequences_of_bits_follow_scores_too():
    """Without a filter; a recurrent model of bits has no network for a baseline."""
    bits = [layers.IndependentBernoulli(n, hidden=(4,)) for n in (2, 3, 2)]
    options = {
        "transition": bits[0],
        "emission": bits[1],
        "proposal": bits[2],
        "cell": keras.layers.GRUCell(4),
        "seed": 0,
    }
    model = sequences.StateSpaceModel(objective=VIMCO(4), **options)
    model.compile("sgd")
    found = model._gradients(tf.constant(np.random.default_rng(0).integers(0, 2, (5, 3, 3)), tf.float32))
    assert all(np.isfinite(g).all() for g in found) and any(np.any(g) for g in found)
    with pytest.raises(
        ValueError, match=r"Expected a model with a network for the baseline.*Received: StateSpaceModel"
    ):
        model.objective = REINFORCE(4, baseline="learned")


# --------------------------------------------------------------------------- the learned baseline


def test_a_learned_baseline_is_saved_and_stays(x, tmp_path, monkeypatch):
    learned = REINFORCE(4, baseline="learned")
    model = small_model(1, learned, posterior="bernoulli")
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(x, batch_size=10, epochs=2, verbose=0)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    pixels = tf.cast(x, tf.float32)
    np.testing.assert_array_equal(again.predict_baseline(pixels), model.predict_baseline(pixels))
    assert again.objective == learned
    first, second = (m.fit(x, batch_size=10, epochs=1, verbose=0).history["loss"] for m in (model, again))
    assert first == second
    monkeypatch.setattr(executions, "FEWEST_ROWS", 2)  # the halves of a batch are differentiated one by one
    for objective in (VIMCO(4), learned):  # the network stays with the model, and its place in the optimiser
        model.objective = objective
        with warnings.catch_warnings(action="error", category=UserWarning):
            model.fit(x, batch_size=10, verbose=0)


def test_a_baseline_of_a_users_own(x):
    network = networks.Baseline((7,), "relu")
    model = small_model(1, VIMCO(4), posterior="bernoulli", baseline=network)
    assert network.chain[1].kernel.shape == (64, 7) and network.seed is not None
    model.objective = REINFORCE(4, baseline="learned")
    model = small_model(1, VIMCO(4), posterior="bernoulli")
    with pytest.raises(ValueError, match=r"Expected a model with a network for the baseline.*Received: IWAE without"):
        model.objective = REINFORCE(4, baseline="learned")


def test_a_baseline_predicts(x):
    """It learns what the log weights of an observation are, relative to the others."""
    model = small_model(1, REINFORCE(8, baseline="learned"), posterior="bernoulli")
    model.compile(keras.optimizers.Adam(1e-2))
    model.optimizer.build(model.trainable_variables)
    for layer in (*model.encoder, *model.decoder, model.prior):
        layer.trainable = False
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(x, batch_size=20, epochs=200, verbose=0)
    prepared = model.preprocess(x, tf.zeros(2, tf.int32))
    means = model.log_weights(x, 500, seed=0).numpy().mean(0)
    correlation = np.corrcoef(model.predict_baseline(prepared), means)[0, 1]
    assert correlation > 0.8


def test_a_baseline_is_neither_encoder_nor_decoder():
    model = bit_model(REINFORCE(2, baseline="learned"))
    assert list(evaluation.gradient_snr(model, X, 5).network) == ["encoder", "decoder"]


def test_a_baseline_is_a_layer():
    with pytest.raises(TypeError, match=r"Expected baseline to be a Keras layer. Received: 'learned'"):
        bit_model(baseline="learned")


class Half(Objective):
    """A user's objective with a learned baseline and a resampled backward pass, which does not exist."""

    num_particles, backward_samples, learns_baseline = 4, 2, True


def test_a_learned_baseline_reads_all_samples():
    with pytest.raises(ValueError, match="Expected objectives without a learned baseline with backward_samples"):
        bit_model(Half())
