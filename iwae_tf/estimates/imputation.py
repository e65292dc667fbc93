"""Imputation: estimates of what is missing of an observation, given the rest of it."""

import tensorflow as tf

from iwae_tf import compiling, random
from iwae_tf.checks import check_count
from iwae_tf.estimates import likelihood
from iwae_tf.layers.heterogeneous import ColumnProduct


def impute(model, x, num_samples=1000, seed=None):
    """Fills missing entries with estimates of E[x_missing | x_observed]; memory does not grow with `num_samples`.

    By self-normalised importance sampling with q(z|x) as the proposal: sum_i w~_i E[x_missing | z_i], the weights w~ of
    the entries that are there. Of a category the class probabilities are averaged, and the most probable is taken.
    Rows without missing entries cost nothing, and each of the others is worked out on its own, with noise that the seed
    and its content give.

    Args:
      model: an `IWAE` that admits missing entries.
      x: data `[batch, *event_shape]`, as in the training set; NaN where an entry is missing.
      num_samples: k, samples per observation.
      seed: an integer or `int32[2]`; the same seed gives the same values. `None` takes the next of the model's own.

    Returns:
      `[batch, *event_shape]`, the entries of x that are there untouched.

    Raises:
      ValueError: if the data are not such as the model takes, or `num_samples` is no integer of at least 1.

    References:
      Mattei & Frellsen 2019, MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets, arXiv:1812.02633.
    """
    check_count(num_samples, "num_samples")
    x, seed = model.admit(x), model.next_seed(seed)
    if not x.dtype.is_floating:
        return x
    missing = tf.math.is_nan(x)
    rows = tf.where(tf.reduce_any(missing, list(range(1, x.shape.rank))))
    estimates = model.imputation_program(tf.gather_nd(x, rows), tf.constant(num_samples, tf.int32), seed)
    filled = tf.tensor_scatter_nd_update(x, rows, tf.cast(estimates, x.dtype))
    return tf.where(missing, filled, x)


def average(draw, num_samples, chunk_size, nothing):
    """Averages values by self-normalised weights, chunk by chunk, by a running sum of w and a running mean.

    Args:
      draw: a function from the number of a chunk, a scalar int32 tensor, to log weights `[chunk_size]` and values
        `[chunk_size, ...]`.
      num_samples: k, a scalar int32 tensor; what the last chunk holds beyond it is left out.
      chunk_size: samples per chunk.
      nothing: zeros of the shape and dtype of one value.

    Returns:
      sum_i w~_i value_i, `[...]`.
    """

    def add(i, log_sum, mean):
        log_weights, values = draw(i)
        log_weights = tf.where(tf.range(chunk_size) < num_samples - i * chunk_size, log_weights, -float("inf"))
        total = tf.reduce_logsumexp(tf.concat([[log_sum], log_weights], 0))
        mean *= tf.exp(log_sum - total)
        return i + 1, total, mean + tf.tensordot(tf.exp(log_weights - total), values, 1)

    start = (0, tf.constant(-float("inf"), nothing.dtype), nothing)
    return tf.while_loop(lambda i, *_: i * chunk_size < num_samples, add, start, parallel_iterations=1)[-1]


def program(model):
    """Makes the function that estimates the whole of observations of which some entries are missing.

    Args:
      model: an `IWAE`.

    Returns:
      A function of data `[batch, *event_shape]`, the number of samples (int32) and a seed (int32[2]) to such data.
    """
    size = likelihood.chunk_size(model)
    dtype = tf.as_dtype(model.dtype_policy.variable_dtype)

    def estimate(x, num_samples, seed):
        """Estimates one observation, `[1, *event_shape]`."""
        posterior, seed = model.posterior(x), random.fold_in(seed, 1)

        def draw(i):
            posteriors, z = model.infer(posterior, size, random.fold_in(seed, i))
            values = _expectations(model.generative(z)[0])  # XLA does not compute p(x|z) twice
            return model.score(x, z, posteriors).log_weights()[:, 0], values[:, 0]

        observation = model.generative([tf.zeros([1, *shape], dtype) for shape in model.latent_shapes])[0]
        expected = average(draw, num_samples, size, tf.zeros_like(_expectations(observation)[0]))
        return observation.point(expected) if isinstance(observation, ColumnProduct) else expected

    def make(jit_compile):
        compiled = compiling.function(estimate, jit_compile=jit_compile)

        def rows(x, num_samples, seed):
            def one(args):
                row, seed = args
                return compiled(model.preprocess_checked(row[tf.newaxis], seed), num_samples, seed)

            x = model.asserted(x)
            spec, seeds = tf.TensorSpec(model.event_shape, dtype), random.fold_in_rows(seed, x)
            return tf.map_fn(one, (x, seeds), parallel_iterations=1, fn_output_signature=spec)

        return compiling.function(rows, reduce_retracing=True)

    return compiling.with_fallback(model, make)


def _expectations(observation):
    """Returns what of p(x|z) can be averaged over z, `[*batch, ...]`."""
    return observation.expectations() if isinstance(observation, ColumnProduct) else observation.mean()
