import copy
import functools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from iwae_tf import objectives, runs

from ..fixtures import small_model
from .reference import CASES, log_mean_exp, reference

ALL = [
    *CASES,
    objectives.ELBO(),
    objectives.ELBO(num_samples=6, beta=2.0, analytic_kl=True, free_bits=0.5),
    objectives.ImportanceWeighted(6, backward_samples=2),
    objectives.ImportanceWeighted(6, "path", backward_samples="auto"),
    objectives.MIWAE(2, 3, backward_samples=2),
    objectives.CIWAE(6, 0.5, backward_samples=2),
    objectives.PIWAE(2, 3, backward_samples=2),
    objectives.Renyi(6, 0.5, backward_samples=2),
    objectives.ReweightedWakeSleep(6, backward_samples=2),
    objectives.Combined(objectives.ImportanceWeighted(6), objectives.ELBO(6), backward_samples=2),
    objectives.ReweightedWakeSleep(6, sleep=0.5),
    objectives.REINFORCE(6, baseline="learned"),
    objectives.VIMCO(6, backward_samples=2),
    objectives.OVIS(6, backward_samples="auto"),
    objectives.Thermodynamic(6, backward_samples=2),
    objectives.Combined(objectives.ImportanceWeighted(6), objectives.MIWAE(2, 3)),
]


def log_weights(k=6, batch=3, seed=0, spread=3.0):
    return tf.constant(np.random.default_rng(seed).normal(size=(k, batch)) * spread - 90, tf.float32)


@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_bounds_equal_their_definitions(jit_compile):
    """All in one program, for compilation takes longer than they do."""
    lw = log_weights()

    def bounds():
        return [objective.bound(lw) for objective in CASES]

    results = bounds() if jit_compile is None else tf.function(bounds, jit_compile=jit_compile)()
    for objective, result in zip(CASES, results, strict=True):
        np.testing.assert_allclose(result, reference(objective, lw).bound, rtol=1e-5, err_msg=repr(objective))


@pytest.mark.parametrize("objective", CASES, ids=repr)
def test_gradient_of_the_bound_is_that_of_its_definition(objective):
    lw = log_weights()
    with tf.GradientTape() as tape:
        tape.watch(lw)
        bound = tf.reduce_sum(objective.bound(lw))
    np.testing.assert_allclose(tape.gradient(bound, lw), reference(objective, lw).a, rtol=1e-3, atol=3e-5)


@pytest.mark.parametrize("kl_weight", [1.0, 0.3, 0.0])
@pytest.mark.parametrize("objective", [case for case in CASES if case.path_weights], ids=repr)
def test_path_weights_take_the_gradient_of_the_bound_to_that_of_the_path(objective, kl_weight):
    lw = log_weights()
    expected = reference(objective, lw, kl_weight)
    np.testing.assert_allclose(objective.path_weights(lw, kl_weight) * expected.a, expected.b, rtol=1e-4, atol=1e-6)


def test_path_weights():
    lw = log_weights()
    assert objectives.ImportanceWeighted(6).path_weights is None
    np.testing.assert_array_equal(objectives.ImportanceWeighted(6, "path").path_weights(lw), np.ones((6, 3)))
    doubly = objectives.ImportanceWeighted(6, "doubly_reparameterized").path_weights(lw)
    np.testing.assert_allclose(doubly, tf.nn.softmax(lw, 0))


# --------------------------------------------------------------------------- what must be the same


def test_reported_bound_is_not_the_surrogate():
    """sum w~ log w is too high by log k less the entropy of w~: a mistake of published implementations."""
    lw = log_weights()
    w = tf.nn.softmax(lw, 0).numpy()
    entropy = -(w * np.log(w)).sum(0)
    surrogate = (w * lw.numpy()).sum(0)
    bound = objectives.ImportanceWeighted(6).bound(lw).numpy()
    np.testing.assert_allclose(surrogate - bound, np.log(6) - entropy, rtol=1e-4)


