"""The shapes that docstrings promise, at odd sizes; a public function that no test here covers is an error."""

import importlib
import inspect
import math
import pkgutil
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import iwae_tf
from iwae_tf import evaluation, log_weights, objectives, sequences
from iwae_tf.evaluation import batches, decomposition, jackknife, pareto
from iwae_tf.objectives import importance_weighted

K, BATCH, EVENT, UNITS = 3, 5, (2, 3), (4, 2)
COVERED = set()


def covers(*names):
    """Marks a test as the one that covers these functions or classes, named by module."""
    COVERED.update(names)
    return lambda test: test


def list_public(package):
    """Lists the public functions and classes of a module, or of all modules of a package."""
    infos = pkgutil.iter_modules(package.__path__, f"{package.__name__}.") if hasattr(package, "__path__") else ()
    for module in (package, *(importlib.import_module(info.name) for info in infos)):
        for name, value in vars(module).items():
            own = getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
            if own and (inspect.isfunction(value) or inspect.isclass(value)):
                yield f"{module.__name__.rpartition('.')[2]}.{name}"


def draw(*shape):
    return tf.constant(np.random.default_rng(0).normal(size=shape), tf.float32)


# --------------------------------------------------------------------------- objectives

DOUBLY = "doubly_reparameterized"
OBJECTIVES = [
    objectives.CIWAE(K, 0.5),
    objectives.CIWAE(K, 0.5, DOUBLY),
    objectives.Combined(objectives.ImportanceWeighted(K), objectives.ELBO(K)),
    objectives.ELBO(K, analytic_kl=True),
    objectives.Filtering(K),
    objectives.ImportanceWeighted(K),
    objectives.ImportanceWeighted(K, "path"),
    objectives.ImportanceWeighted(K, DOUBLY),
    objectives.ImportanceWeighted(K, backward_samples=2),
    *(objectives.Jackknife(K, order) for order in range(K)),
    objectives.MIWAE(2, K),
    objectives.MIWAE(2, K, DOUBLY),
    objectives.PIWAE(2, K),
    objectives.PIWAE(2, K, DOUBLY),
    *(objectives.Renyi(K, alpha) for alpha in (-math.inf, 0.5, 1.0, math.inf)),
    objectives.ReweightedWakeSleep(K),
    objectives.ReweightedWakeSleep(K, DOUBLY, sleep=0.5),
    objectives.VIMCO(K),
    objectives.VIMCO(K, "arithmetic"),
    objectives.OVIS(K, gamma=0.5),
    *(objectives.REINFORCE(K, baseline) for baseline in ("leave-one-out", "learned", None)),
    objectives.Thermodynamic(K, betas=(0, 0.1, 0.5, 1)),
]
covers("base.Objective", *(f"{type(o).__module__.rpartition('.')[2]}.{type(o).__name__}" for o in OBJECTIVES))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_objectives(objective):
    k, inference = objective.num_particles, objective.inference or objective
    weights = draw(k, BATCH)
    assert objective.bound(weights).shape == (BATCH,)
    if inference.path_weights:
        assert inference.path_weights(weights, 0.5).shape == (k, BATCH)
    if inference.score_weights:
        assert inference.score_weights(weights).shape == (k, BATCH)
    if inference.advantages:
        assert inference.advantages(weights).shape == (k, BATCH)
    assert 1 <= objective.num_backward <= k


@covers("registry.get", "registry.register", "registry.takes_beta")
def test_names_of_objectives():
    objectives.register("seven", lambda num_samples, beta=1.0: objectives.ELBO(num_samples, beta))
    for name in objectives.NAMES:
        for beta in (None, 0.3) if objectives.takes_beta(name) else (None,):
            assert objectives.get(name, 7, beta).bound(draw(7, BATCH)).shape == (BATCH,)


@covers("importance_weighted.compute_dreg_weights")
def test_weights_of_dreg():
    assert importance_weighted.compute_dreg_weights(draw(K, BATCH), 0.5).shape == (K, BATCH)


# --------------------------------------------------------------------------- log weights


