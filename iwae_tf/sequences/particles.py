"""One pass over time: particles are moved, weighted and resampled, step by step."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf import random
from iwae_tf.hierarchy.terms import OverTime, Terms
from iwae_tf.log_weights import effective_sample_size, log_mean_exp
from iwae_tf.objectives import Filtering
from iwae_tf.resampling import take
from iwae_tf.sequences.resampling import draw_uniform, find_ancestors


class Steps(NamedTuple):
    """Sequences, step by step.

    Attributes:
      x: observations, `[time, batch, *event]`. Missing entries are NaN if the model takes incomplete data, otherwise 0.
      features: what the proposal reads of x, `[time, batch, features]`.
      earlier: the features of the step before, which the cell reads; 0 for the first.
      present: whether a step has an entry that is not missing, `[time, batch]`.
      lengths: number of the steps up to the last one that is present, `[batch]`.
    """

    x: tf.Tensor
    features: tf.Tensor
    earlier: tf.Tensor
    present: tf.Tensor
    lengths: tf.Tensor


class State(NamedTuple):
    """What one step hands to the next; of each particle `[k, batch]` unless it says otherwise.

    Attributes:
      z: `[k, batch, *latent]`.
      cell: states of the cell, each `[k, batch, units]`.
      log_weights: log weights since the last resampling.
      log_mean: sum of the logs of the mean weights at the resamplings, `[batch]`.
      reconstruction: sum of log p(x_t|z_t, .) so far.
      kl: sum of log q - log p so far.
      log_posterior: sum of log q so far.
      size: sum of the effective sample sizes so far, `[batch]`.
      resamplings: number of resamplings so far, `[batch]`.
    """

    z: tf.Tensor
    cell: list[tf.Tensor]
    log_weights: tf.Tensor
    log_mean: tf.Tensor
    reconstruction: tf.Tensor
    kl: tf.Tensor
    log_posterior: tf.Tensor
    size: tf.Tensor
    resamplings: tf.Tensor


class Record(NamedTuple):
    """What is kept of every step.

    Attributes:
      z: the particles before they are resampled, `[time, k, batch, *latent]`.
      log_weights: their log weights since the last resampling, `[time, k, batch]`.
      resampled: whether the particles were resampled after the step, `[time, batch]`.
      mean: mean of p(x_t|z_t, .), `[time, k, batch, *event]`, if it was asked for; otherwise without entries.
    """

    z: tf.Tensor
    log_weights: tf.Tensor
    resampled: tf.Tensor
    mean: tf.Tensor


class Pass(NamedTuple):
    """The result of a pass over time.

    Attributes:
      terms: the parts of the log weights.
      state: what each sequence has after its last step.
      record: what is kept of every step, or `None`.
      reparameterization_type: of q(z_t|.).
    """

    terms: Terms
    state: State
    record: Record | None
    reparameterization_type: Any = tfd.FULLY_REPARAMETERIZED


def run(
    model: Any,
    steps: Steps,
    num_samples: int,
    seed: tf.Tensor,
    filtering: Filtering | None = None,
    kl_weight: float | tf.Tensor = 1.0,
    given: tf.Tensor | None = None,
    stop_weight_gradients: bool = False,
    keep: bool = True,
    keep_means: bool = False,
    keep_gradients: bool = True,
) -> Pass:
    """Moves, weights and resamples particles over time.

    Args:
      model: a `StateSpaceModel`.
      steps: the sequences.
      num_samples: k, particles per sequence.
      seed: `int32[2]`.
      filtering: says when and how particles are resampled; `None` never resamples.
      kl_weight: weight of the KL inside the weights that decide.
      given: z to score in place of draws, `[time, k, batch, *latent]`.
      stop_weight_gradients: whether the weights of the proposal get no gradient from its density.
      keep: whether to keep a record of the steps; otherwise memory does not grow with their number.
      keep_means: whether to keep the means of p(x_t|z_t, .).
      keep_gradients: whether what is kept has gradients, unless a filter runs.
    """
    k, longest, batch = num_samples, steps.x.shape[0] or tf.shape(steps.x)[0], tf.shape(steps.x)[1]
    filters = filtering is not None and filtering.filters
    variables = model.network_variables
    # Read once, outside of the loop, whose constants they are.
    values = [tf.convert_to_tensor(variable) for variable in variables]
    kind: list[Any] = []
    # Drawn at once, since a step is so little work that every operation counts.
    seeds = random.draw_integers([longest, 2], random.fold_in(seed, 0), tf.int32)
    scheme = filtering.resampling if filtering is not None and filters else None
    uniform = (
        draw_uniform([longest], k, batch, scheme, random.fold_in(seed, 1), steps.features.dtype) if scheme else None
    )

    def advance(t: tf.Tensor, state: State, first: bool) -> tuple[State, Record]:
        with keras.StatelessScope(list(zip(variables, values, strict=True))):
            cell, context = model.advance_cell(steps.earlier[t], state.z, state.cell)
            p = model.get_transition(context, first)
            q = model.get_proposal(steps.features[t], context, p, stop_weight_gradients)
            kind.append(q.reparameterization_type)
            z = q.sample(seed=seeds[t]) if given is None else given[t]
            if given is None and model.incomplete:
                # A step that is missing is predicted.
                z = _select(steps.present[t], z, p.sample(seed=seeds[t]))
            emission = model.get_emission(z, context)
            log_q, log_p, reconstruction = q.log_prob(z), p.log_prob(z), emission.log_prob(steps.x[t])
            mean = emission.mean() if keep_means else tf.zeros([0], z.dtype)

        def count(values: tf.Tensor) -> tf.Tensor:
            return tf.where(steps.present[t], values, tf.zeros_like(values))

        reconstruction, kl, log_q = count(reconstruction), count(log_q - log_p), count(log_q)
        log_weights = state.log_weights + reconstruction - kl_weight * kl
        resampled, lasting = tf.zeros_like(steps.present[t]), t < steps.lengths
        size = tf.where(lasting, effective_sample_size(tf.stop_gradient(log_weights)), 0.0)
        advanced = State(
            z, cell, log_weights, state.log_mean, state.reconstruction + reconstruction, state.kl + kl,
            state.log_posterior + log_q, state.size + size, state.resamplings,
        )  # fmt: skip
        if filtering is not None and uniform is not None:
            goes_on = t + 1 < steps.lengths
            advanced, resampled = _resample(advanced, filtering, goes_on, uniform[t])
        # A sequence that has ended keeps its last state.
        advanced = advanced._replace(
            resamplings=state.resamplings + tf.cast(resampled, size.dtype),
            z=_select(lasting, advanced.z, state.z),
            cell=[_select(lasting, new, old) for new, old in zip(advanced.cell, state.cell, strict=True)],
        )
        return advanced, Record(z, log_weights, resampled, mean)

    zeros = tf.zeros([k, batch], steps.features.dtype)
    z = tf.zeros([k, batch, *model.latent_shape], zeros.dtype)
    state = State(z, model.start_cell(k, batch), zeros, zeros[0], zeros, zeros, zeros, zeros[0], zeros[0])
    arrays = _make_arrays(model, steps, k, longest, keep_means) if keep else []

    def body(t: tf.Tensor, state: State, arrays: list[tf.TensorArray], first: bool = False) -> tuple:
        state, record = advance(t, state, first)
        # Where no path is followed, the backward pass would copy all that is kept in every step, for nothing.
        parts = record if keep_gradients and not filters else map(tf.stop_gradient, record)
        return t + 1, state, [array.write(t, part) for array, part in zip(arrays, parts, strict=bool(arrays))]

    variables_of_loop = tf.constant(0), state, arrays
    # With a cell the first step is like the others.
    start = 0 if model.cell is not None else 1
    if start:
        variables_of_loop = body(*variables_of_loop, first=True)
    num_steps = tf.reduce_max(steps.lengths)
    _, state, arrays = tf.while_loop(
        lambda t, *_: t < num_steps, body, variables_of_loop, parallel_iterations=1, maximum_iterations=longest - start
    )  # fmt: skip
    filtered = state.log_mean + state.log_weights if filters else None
    lengths = tf.cast(steps.lengths, zeros.dtype)
    over_time = OverTime(lengths, state.size / lengths, state.resamplings / lengths)
    terms = Terms(state.reconstruction, [state.kl], state.log_posterior, filtered, over_time)
    record = Record(*(array.stack() for array in arrays)) if keep else None
    return Pass(terms, state, record, kind[0])


def _make_arrays(model: Any, steps: Steps, k: int, longest: int | tf.Tensor, keep_means: bool) -> list[tf.TensorArray]:
    """Makes the arrays that take a `Record` in every step."""
    shapes = [[k, None, *model.latent_shape], [k, None], [None], [k, None, *steps.x.shape[2:]] if keep_means else [0]]
    dtype = steps.features.dtype
    dtypes = [dtype, dtype, tf.bool, dtype]
    return [tf.TensorArray(d, longest, element_shape=s) for d, s in zip(dtypes, shapes, strict=True)]


def _select(chosen: tf.Tensor, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Returns a `[k, batch, ...]` for the chosen sequences, b for the others."""
    return tf.where(chosen[(..., *[tf.newaxis] * (a.shape.rank - 2))], a, b)


def _resample(state: State, filtering: Filtering, goes_on: tf.Tensor, uniform: tf.Tensor) -> tuple[State, tf.Tensor]:
    """Resamples the particles of the sequences that need it and go on; says which, `[batch]`."""
    log_weights = tf.stop_gradient(state.log_weights)
    k = log_weights.shape[0]
    needed = goes_on
    if filtering.when == "ess":
        needed &= effective_sample_size(log_weights) <= filtering.threshold * k
    ancestors = find_ancestors(log_weights, filtering.resampling, uniform)
    ancestors = tf.where(needed, ancestors, tf.range(k)[:, tf.newaxis])
    parts = [state.z, *state.cell]
    z, *cell = tf.split(take(tf.concat(parts, -1), ancestors), [part.shape[-1] for part in parts], axis=-1)
    log_mean = state.log_mean + tf.where(needed, log_mean_exp(state.log_weights), 0.0)
    log_weights = tf.where(needed, 0.0, state.log_weights)
    return state._replace(z=z, cell=cell, log_mean=log_mean, log_weights=log_weights), needed