SAME = [
    (objectives.ImportanceWeighted(1), objectives.ELBO(1)),
    (objectives.MIWAE(1, 6), objectives.ImportanceWeighted(6)),
    (objectives.MIWAE(6, 1), objectives.ELBO(6)),
    (objectives.PIWAE(2, 3), objectives.ImportanceWeighted(6)),
    (objectives.CIWAE(6, 1.0), objectives.ELBO(6)),
    (objectives.CIWAE(6, 0.0), objectives.ImportanceWeighted(6)),
    (objectives.Renyi(6, 0.0), objectives.ImportanceWeighted(6)),
    (objectives.Renyi(6, 1.0), objectives.ELBO(6)),
    (objectives.Jackknife(6, 0), objectives.ImportanceWeighted(6)),
    (objectives.REINFORCE(6), objectives.ELBO(6)),
    (objectives.Thermodynamic(6, betas=(0, 1)), objectives.ELBO(6)),
]


@pytest.mark.parametrize(("one", "other"), SAME, ids=repr)
def test_special_cases_agree(one, other):
    lw = log_weights(other.num_particles)
    assert one.num_particles == other.num_particles
    np.testing.assert_allclose(one.bound(lw), other.bound(lw), rtol=1e-6)


@pytest.mark.parametrize("objective", [case for case in CASES if case.advantages], ids=repr)
def test_advantages_equal_their_definitions(objective):
    """The first column has almost all weight in one sample, where 1 - w~ rounds to 0."""
    lw = tf.concat([log_weights(), tf.constant([[-90.0], [-50.0], [-91.0], [-92.0], [-90.5], [-93.0]])], 1)
    expected = reference(objective, lw)
    np.testing.assert_allclose(objective.advantages(lw), expected.c + expected.a, rtol=2e-5, atol=2e-5)


def test_special_cases_of_advantages_agree():
    """Two betas make leave-one-out; OVIS without gamma is VIMCO up to a constant, which changes no mean."""
    lw = log_weights()
    one, other = objectives.Thermodynamic(6, betas=(0, 1)), objectives.REINFORCE(6)
    np.testing.assert_allclose(one.advantages(lw), other.advantages(lw), rtol=1e-4, atol=1e-5)
    difference = objectives.OVIS(6).advantages(lw) - objectives.VIMCO(6, "arithmetic").advantages(lw)
    np.testing.assert_allclose(difference, np.full((6, 3), math.log(6 / 5)), rtol=1e-5)


@pytest.mark.parametrize("make", [objectives.VIMCO, objectives.OVIS, objectives.REINFORCE, objectives.Thermodynamic])
def test_the_others_are_at_least_one(make):
    with pytest.raises(ValueError, match=r"num_samples must be an integer of 2 or more. Received: num_samples=1"):
        make(1)
    assert objectives.REINFORCE(1, baseline="learned").num_particles == 1


@pytest.mark.parametrize("betas", [(0,), (0.1, 1), (0, 0.5), (0, 0.5, 0.5, 1), (0, 0.7, 0.2, 1)])
def test_betas_that_make_no_path(betas):
    with pytest.raises(ValueError, match=r"Expected betas to ascend from 0 to 1. Received: betas=\("):
        objectives.Thermodynamic(6, betas=betas)


def test_groups_and_samples_are_told_apart():
    lw = log_weights()
    few, many = (objectives.MIWAE(*sizes).bound(lw).numpy() for sizes in ((2, 3), (3, 2)))
    elbo, iwae = objectives.ELBO(6).bound(lw).numpy(), objectives.ImportanceWeighted(6).bound(lw).numpy()
    assert (elbo < many).all() and (many != few).all() and (few < iwae).all() and (many < iwae).all()


# --------------------------------------------------------------------------- Renyi


def test_renyi_falls_as_alpha_rises():
    lw = log_weights()
    alphas = [-math.inf, -1e6, -10, -1, 0, 0.5, 0.9, 1 - 1e-5, 1, 1 + 1e-5, 1.1, 2, 10, 1e6, math.inf]
    bounds = np.array([objectives.Renyi(6, alpha).bound(lw) for alpha in alphas])
    assert (np.diff(bounds, axis=0) <= 2e-5).all()  # the last bit of 90
    np.testing.assert_allclose(bounds[[0, -1]], [lw.numpy().max(0), lw.numpy().min(0)])
    np.testing.assert_allclose(bounds[[1, -2]], bounds[[0, -1]], rtol=1e-5)


