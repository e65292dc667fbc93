"""What a trained model of sequences is used for: likelihoods, filtering, forecasts and samples."""

import math
from typing import Any, NamedTuple

import tensorflow as tf

from iwae_tf import compiling, random
from iwae_tf.checks import check_count
from iwae_tf.estimates.rows import map_rows
from iwae_tf.log_weights import effective_sample_size, log_mean_exp, normalized_weights
from iwae_tf.objectives import Filtering, Objective
from iwae_tf.resampling import take
from iwae_tf.sequences import particles
from iwae_tf.sequences.resampling import draw_ancestors


class Filtered(NamedTuple):
    """What a particle filter says of sequences after every step, before it resamples.

    Attributes:
      z: particles of q(z_t|x_1, ..., x_t), `[time, k, batch, *latent]`.
      weights: their weights, `[time, k, batch]`; they sum to 1 over k.
      mean: weighted means of z_t, `[batch, time, *latent]`.
      stddev: weighted standard deviations, `[batch, time, *latent]`.
      effective_sample_size: in [1, k], `[batch, time]`.
      resampled: whether the particles were resampled after the step, `[batch, time]`.
      log_likelihood: the filter's estimate of log p(x), `[batch]`, in nats.
    """

    z: tf.Tensor
    weights: tf.Tensor
    mean: tf.Tensor
    stddev: tf.Tensor
    effective_sample_size: tf.Tensor
    resampled: tf.Tensor
    log_likelihood: tf.Tensor


class Scores(NamedTuple):
    """Estimates of log p(x) by several particle filters, each `[batch]`.

    Attributes:
      log_likelihood: log of the mean of the filters' estimates of p(x), in nats.
      standard_error: its standard error from the spread of the filters; NaN for one.
      effective_sample_size: its mean over steps and filters.
    """

    log_likelihood: tf.Tensor
    standard_error: tf.Tensor
    effective_sample_size: tf.Tensor


def choose_filtering(objective: Objective, num_samples: int) -> Filtering:
    """Returns a filter of `num_samples` particles that resamples like the objective, or by default as FIVO does."""
    like = objective if isinstance(objective, Filtering) else Filtering(num_samples)
    return type(like).from_config({**like.get_config(), "num_samples": num_samples})  # type: ignore[return-value]


def estimate_log_likelihood(
    model: Any,
    x: tf.Tensor,
    num_samples: int,
    seed: tf.Tensor,
    filtering: Filtering | None = None,
    repeats: int = 1,
) -> Scores:
    """Estimates log p(x) of sequences, each on its own; memory does not grow with the number of steps.

    The score of a sequence depends neither on the others nor on its padding.

    Args:
      model: a `StateSpaceModel`.
      x: checked sequences, `[batch, time, *event]`.
      num_samples: k, particles per sequence.
      seed: `int32[2]`.
      filtering: says when and how particles are resampled. `None` is as in training.
      repeats: number of filters of `num_samples` particles.
    """
    filtering = filtering or choose_filtering(model.objective, num_samples)
    return get_program(model, filtering, repeats)(x, tf.constant(check_count(num_samples, "num_samples")), seed)


def get_program(model: Any, filtering: Filtering, repeats: int = 1) -> Any:
    """Returns the model's program that scores sequences: of x, a number that is not read, and a seed to `Scores`."""
    dtype = tf.as_dtype(model.dtype_policy.variable_dtype)

    def score(row: tf.Tensor, num_samples: tf.Tensor, seed: tf.Tensor) -> Scores:
        options = {"filtering": filtering} if filtering.filters else {}
        rows = tf.repeat(row, repeats, axis=0)
        terms = model.terms(rows, model.posterior(rows), filtering.num_samples, random.fold_in(seed, 1), **options)
        estimates = log_mean_exp(terms.log_weights())
        log_likelihood = log_mean_exp(estimates)
        error = tf.constant(math.nan, dtype)
        if repeats > 1:
            error = tf.math.reduce_std(tf.exp(estimates - log_likelihood)) / (repeats - 1) ** 0.5
        return Scores(log_likelihood, error, tf.reduce_mean(terms.over_time.effective_sample_size))

    def make(jit_compile: bool) -> Any:
        return map_rows(model, score, Scores(*[tf.TensorSpec([], dtype)] * 3), jit_compile)

    return compiling.cached(model, lambda: compiling.with_fallback(model, make), "filter", filtering, repeats)


