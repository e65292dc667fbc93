"""Annealed importance sampling: likelihoods by a path from a distribution that is easy to sample to p(z|x)."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf
from tensorflow_probability import mcmc

from iwae_tf import random
from iwae_tf.checks import check_choice, check_count
from iwae_tf.compiling import cached_program
from iwae_tf.evaluation.batches import preprocess_batches
from iwae_tf.layers.observation import log_prob_of
from iwae_tf.log_weights import effective_sample_size, log_mean_exp, standard_error
from iwae_tf.model import IWAE
from iwae_tf.types import Array

STARTS = ("prior", "posterior")
#: The acceptance rate that step sizes are adapted to (Neal 2011, MCMC Using Hamiltonian Dynamics, section 4.2).
ACCEPTANCE = 0.65
#: Change of the logarithm of a step size in one step, per unit of difference from that acceptance rate.
RATE = 0.1


def ais(
    model: IWAE,
    data: Array | tf.data.Dataset,
    num_steps: int = 1000,
    num_chains: int = 16,
    num_leapfrog_steps: int = 10,
    start: Literal["prior", "posterior"] = "prior",
    seed: int = 0,
    verbose: int = 0,
) -> pd.DataFrame:
    """Estimates log p(x) by annealed importance sampling with Hamiltonian transitions.

    Each chain starts at a sample of the prior, or of q(z|x), and moves to p(z|x) through densities proportional to
    start^(1 - b) p(x, z)^b, b = 1/T, ..., 1. The mean weight of an observation's chains is unbiased for p(x), so its
    log is a lower bound in expectation. Each observation's step size is adapted on the way to the acceptance rate of
    its chains, which adds a bias that falls with their number. Where q is poor, L_k is far below this estimate; where
    the two agree, both can be trusted.

    Args:
      model: an `IWAE` with differentiable densities and any number of stochastic layers.
      data: observations `[n, *event_shape]` or a `tf.data.Dataset` of batches, as given to `fit`.
      num_steps: T, the number of temperatures, with one Hamiltonian transition at each.
      num_chains: chains per observation, at least 2.
      num_leapfrog_steps: leapfrog steps per transition.
      start: `"prior"`, or `"posterior"` for q(z|x).
      seed: integer seed of the preprocessing and the chains.
      verbose: 1 shows a progress bar.

    Returns:
      A `DataFrame` with a row per observation: `log_likelihood` and its delta-method `standard_error` in nats, the
      `effective_sample_size` of the chains, in [1, num_chains], and the mean `acceptance` rate in the last step.

    Raises:
      ValueError: if the data do not match the model's input, latent variables are discrete, a number is not an integer
        or too small, or `start` is neither of the two.

    References:
      Neal 2001, Annealed Importance Sampling, arXiv:physics/9803008; Wu, Burda, Salakhutdinov & Grosse 2017, On the
      Quantitative Analysis of Decoder-Based Generative Models, arXiv:1611.04273.

    Example:
      ```python
      table = evaluation.ais(model, x, num_steps=20, num_chains=4, num_leapfrog_steps=2)
      table.log_likelihood.mean()
      ```
    """
    _check_settings(model, num_steps, num_chains, num_leapfrog_steps, start)
    run = _make_program(model, num_steps, num_chains, num_leapfrog_steps, start, reverse=False)
    batches = preprocess_batches(model, data, seed, verbose)
    return pd.concat([_make_table(*run(x, [], batch_seed)) for x, batch_seed in batches], ignore_index=True)


def bdmc(
    model: IWAE,
    num_observations: int = 100,
    num_steps: int = 1000,
    num_chains: int = 16,
    num_leapfrog_steps: int = 10,
    start: Literal["prior", "posterior"] = "prior",
    seed: int = 0,
) -> pd.DataFrame:
    """Bounds log p(x) from both sides on data simulated from the model: bidirectional Monte Carlo.

    For x ~ p(x|z) with z ~ p(z), this z is an exact sample of p(z|x). Chains that start there and run backwards give an
    upper bound in expectation, as the forward chains of `ais` give a lower one. The gap is the error of `ais` with the
    same settings on such data.

    Args:
      model: an `IWAE` whose likelihood can be sampled.
      num_observations: number of x to simulate.
      num_steps: as in `ais`.
      num_chains: as in `ais`, in each direction.
      num_leapfrog_steps: as in `ais`.
      start: as in `ais`.
      seed: integer seed of the data and the chains.

    Returns:
      A `DataFrame` with a row per observation: `lower`, `upper` and `gap`, in nats. The bounds hold in expectation; in
      a single row they may cross by chance.

    Raises:
      ValueError: as in `ais`.

    References:
      Grosse, Ghahramani & Adams 2015, Sandwiching the Marginal Likelihood Using Bidirectional Monte Carlo,
      arXiv:1511.02543; Wu et al. 2017, arXiv:1611.04273.

    Example:
      ```python
      shallow = iwae_tf.mlp((8, 8, 1), (4,), ((16,),), seed=0)
      table = evaluation.bdmc(shallow, num_observations=5, num_steps=20, num_chains=4, num_leapfrog_steps=2)
      table[["lower", "upper", "gap"]].mean()
      ```
    """
    _check_settings(model, num_steps, num_chains, num_leapfrog_steps, start)
    check_count(num_observations, "num_observations")
    key = random.as_seed(seed)
    observation, z = model.descend(num_observations, random.fold_in(key, 0))
    x = observation.sample(seed=random.fold_in(key, 1))
    bounds = []
    for reverse in (False, True):
        run = _make_program(model, num_steps, num_chains, num_leapfrog_steps, start, reverse)
        bounds.append(_make_table(*run(x, z, random.fold_in(key, 2 + reverse))).log_likelihood)
    lower, upper = bounds[0], -bounds[1]
    return pd.DataFrame({"lower": lower, "upper": upper, "gap": upper - lower})


def _check_settings(model: IWAE, num_steps: int, num_chains: int, num_leapfrog_steps: int, start: str) -> None:
    if model.is_discrete:
        raise ValueError("Expected continuous latent variables, which follow gradients. Received: discrete ones")
    check_count(num_steps, "num_steps")
    check_count(num_chains, "num_chains", minimum=2)  # the error is estimated from their spread
    check_count(num_leapfrog_steps, "num_leapfrog_steps")
    check_choice(start, "start", STARTS)


def _make_table(log_weights: tf.Tensor, acceptance: tf.Tensor) -> pd.DataFrame:
    effective = effective_sample_size(log_weights)
    columns = {
        "log_likelihood": log_mean_exp(log_weights),
        "standard_error": standard_error(effective, log_weights.shape[0]),
        "effective_sample_size": effective,
        "acceptance": acceptance,
    }
    return pd.DataFrame({name: np.asarray(values) for name, values in columns.items()})


def _make_program(
    model: IWAE, num_steps: int, num_chains: int, num_leapfrog_steps: int, start: str, reverse: bool
) -> Callable:
    """Makes a function of x, its exact z (for `reverse`) and a seed to log weights `[chains, batch]` and acceptance."""

    def run(x: tf.Tensor, z: list[tf.Tensor], seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        observed = model.observe(x)

        def compute_densities(*z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            """Computes log p(x, z) and the log density of the start, `[chains, batch]`."""
            observation, *priors = model.generative(list(z))
            log_prior = tf.add_n([p.log_prob(z_l) for p, z_l in zip(priors, z, strict=True)])
            joint = log_prob_of(observation, observed) + log_prior
            if start == "prior":
                return joint, log_prior
            return joint, tf.add_n([q.log_prob(z_l) for q, z_l in zip(model.posteriors(x, list(z)), z, strict=True)])

        ends = [lambda *z: compute_densities(*z)[1], lambda *z: compute_densities(*z)[0]]
        if reverse:
            ends.reverse()
            state = [tf.repeat(z_l[tf.newaxis], num_chains, axis=0) for z_l in z]
        elif start == "posterior":
            _, state = model.infer(model.posterior(x), num_chains, random.fold_in(seed, 0))
        else:
            _, state = model.descend(num_chains * x.shape[0], random.fold_in(seed, 0))
            state = [tf.reshape(z_l, [num_chains, x.shape[0], *z_l.shape[1:]]) for z_l in state]
        _, log_weights, results = mcmc.sample_annealed_importance_chain(
            num_steps, *ends, state, lambda target: AdaptedHMC(target, num_leapfrog_steps), 1, random.fold_in(seed, 1)
        )
        return log_weights, results.inner_results.acceptance

    return cached_program(model, run, num_steps, num_chains, num_leapfrog_steps, start, reverse)


class AdaptedResults(NamedTuple):
    """The results of a step of `AdaptedHMC`.

    Attributes:
      log_step_size: `[batch]`.
      acceptance: mean acceptance rate of the chains, `[batch]`.
      inner_results: the results of TFP's kernel.
    """

    log_step_size: tf.Tensor
    acceptance: tf.Tensor
    inner_results: Any


class AdaptedHMC(mcmc.TransitionKernel):
    """TFP's Hamiltonian Monte Carlo for a target that changes with every step, with a step size per observation.

    Args:
      target_log_prob_fn: function of states, each `[chains, batch, *event]`, to log densities `[chains, batch]`.
      num_leapfrog_steps: leapfrog steps per transition.
    """

    def __init__(self, target_log_prob_fn: Callable[..., tf.Tensor], num_leapfrog_steps: int) -> None:
        self._target, self._num_leapfrog_steps = target_log_prob_fn, num_leapfrog_steps

    @property
    def is_calibrated(self) -> bool:
        return True

    def bootstrap_results(self, init_state: list[tf.Tensor]) -> AdaptedResults:
        zeros = tf.zeros(tf.shape(init_state[0])[1:2], init_state[0].dtype)
        log_step_size = zeros + np.log(0.1)
        return AdaptedResults(log_step_size, zeros, self._make_kernel(log_step_size, init_state)[1])

    def one_step(
        self, current_state: list[tf.Tensor], previous_kernel_results: AdaptedResults, seed: tf.Tensor | None = None
    ) -> tuple[list[tf.Tensor], AdaptedResults]:
        # The density of the state is computed anew: the previous results hold it at another temperature.
        log_step_size = previous_kernel_results.log_step_size
        kernel, fresh = self._make_kernel(log_step_size, current_state)
        state, results = kernel.one_step(current_state, fresh, seed=seed)
        acceptance = tf.reduce_mean(tf.exp(tf.minimum(results.log_accept_ratio, 0.0)), axis=0)
        log_step_size += RATE * (tf.where(tf.math.is_nan(acceptance), 0.0, acceptance) - ACCEPTANCE)
        return state, AdaptedResults(log_step_size, acceptance, results)

    def _make_kernel(self, log_step_size: tf.Tensor, state: list[tf.Tensor]) -> tuple[mcmc.TransitionKernel, Any]:
        step_sizes = [tf.reshape(tf.exp(log_step_size), [1, -1, *[1] * (z_l.shape.rank - 2)]) for z_l in state]
        kernel = mcmc.HamiltonianMonteCarlo(self._target, step_sizes, self._num_leapfrog_steps)
        return kernel, kernel.bootstrap_results(state)