@pytest.mark.parametrize("order", [1e-2, 1e-4, 1e-8, 1e-12])
def test_renyi_near_one_loses_nothing_to_rounding(order):
    """To second order the bound is the ELBO + order var(log w) / 2."""
    lw = log_weights(64, 100)
    exact = lw.numpy().astype(np.float64)
    for sign in (-1, 1):
        expected = (
            log_mean_exp(sign * order * exact) / (sign * order)
            if order > 1e-3
            else (exact.mean(0) + sign * order * exact.var(0) / 2)
        )
        np.testing.assert_allclose(objectives.Renyi(64, 1 - sign * order).bound(lw), expected, atol=1e-4)


# --------------------------------------------------------------------------- the jackknife


P, HIGH = 0.3, 10.0  # weights are 10 with this probability, else 1


def exact_bias(k, order):
    """The exact bias for such weights: the number of high ones is binomial."""

    def bound(n):
        pmf = [math.comb(n, high) * P**high * (1 - P) ** (n - high) for high in range(n + 1)]
        return sum(p * math.log(1 + (HIGH - 1) * high / n) for high, p in enumerate(pmf))

    factorial = math.factorial
    coefficients = [(-1) ** j * (k - j) ** order / (factorial(order - j) * factorial(j)) for j in range(order + 1)]
    return sum(c * bound(k - j) for j, c in enumerate(coefficients)) - math.log(1 + (HIGH - 1) * P)


def controlled_bias(k, order, n):
    """The bias of each of n draws, made less noisy by the error of the mean weight, whose expectation is 0."""
    w = np.where(np.random.default_rng(order).uniform(size=(k, n)) < P, HIGH, 1.0)
    bound = objectives.Jackknife(k, order).bound(tf.constant(np.log(w), tf.float32)).numpy()
    mean = 1 + (HIGH - 1) * P
    return w, bound - math.log(mean) - (w.mean(0) / mean - 1)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_jackknife_has_the_exact_mean_and_its_bias_falls_as_promised(order):
    """Against the exact expectation; false alarm of the three means: 2e-6."""
    _, bias = controlled_bias(6, order, 100_000)
    assert abs(bias.mean() - exact_bias(6, order)) < 5 * bias.std(ddof=1) / 100_000**0.5
    falls = math.log2(exact_bias(64, order) / exact_bias(128, order))
    assert abs(falls - (order + 1)) < 0.15


def test_jackknife_beyond_the_exact_average():
    """30 samples have 435 pairs, of which 180 are dropped: the same mean (false alarm 6e-7), and little noise."""
    _, bias = controlled_bias(30, 2, 2000)
    assert abs(bias.mean() - exact_bias(30, 2)) < 5 * bias.std(ddof=1) / 2000**0.5
    w = np.random.default_rng(0).lognormal(size=(30, 20))
    bound = objectives.Jackknife(30, 2).bound(tf.constant(np.log(w), tf.float32)).numpy()
    exact = reference(objectives.Jackknife(30, 2), np.log(w)).bound
    assert np.var(bound - exact) < 0.1 * np.var(exact)


def test_jackknife_takes_the_same_subsets_every_time():
    lw = log_weights(30)
    np.testing.assert_array_equal(*(objectives.Jackknife(30, 3).bound(lw) for _ in range(2)))


# --------------------------------------------------------------------------- numbers out of the ordinary


@pytest.mark.parametrize("jit_compile", [False, True])
def test_extreme_weights_and_ties_stay_finite(jit_compile):
    patterns = [
        [1e4] * 6,
        [-1e4] * 6,
        [1e4, -1e4] * 3,
        [-1e4] * 5 + [1e4],
        [1e4] * 5 + [-1e4],
        [0.0] * 6,
        [0, 0, 1e4] * 2,
    ]
    lw = tf.constant(np.transpose(patterns), tf.float32)
    cases = [objective for objective in ALL if objective.num_particles == 6]

    @tf.function(jit_compile=jit_compile)
    def values():
        results = []
        for objective in cases:
            with tf.GradientTape() as tape:
                tape.watch(lw)
                bound = objective.bound(lw)
            results.append([bound, tape.gradient(bound, lw)])
            results[-1] += [objective.path_weights(lw)] if objective.path_weights else []
            results[-1] += [objective.score_weights(lw)] if objective.score_weights else []
            results[-1] += [objective.advantages(lw)] if objective.advantages else []
        return results

    for objective, results in zip(cases, values(), strict=True):
        assert all(np.isfinite(result).all() for result in results), objective
        rounding = 6e-8 * 1e4 * 100 if isinstance(objective, objectives.Jackknife) else 1e-3
        np.testing.assert_allclose(results[0][:2], [1e4, -1e4], atol=rounding)