@covers(*(f"log_weights.{name}" for name in (
    "log_mean_exp", "normalized_weights", "effective_sample_size", "effective_sample_size_of_sums", "standard_error",
    "batch_mean", "log_share_of_others",
)))  # fmt: skip
@pytest.mark.parametrize("rest", [(BATCH,), (BATCH, *EVENT)])
def test_log_weights(rest):
    weights = draw(K, *rest)
    assert log_weights.log_mean_exp(weights).shape == rest
    assert log_weights.normalized_weights(weights).shape == (K, *rest)
    assert log_weights.effective_sample_size(weights).shape == rest
    assert log_weights.log_share_of_others(weights).shape == (K, *rest)
    assert log_weights.effective_sample_size_of_sums(weights[0], weights[1]).shape == rest
    assert log_weights.standard_error(log_weights.effective_sample_size(weights), K).shape == rest
    assert log_weights.batch_mean(weights).shape == ()


# --------------------------------------------------------------------------- evaluation


class Given(NamedTuple):
    x: np.ndarray
    model: iwae_tf.IWAE
    shallow: iwae_tf.IWAE
    mixture: iwae_tf.IWAE


@pytest.fixture(scope="module")
def given():
    def make(sizes, **kwargs):
        objective = objectives.ImportanceWeighted(K)
        return iwae_tf.mlp(EVENT, sizes, [(3,)] * len(sizes), objective=objective, seed=0, **kwargs)

    x = np.random.default_rng(0).integers(0, 2, (BATCH, *EVENT)).astype(np.float32)
    return Given(x, make(UNITS), make(UNITS[:1]), make(UNITS[:1], prior="mixture"))


def make_mixture_columns(given):
    count = given.mixture.prior.responsibilities(draw(BATCH, UNITS[0])).shape[-1]
    return [*(f"component_{c}" for c in range(count)), "most_probable"]