def filter_sequences(model: Any, x: tf.Tensor, num_samples: int, seed: tf.Tensor) -> Filtered:
    """Runs a particle filter; see `StateSpaceModel.filter`."""
    filtering = choose_filtering(model.objective, num_samples)

    def run(x: tf.Tensor, seed: tf.Tensor) -> Filtered:
        x = model.preprocess(x, seed)
        steps = model.posterior(x)
        result = particles.run(model, steps, num_samples, random.fold_in(seed, 1), filtering)
        assert result.record is not None
        z, log_weights, resampled, _ = result.record
        # Particles first, as everywhere; the time comes in front of them.
        weights = tf.transpose(normalized_weights(tf.transpose(log_weights, [1, 0, 2])), [1, 0, 2])
        expanded = weights[..., tf.newaxis]
        mean = tf.reduce_sum(expanded * z, axis=1)
        variance = tf.reduce_sum(expanded * (z - mean[:, tf.newaxis]) ** 2, axis=1)
        ess = effective_sample_size(tf.transpose(log_weights, [1, 0, 2]))
        mean, stddev = (tf.transpose(part, [1, 0, 2]) for part in (mean, tf.sqrt(variance)))
        log_likelihood = log_mean_exp(result.terms.log_weights())
        return Filtered(z, weights, mean, stddev, tf.transpose(ess), tf.transpose(resampled), log_likelihood)

    return compiling.cached_program(model, run, "filter sequences", filtering)(x, seed)


def forecast(model: Any, x: tf.Tensor, num_steps: int, num_samples: int, seed: tf.Tensor) -> tf.Tensor:
    """Draws continuations of sequences; see `StateSpaceModel.forecast`."""
    filtering = choose_filtering(model.objective, num_samples)

    def run(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        x = model.preprocess(x, seed)
        steps = model.posterior(x)
        state = particles.run(model, steps, num_samples, random.fold_in(seed, 1), filtering).state
        ancestors = draw_ancestors(state.log_weights, "systematic", random.fold_in(seed, 2))
        z, *cell = (take(values, ancestors) for values in (state.z, *state.cell))
        last = tf.gather(tf.transpose(steps.features, [1, 0, 2]), steps.lengths - 1, batch_dims=1)
        earlier = tf.broadcast_to(last, tf.concat([[num_samples], tf.shape(last)], 0))
        return draw_steps(model, z, cell, earlier, num_steps, random.fold_in(seed, 3), first=False)

    return compiling.cached_program(model, run, "forecast", filtering, num_steps)(x, seed)


def sample(model: Any, n: int, num_steps: int, seed: tf.Tensor) -> tf.Tensor:
    """Draws sequences from the model; see `StateSpaceModel.sample`."""

    def run(seed: tf.Tensor) -> tf.Tensor:
        dtype = tf.as_dtype(model.dtype_policy.variable_dtype)
        z = tf.zeros([n, 1, *model.latent_shape], dtype)
        earlier = tf.zeros([n, 1, model.feature_size], dtype)
        return draw_steps(model, z, model.start_cell(n, tf.constant(1)), earlier, num_steps, seed, first=True)[:, 0]

    return compiling.cached_program(model, run, "sample", n, num_steps)(seed)


def draw_steps(
    model: Any,
    z: tf.Tensor,
    cell: list[tf.Tensor],
    earlier: tf.Tensor,
    num_steps: int,
    seed: tf.Tensor,
    first: bool,
) -> tf.Tensor:
    """Draws the next steps from the generative network.

    Args:
      model: a `StateSpaceModel`.
      z: the last z, `[k, batch, *latent]`.
      cell: the states of the cell, each `[k, batch, units]`.
      earlier: features of the last x, `[k, batch, features]`.
      num_steps: number of steps to draw.
      seed: `int32[2]`.
      first: whether the sequence begins here.

    Returns:
      x, `[k, batch, num_steps, *event]`.
    """

    def draw(t: tf.Tensor, z: tf.Tensor, cell: list, earlier: tf.Tensor, first: bool) -> tuple:
        step_seed = random.fold_in(seed, t)
        cell, context = model.advance_cell(earlier, z, cell)
        z = model.get_transition(context, first).sample(seed=random.fold_in(step_seed, 0))
        x = tf.cast(model.get_emission(z, context).sample(seed=random.fold_in(step_seed, 1)), z.dtype)
        return z, cell, model.compute_features(x), x

    z, cell, earlier, x = draw(tf.constant(0), z, cell, earlier, first)
    array = tf.TensorArray(x.dtype, num_steps, element_shape=x.shape).write(0, x)

    def body(t: tf.Tensor, z: tf.Tensor, cell: list, earlier: tf.Tensor, array: tf.TensorArray) -> tuple:
        z, cell, earlier, x = draw(t, z, cell, earlier, first=False)
        return t + 1, z, cell, earlier, array.write(t, x)

    *_, array = tf.while_loop(
        lambda t, *_: t < num_steps, body, (tf.constant(1), z, cell, earlier, array),
        parallel_iterations=1, maximum_iterations=num_steps - 1,
    )  # fmt: skip
    drawn = array.stack()  # [num_steps, k, batch, *event]
    return tf.transpose(drawn, [1, 2, 0, *range(3, drawn.shape.rank)])