# --------------------------------------------------------------------------- plain data


@pytest.mark.parametrize("objective", ALL, ids=repr)
def test_serialization(objective):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(objective))
    for other in (again, copy.deepcopy(objective), eval(repr(objective), {**vars(objectives), "inf": math.inf})):
        assert other == objective and hash(other) == hash(objective) and repr(other) == repr(objective)
    assert again != objectives.ELBO(num_samples=99)


@pytest.mark.parametrize("name", sorted(objectives.NAMES))
def test_names(name):
    for k in (2, 7, 64):
        assert objectives.get(name, k).num_particles == k


def test_samples_that_are_differentiated():
    assert [IWAE(k, backward_samples="auto").num_backward for k in (1, 19, 20, 50, 200)] == [1, 19, 8, 8, 20]
    assert IWAE(50).num_backward == 50 and objectives.get("iwae-sampled", 50, backward_samples="auto").num_backward == 1
    for name in objectives.NAMES:
        assert objectives.get(name, 50, backward_samples="auto").num_backward in (1, 8, 10, 50)
    assert objectives.get("miwae-dreg", 64, backward_samples=3).num_backward == 3
    assert objectives.get("elbo", 50, backward_samples="auto").num_backward == 50
    objectives.register("iwae-4", functools.partial(IWAE, backward_samples=4))
    assert objectives.get("iwae-4", 50).num_backward == 4
    assert objectives.get("iwae-4", 50, backward_samples=7).num_backward == 7
    assert objectives.get("vr-max", 50, backward_samples=7).num_backward == 1
    for groups in (objectives.MIWAE, objectives.PIWAE):
        assert [groups(m, 10, backward_samples="auto").num_backward for m in (1, 3, 20)] == [10, 8, 40]


def test_names_of_groups_divide_the_samples():
    assert objectives.get("miwae", 64) == objectives.MIWAE(8, 8)
    assert objectives.get("piwae", 50) == objectives.PIWAE(5, 10)
    assert objectives.get("miwae-dreg", 7) == objectives.MIWAE(1, 7, "doubly_reparameterized")


@pytest.mark.parametrize("k", [0, -1, 2.5, True, "3", None])
def test_bad_number_of_samples(k):
    for name, make in objectives.NAMES.items():
        with pytest.raises(ValueError, match=r"must be (a positive integer|an integer of 2 or more)"):
            make(k)
        assert name
    for make in (lambda k: objectives.MIWAE(k, 2), lambda k: objectives.PIWAE(2, k)):
        with pytest.raises(ValueError, match=r"must be (a positive integer|an integer of 2 or more)"):
            make(k)


