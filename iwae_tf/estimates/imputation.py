"""Imputation: estimates of missing entries given the observed entries."""

import functools
from collections.abc import Callable

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf import compiling, random
from iwae_tf.checks import check_count
from iwae_tf.estimates import likelihood
from iwae_tf.estimates.rows import map_rows
from iwae_tf.hierarchy import Hierarchy
from iwae_tf.layers.heterogeneous import ColumnProduct
from iwae_tf.types import Array, Seed

#: A function of data `[batch, *event_shape]`, k (int32) and a seed (int32[2]) to data of the same shape.
Program = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


def impute(model: Hierarchy, x: Array, num_samples: int = 1000, seed: Seed | None = None) -> tf.Tensor:
    """Fills missing entries with estimates of E[x_missing | x_observed]; memory does not grow with `num_samples`.

    The estimate is self-normalised importance sampling with q(z|x) as the proposal: sum_i w~_i E[x_missing | z_i], with
    the weights w~ of the observed entries. Categories get the class with the largest average probability. Rows without
    missing entries cost nothing. Every other row is computed on its own, with noise derived from the seed and the row.

    Args:
      model: a model that allows missing entries.
      x: data `[batch, *event_shape]`, as in the training set; NaN where an entry is missing.
      num_samples: k, samples per observation.
      seed: an integer or `int32[2]`; the same seed gives the same values. `None` draws the model's next seed.

    Returns:
      `[batch, *event_shape]`; the observed entries of x are unchanged.

    Raises:
      ValueError: if the data do not match the model's input, or `num_samples` is not a positive integer.

    References:
      Mattei & Frellsen 2019, MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets, arXiv:1812.02633.
    """
    check_count(num_samples, "num_samples")
    x, seed = model.as_input(x), model.next_seed(seed)
    if not x.dtype.is_floating:
        return x
    missing = tf.math.is_nan(x)
    rows = tf.where(tf.reduce_any(missing, list(range(1, x.shape.rank))))
    program = compiling.cached(model, functools.partial(_make_program, model), "imputation")
    estimates = program(tf.gather_nd(x, rows), tf.constant(num_samples, tf.int32), seed)
    filled = tf.tensor_scatter_nd_update(x, rows, tf.cast(estimates, x.dtype))
    return tf.where(missing, filled, x)


def average(
    draw: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    num_samples: tf.Tensor,
    chunk_size: int,
    zeros: tf.Tensor,
) -> tf.Tensor:
    """Averages values with self-normalised weights, chunk by chunk, with a running sum of w and a running mean.

    Args:
      draw: a function from the number of a chunk, a scalar int32 tensor, to log weights `[chunk_size]` and values
        `[chunk_size, ...]`.
      num_samples: k, a scalar int32 tensor; further samples in the last chunk are left out.
      chunk_size: samples per chunk.
      zeros: zeros of the shape and dtype of one value.

    Returns:
      sum_i w~_i value_i, `[...]`.
    """

    def add(i: tf.Tensor, log_sum: tf.Tensor, mean: tf.Tensor) -> tuple[tf.Tensor, ...]:
        log_weights, values = draw(i)
        log_weights = tf.where(tf.range(chunk_size) < num_samples - i * chunk_size, log_weights, -float("inf"))
        total = tf.reduce_logsumexp(tf.concat([[log_sum], log_weights], 0))
        mean *= tf.exp(log_sum - total)
        return i + 1, total, mean + tf.tensordot(tf.exp(log_weights - total), values, 1)

    start = (0, tf.constant(-float("inf"), zeros.dtype), zeros)
    return tf.while_loop(lambda i, *_: i * chunk_size < num_samples, add, start, parallel_iterations=1)[-1]


def _make_program(model: Hierarchy) -> Program:
    """Makes the function that estimates all entries of observations with missing entries."""
    size = likelihood.choose_chunk_size(model)
    dtype = tf.as_dtype(model.dtype_policy.variable_dtype)

    def estimate(x: tf.Tensor, num_samples: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Estimates one observation, `[1, *event_shape]`."""
        posterior, seed = model.posterior(x), random.fold_in(seed, 1)

        def draw(i: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            posteriors, z = model.infer(posterior, size, random.fold_in(seed, i))
            values = _expectations(model.generative(z)[0])  # XLA does not compute p(x|z) twice
            return model.score(x, z, posteriors).log_weights()[:, 0], values[:, 0]

        observation = model.generative([tf.zeros([1, *shape], dtype) for shape in model.latent_shapes])[0]
        expected = average(draw, num_samples, size, tf.zeros_like(_expectations(observation)[0]))
        return observation.to_rows(expected) if isinstance(observation, ColumnProduct) else expected

    spec = tf.TensorSpec(model.event_shape, dtype)
    return compiling.with_fallback(model, lambda jit_compile: map_rows(model, estimate, spec, jit_compile))


def _expectations(observation: tfd.Distribution) -> tf.Tensor:
    """Returns the expectations of p(x|z) that can be averaged over z, `[*batch, ...]`."""
    return observation.expectations() if isinstance(observation, ColumnProduct) else observation.mean()