CHAINS = {"num_steps": 2, "num_chains": 2, "num_leapfrog_steps": 1}
LIKELIHOOD = "log_likelihood standard_error effective_sample_size pareto_k jackknife"
#: By function: a call, and the promised number of rows and names of columns.
TABLES = {
    "active_units.active_units": (
        lambda g: evaluation.active_units(g.model, g.x, num_samples=K),
        sum(UNITS),
        "layer unit activity active mean",
    ),
    "annealing.ais": (
        lambda g: evaluation.ais(g.shallow, g.x, **CHAINS),
        BATCH,
        "log_likelihood standard_error effective_sample_size acceptance",
    ),
    "annealing.bdmc": (lambda g: evaluation.bdmc(g.shallow, BATCH, **CHAINS), BATCH, "lower upper gap"),
    "bounds.bounds": (
        lambda g: evaluation.bounds(g.model, g.x, (K, 1)),
        2,
        "num_samples bound standard_error sampling_error",
    ),
    "clusters.responsibilities": (
        lambda g: evaluation.responsibilities(g.mixture, g.x),
        BATCH,
        make_mixture_columns,
    ),
    "decomposition.decompose": (
        lambda g: evaluation.decompose(g.model, g.x, K, 7),
        BATCH,
        "elbo bound log_likelihood negative_kl distortion rate kl_1 kl_2 flagged",
    ),
    "decomposition.kl_of_units": (lambda g: evaluation.kl_of_units(g.model, g.x, K), sum(UNITS), "layer unit kl"),
    "gradient_snr.gradient_snr": (
        lambda g: evaluation.gradient_snr(g.model, g.x, 2),
        2,
        "objective network snr variance squared_norm",
    ),
    "importance_weights.importance_weights": (
        lambda g: evaluation.importance_weights(g.model, g.x, K),
        BATCH,
        "effective_sample_size noticeable entropy largest spread spread_0 spread_1 spread_2",
    ),
    "inference_gaps.inference_gaps": (
        lambda g: evaluation.inference_gaps(g.shallow, g.x, 2, K, likelihood_samples=7),
        BATCH,
        "elbo optimized log_likelihood amortization_gap approximation_gap",
    ),
    "information_criteria.information_criteria": (
        lambda g: evaluation.information_criteria(g.model, g.x, 7),
        1,
        "log_likelihood num_parameters num_observations aic bic",
    ),
    "log_likelihood.log_likelihood": (lambda g: evaluation.log_likelihood(g.model, g.x, 7), BATCH, LIKELIHOOD),
    "log_likelihood.summarize": (
        lambda g: pd.DataFrame([evaluation.summarize(evaluation.log_likelihood(g.model, g.x, 7))]),
        1,
        "log_likelihood standard_error low high jackknife sampling_error effective_sample_size unreliable "
        "num_observations verdict",
    ),
    "out_of_distribution.out_of_distribution": (
        lambda g: evaluation.out_of_distribution(g.model, g.x, 1 - g.x[:K], 7, background=g.shallow),
        3,
        "score auroc auprc fpr95",
    ),
    "without_inactive.without_inactive": (
        lambda g: evaluation.without_inactive(g.model, g.x, evaluation.active_units(g.model, g.x), 7),
        BATCH,
        LIKELIHOOD,
    ),
}
covers(*TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_tables(name, given):
    call, rows, columns = TABLES[name]
    table = call(given)
    assert list(table.index) == list(range(rows))
    assert list(table.columns) == (columns.split() if isinstance(columns, str) else columns(given))


@covers("batches.preprocess_batches", "batches.score_batches", "batches.map_batches")
def test_batches(given):
    ((x, seed),) = batches.preprocess_batches(given.model, given.x)
    assert x.shape == (BATCH, *EVENT) and seed.shape == (2,) and seed.dtype == tf.int32
    (terms,) = batches.score_batches(given.model, given.x, K)
    assert len(terms.kl_of_layers) == len(UNITS)
    for part in (terms.reconstruction, *terms.kl_of_layers, terms.log_posterior, terms.kl, terms.log_weights()):
        assert part.shape == (K, BATCH)
    (doubled,) = batches.map_batches(given.model, lambda x, seed: 2 * x, given.x, 0, 0)
    assert doubled.shape == (BATCH, *EVENT)


@covers("decomposition.factorize")
def test_units(given):
    normal = tfd.Independent(tfd.Normal(tf.zeros([K, BATCH, *EVENT]), 1.0), 2)
    assert decomposition.factorize(normal).log_prob(draw(*EVENT)).shape == (K, BATCH, *EVENT)
    assert decomposition.factorize(tfd.MultivariateNormalTriL(tf.zeros(K), tf.eye(K))) is None


@covers("pareto.estimate_pareto_k", "jackknife.apply_jackknife")
@pytest.mark.parametrize("k", [1, K, 30])
def test_estimates(k):
    largest = np.full((BATCH, 40), -np.inf)
    largest[:, :k] = draw(BATCH, k)
    table = pd.DataFrame({"log_likelihood": np.zeros(BATCH), "effective_sample_size": np.full(BATCH, k / 2 + 0.5)})
    assert pareto.estimate_pareto_k(largest, k).shape == (BATCH,)
    assert jackknife.apply_jackknife(table, largest, k).shape == (BATCH,)


STEPS = 4


@covers(*(f"sequences.{name}" for name in (
    "average_per_step", "count_steps", "effective_sample_size_over_time", "sequence_bounds", "sequence_log_likelihood",
    "summarize_sequences",
)))  # fmt: skip
def test_sequences():
    model = sequences.vrnn(EVENT, 2, 3, objective=objectives.Filtering(K), seed=0)
    x = np.random.default_rng(0).integers(0, 2, (BATCH, STEPS, *EVENT)).astype(np.float32)
    x[0, 2:] = np.nan
    lengths = evaluation.sequences.count_steps(x)
    assert lengths.tolist() == [2] + [STEPS] * (BATCH - 1)
    table = evaluation.sequence_log_likelihood(model, x, K)
    assert list(table) == ["log_likelihood", "standard_error", "effective_sample_size", "num_steps"]
    assert table.num_steps.tolist() == lengths.tolist()
    summary = evaluation.summarize_sequences(table)
    assert (summary["num_observations"], summary["num_steps"]) == (BATCH, lengths.sum())
    assert evaluation.sequences.average_per_step(2.0 * lengths, lengths) == (2.0, 0.0)
    over_time = evaluation.effective_sample_size_over_time(model, x, K)
    assert list(over_time) == ["effective_sample_size", "resampled", "num_sequences"]
    assert over_time.num_sequences.tolist() == [BATCH, BATCH, BATCH - 1, BATCH - 1]
    bounds = evaluation.sequence_bounds(model, x, K)
    assert bounds.shape == (3, 3) and list(bounds.index) == ["elbo", "iwae", "fivo"]


covers("annealing.AdaptedHMC", "annealing.AdaptedResults")  # by `ais`, which runs them


def test_every_public_function_is_covered():
    public = {name for package in (objectives, log_weights, evaluation) for name in list_public(package)}
    assert public == COVERED
    for attribute in ("path_weights", "score_weights", "advantages", "learns_baseline", "backward_samples"):
        assert any(getattr(objective.inference or objective, attribute) for objective in OBJECTIVES)