IWAE, ELBO, MIWAE = objectives.ImportanceWeighted, objectives.ELBO, objectives.MIWAE
BAD = {
    "gradient": (lambda: IWAE(5, gradient="dreg"), "reparameterized, path, doubly_reparameterized. Received: 'dreg'"),
    "backward": (lambda: IWAE(5, backward_samples=0), "backward_samples must be a positive integer"),
    "backward of more": (lambda: IWAE(5, backward_samples=6), "number of samples, 5. Received: backward_samples=6"),
    "backward of groups": (lambda: MIWAE(2, 3, backward_samples=7), "number of samples, 6. Received"),
    "backward word": (lambda: IWAE(5, backward_samples="all"), "must be 'auto', None or .*backward_samples='all'"),
    "backward of free bits": (
        lambda: objectives.Combined(ELBO(5, free_bits=1.0), IWAE(5), backward_samples=2),
        "without free_bits with backward_samples",
    ),
    "name without backward": (
        lambda: objectives.get("jackknife", 5, backward_samples=2),
        "backward_samples with one of ciwae, .* only. Received: backward_samples=2 with 'jackknife'",
    ),
    "beta": (lambda: ELBO(beta=-1), "beta to be finite and not negative. Received: beta=-1"),
    "free bits": (lambda: ELBO(free_bits=math.nan), "Received: free_bits=nan"),
    "miwae": (lambda: MIWAE(2, 3, "path"), "reparameterized, doubly_reparameterized. Received: 'path'"),
    "ciwae": (lambda: objectives.CIWAE(5, 1.5), r"beta must be a number in \[0, 1\]. Received: beta=1.5"),
    "alpha": (lambda: objectives.Renyi(5, math.nan), "Received: alpha=nan"),
    "sleep": (
        lambda: objectives.ReweightedWakeSleep(5, sleep=2),
        r"sleep must be a number in \[0, 1\]. Received: sleep=2",
    ),
    "wake": (lambda: objectives.ReweightedWakeSleep(5, "path"), "score, doubly_reparameterized. Received: 'path'"),
    "wake of one": (lambda: objectives.get("rws", 1), "at least 2 with a wake phase"),
    "order": (lambda: objectives.Jackknife(3, 3), "from 0 to num_samples - 1. Received: order=3, num_samples=3"),
    "jackknife of one": (lambda: objectives.get("jackknife", 1), "Received: order=1, num_samples=1"),
    "negative order": (lambda: objectives.Jackknife(3, -1), "Received: order=-1"),
    "numbers": (
        lambda: objectives.Combined(IWAE(5), IWAE(4), backward_samples=2),
        "Expected objectives of the same samples with backward_samples",
    ),
    "kinds": (lambda: objectives.Combined(ELBO(2, analytic_kl=True), IWAE(2)), "same kind of KL"),
    "nested": (lambda: objectives.Combined(IWAE(6), objectives.PIWAE(2, 3)), "inference to differentiate one bound"),
    "chosen": (lambda: objectives.Combined(objectives.get("vr-max", 6), IWAE(6)), "generative to differentiate one"),
    "name": (lambda: objectives.get("vae", 5), ", ".join(sorted(objectives.NAMES))),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments(case):
    make, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        make()


def test_sleep_needs_but_one_sample():
    assert objectives.get("wake-sleep", 1).num_particles == 1


def test_combined_takes_objectives():
    with pytest.raises(TypeError, match=r"inference to be an iwae_tf.objectives.Objective. Received: 'miwae'"):
        objectives.Combined(IWAE(5), "miwae")


# --------------------------------------------------------------------------- an objective of a user's own


@keras.saving.register_keras_serializable(package="tests")
class Quantile(objectives.Objective):
    """A quantile of the log weights, the median by default: no bound, but robust."""

    def __init__(self, num_samples, beta=0.5):
        self.num_samples = self.num_particles = num_samples
        self.beta = beta

    def bound(self, log_weights):
        return tf.sort(log_weights, axis=0)[int(self.beta * self.num_samples)]


def test_an_objective_of_a_users_own_is_trained_saved_and_loaded_by_name(x, tmp_path):
    objectives.register("quantile", Quantile)
    assert objectives.takes_beta("quantile") and runs.Config(objective="quantile", beta=0.2).objective == "quantile"
    objective = objectives.get("quantile", 5, beta=0.2)
    assert repr(objective) == "Quantile(num_samples=5, beta=0.2)"
    assert objective == Quantile(5, 0.2) != Quantile(5) and hash(objective) == hash(Quantile(5, 0.2))
    model = small_model(objective=objective)
    model.compile("sgd")
    assert np.isfinite(model.fit(x, epochs=2, verbose=0).history["loss"]).all()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.objective == objective
    np.testing.assert_array_equal(*(m.evaluate(x, verbose=0, return_dict=True)["loss"] for m in (model, again)))


def test_names_are_registered_once():
    with pytest.raises(ValueError, match=r"not registered yet. Received: 'iwae'"):
        objectives.register("iwae", Quantile)
    with pytest.raises(TypeError, match=r"number of samples to an objective. Received: Quantile\(num_samples=3"):
        objectives.register("median", Quantile(3))
    assert objectives.NAMES["iwae"] is IWAE and "median" not in objectives.NAMES


def test_arguments_are_attributes():
    class Forgetful(Quantile):
        def __init__(self, scale, offset=0):
            super().__init__(3)
            self.scale = scale

    class Unnamed(Quantile):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)

    class Plain(Quantile):
        """With the constructor of its base."""

    for use in (repr, hash, Forgetful.get_config, lambda objective: objective == Forgetful(1)):
        with pytest.raises(AttributeError, match=r"Forgetful to keep .* as attributes .*Received: no attribute offset"):
            use(Forgetful(1))
    with pytest.raises(TypeError, match=r"Unnamed to name its arguments.*Received: Unnamed\(\*args, \*\*kwargs\)"):
        repr(Unnamed(3))
    assert Plain(3).get_config() == {"num_samples": 3, "beta": 0.5} and Plain(3) != Quantile(3)
