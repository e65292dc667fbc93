"""Annealed importance sampling: likelihoods by a path from a start that is easy to sample to p(z|x)."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf
from tensorflow_probability import mcmc

from iwae_tf import random
from iwae_tf.checks import check_choice, check_count
from iwae_tf.compiling import compiled
from iwae_tf.evaluation.batches import preprocess_batches
from iwae_tf.log_weights import effective_sample_size, log_mean_exp, standard_error

STARTS = ("prior", "posterior")
#: The acceptance that step sizes are adapted to (Neal 2011, MCMC Using Hamiltonian Dynamics, section 4.2).
ACCEPTANCE = 0.65
#: How much the logarithm of a step size changes in one step, for each unit that acceptance is off.
RATE = 0.1


def ais(model, data, num_steps=1000, num_chains=16, num_leapfrog_steps=10, start="prior", seed=0, verbose=0):
    """Estimates log p(x) by annealed importance sampling with Hamiltonian transitions.

    Each chain goes from a sample of the prior, or of q(z|x), to p(z|x) by way of densities in proportion to
    start^(1 - b) p(x, z)^b, b = 1/T, ..., 1. The mean of the weights of a row's chains is unbiased for p(x), so their
    log is a lower bound in the mean. Step sizes are adapted on the way, one for each observation, to the acceptance of
    its chains; what that takes from the unbiasedness falls with their number. Where q is poor, L_k is far lower than
    this; where they agree, both can be trusted.

    Args:
      model: an `IWAE` with differentiable densities, of any number of stochastic layers.
      data: array `[n, *event_shape]` or `tf.data.Dataset` of batches, as in the training set.
      num_steps: T, temperatures, with one Hamiltonian transition at each.
      num_chains: chains for each observation; at least 2.
      num_leapfrog_steps: leapfrog steps of a transition.
      start: `"prior"` or `"posterior"`, which is q(z|x).
      seed: integer seed of the preprocessing and of the chains.
      verbose: 1 shows a progress bar.

    Returns:
      A `DataFrame` with a row per observation: `log_likelihood` and its delta-method `standard_error` in nats, the
      `effective_sample_size` of the chains, in [1, num_chains], and the mean `acceptance` in the last step.

    Raises:
      ValueError: if the data are not such as the model takes, a number is none of these, or there is no such start.

    References:
      Neal 2001, Annealed Importance Sampling, arXiv:physics/9803008; Wu, Burda, Salakhutdinov & Grosse 2017, On the
      Quantitative Analysis of Decoder-Based Generative Models, arXiv:1611.04273.
    """
    _check(num_steps, num_chains, num_leapfrog_steps, start)
    run = _program(model, num_steps, num_chains, num_leapfrog_steps, start, reverse=False)
    batches = preprocess_batches(model, data, seed, verbose)
    return pd.concat([_table(*run(x, [], batch_seed)) for x, batch_seed in batches], ignore_index=True)


def bdmc(model, num_observations=100, num_steps=1000, num_chains=16, num_leapfrog_steps=10, start="prior", seed=0):
    """Bounds log p(x) from both sides on data simulated from the model: bidirectional Monte Carlo.

    Of x ~ p(x|z) with z ~ p(z) that very z is an exact sample of p(z|x). Chains that start there and go backwards give
    an upper bound in the mean, as the forward ones of `ais` give a lower one. The gap is the error of `ais` with these
    settings, on such data.

    Args:
      model: an `IWAE` whose likelihood can be sampled.
      num_observations: x to simulate.
      num_steps: as in `ais`.
      num_chains: as in `ais`, in each direction.
      num_leapfrog_steps: as in `ais`.
      start: as in `ais`.
      seed: integer seed of the data and of the chains.

    Returns:
      A `DataFrame` with a row per observation: `lower`, `upper` and `gap`, in nats. Single rows may cross by chance:
      the bounds hold in the mean.

    Raises:
      ValueError: as in `ais`.

    References:
      Grosse, Ghahramani & Adams 2015, Sandwiching the Marginal Likelihood Using Bidirectional Monte Carlo,
      arXiv:1511.02543; Wu et al. 2017, arXiv:1611.04273.
    """
    _check(num_steps, num_chains, num_leapfrog_steps, start)
    check_count(num_observations, "num_observations")
    seed = random.as_seed(seed)
    observation, z = model.descend(num_observations, random.fold_in(seed, 0))
    x = observation.sample(seed=random.fold_in(seed, 1))
    bounds = []
    for reverse in (False, True):
        run = _program(model, num_steps, num_chains, num_leapfrog_steps, start, reverse)
        bounds.append(_table(*run(x, z, random.fold_in(seed, 2 + reverse))).log_likelihood)
    lower, upper = bounds[0], -bounds[1]
    return pd.DataFrame({"lower": lower, "upper": upper, "gap": upper - lower})


def _check(num_steps, num_chains, num_leapfrog_steps, start):
    check_count(num_steps, "num_steps")
    check_count(num_chains, "num_chains", minimum=2)  # which differ by their error
    check_count(num_leapfrog_steps, "num_leapfrog_steps")
    check_choice(start, "start", STARTS)


def _table(log_weights, acceptance):
    effective = effective_sample_size(log_weights)
    columns = {
        "log_likelihood": log_mean_exp(log_weights),
        "standard_error": standard_error(effective, log_weights.shape[0]),
        "effective_sample_size": effective,
        "acceptance": acceptance,
    }
    return pd.DataFrame({name: np.asarray(values) for name, values in columns.items()})


def _program(model, num_steps, num_chains, num_leapfrog_steps, start, reverse):
    """Makes a function of x, its exact z (for `reverse`) and a seed to log weights `[chains, batch]` and acceptance."""

    def run(x, z, seed):
        def densities(*z):
            """log p(x, z) and the log density of the start, `[chains, batch]`."""
            observation, *priors = model.generative(z)
            log_prior = tf.add_n([p.log_prob(z_l) for p, z_l in zip(priors, z, strict=True)])
            joint = observation.log_prob(x) + log_prior
            if start == "prior":
                return joint, log_prior
            return joint, tf.add_n([q.log_prob(z_l) for q, z_l in zip(model.posteriors(x, z), z, strict=True)])

        ends = [lambda *z: densities(*z)[1], lambda *z: densities(*z)[0]]
        if reverse:
            ends.reverse()
            state = [tf.repeat(part[tf.newaxis], num_chains, axis=0) for part in z]
        elif start == "posterior":
            _, state = model.infer(model.posterior(x), num_chains, random.fold_in(seed, 0))
        else:
            _, state = model.descend(num_chains * x.shape[0], random.fold_in(seed, 0))
            state = [tf.reshape(part, [num_chains, x.shape[0], *part.shape[1:]]) for part in state]
        _, log_weights, results = mcmc.sample_annealed_importance_chain(
            num_steps, *ends, state, lambda target: AdaptedHMC(target, num_leapfrog_steps), 1, random.fold_in(seed, 1)
        )
        return log_weights, results.inner_results.acceptance

    return compiled(model, run, num_steps, num_chains, num_leapfrog_steps, start, reverse)


class AdaptedResults(NamedTuple):
    """What `AdaptedHMC` carries along: `log_step_size` and `acceptance`, `[batch]`, and what HMC itself does."""

    log_step_size: tf.Tensor
    acceptance: tf.Tensor
    inner_results: Any


class AdaptedHMC(mcmc.TransitionKernel):
    """TFP's Hamiltonian Monte Carlo for a target that changes from step to step, with a step size per observation.

    Args:
      target_log_prob_fn: from states, each `[chains, batch, *event]`, to log densities `[chains, batch]`.
      num_leapfrog_steps: leapfrog steps of a transition.
    """

    def __init__(self, target_log_prob_fn, num_leapfrog_steps):
        self._target, self._num_leapfrog_steps = target_log_prob_fn, num_leapfrog_steps

    @property
    def is_calibrated(self):
        return True

    def bootstrap_results(self, init_state):
        nothing = tf.zeros(tf.shape(init_state[0])[1:2], init_state[0].dtype)
        log_step_size = nothing + np.log(0.1)
        return AdaptedResults(log_step_size, nothing, self._kernel(log_step_size, init_state)[1])

    def one_step(self, current_state, previous_kernel_results, seed=None):
        # The density of the state is looked up anew: what HMC remembers is that of another temperature.
        log_step_size = previous_kernel_results.log_step_size
        kernel, fresh = self._kernel(log_step_size, current_state)
        state, results = kernel.one_step(current_state, fresh, seed=seed)
        acceptance = tf.reduce_mean(tf.exp(tf.minimum(results.log_accept_ratio, 0.0)), axis=0)
        log_step_size += RATE * (tf.where(tf.math.is_nan(acceptance), 0.0, acceptance) - ACCEPTANCE)
        return state, AdaptedResults(log_step_size, acceptance, results)

    def _kernel(self, log_step_size, state):
        step_sizes = [tf.reshape(tf.exp(log_step_size), [1, -1, *[1] * (part.shape.rank - 2)]) for part in state]
        kernel = mcmc.HamiltonianMonteCarlo(self._target, step_sizes, self._num_leapfrog_steps)
        return kernel, kernel.bootstrap_results(state)
