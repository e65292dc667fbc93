"""Streaming likelihoods: log p^(x) from any number of samples in bounded memory."""

import functools
import os
from typing import NamedTuple

import tensorflow as tf

from iwae_tf import compiling, random
from iwae_tf.checks import check_count
from iwae_tf.log_weights import effective_sample_size_of_sums, standard_error

#: Samples of one observation scored at once: the first number that is not below k, or else the last, since a chunk is
#: drawn whole, however few of it are counted. The number is part of what a seed means.
CHUNKS = (10, 100, 500)
MOST_SAMPLES = CHUNKS[-1]
#: Bytes that scoring them may need, for each of the observations that stand side by side.
MEMORY = 2**28
#: Log weights of each observation that are kept, the largest, to judge the estimate by.
NUM_LARGEST = 256


class Estimate(NamedTuple):
    """A likelihood estimate and how far it can be trusted; each `[batch]`.

    Attributes:
      log_likelihood: log (1/k) sum_i w_i, in nats.
      standard_error: its delta-method standard error, in nats; NaN for k = 1.
      effective_sample_size: (sum w)^2 / sum w^2, in [1, k].
      largest_log_weights: `[batch, NUM_LARGEST]`, the largest first; -inf where there are no more samples.
    """

    log_likelihood: tf.Tensor
    standard_error: tf.Tensor
    effective_sample_size: tf.Tensor
    largest_log_weights: tf.Tensor

    def scores(self):
        """Returns a dict of all but the largest log weights."""
        return {name: value for name, value in self._asdict().items() if name != "largest_log_weights"}


def stream(draw, num_samples, batch_size, chunk_size, dtype=tf.float32):
    """Estimates log (1/k) sum_i w_i from chunks of log weights, by running sums of w and of w^2 and the largest w.

    Args:
      draw: a function from the number of a chunk, a scalar int32 tensor, to log weights `[chunk_size, batch_size]`.
      num_samples: k, a scalar int32 tensor; what the last chunk holds beyond it is left out.
      batch_size: observations scored.
      chunk_size: samples per chunk.
      dtype: that of the log weights.

    Returns:
      An `Estimate`.
    """

    def add(i, largest, *sums):
        counted = (tf.range(chunk_size) < num_samples - i * chunk_size)[:, tf.newaxis]
        log_weights = tf.where(counted, draw(i), -float("inf"))
        added = [tf.reduce_logsumexp(power * log_weights, axis=0) for power in (1.0, 2.0)]
        largest = tf.math.top_k(tf.concat([largest, tf.transpose(log_weights)], 1), NUM_LARGEST).values
        total = (tf.reduce_logsumexp(tf.stack(pair), axis=0) for pair in zip(sums, added, strict=True))
        return i + 1, largest, *total

    none = tf.fill([batch_size, NUM_LARGEST], tf.constant(-float("inf"), dtype))
    nothing = tf.fill([batch_size], tf.constant(-float("inf"), dtype))
    _, largest, log_sum, log_sum_of_squares = tf.while_loop(
        lambda i, *_: i * chunk_size < num_samples, add, (0, none, nothing, nothing), parallel_iterations=1
    )
    effective = effective_sample_size_of_sums(log_sum, log_sum_of_squares)
    k = tf.cast(num_samples, dtype)
    return Estimate(log_sum - tf.math.log(k), standard_error(effective, k), effective, largest)


def chunk_size(model):
    """Chooses the samples scored at once: `MOST_SAMPLES`, or fewer where they would need more than `MEMORY`.

    What a sample needs is counted as all that the operations of its scoring give out, none of it freed. The number
    depends on the model alone, so that a seed means the same on every machine.
    """

    @tf.function(autograph=False)
    def score(x, seed):
        return model.terms(x, model.posterior(x), MOST_SAMPLES, seed).log_weights()

    x = tf.TensorSpec([1, *model.event_shape], model.dtype_policy.variable_dtype)
    graph = score.get_concrete_function(x, tf.TensorSpec([2], tf.int32)).graph
    outputs = [output for operation in graph.get_operations() for output in operation.outputs]
    needed = sum((t.shape.num_elements() or 0) * t.dtype.size for t in outputs) / MOST_SAMPLES
    return int(min(max(MEMORY // needed, 1), MOST_SAMPLES))


def program(model):
    """Makes the function that scores observations under a model.

    Each observation is scored on its own, by one and the same compiled program, in chunks of samples, with noise that
    the seed and its content give. So its score depends neither on those beside it nor on their number, bit for bit, and
    the scores of different observations are independent. x is encoded once, and one program serves any batch; each size
    of chunks has one. A few rows run at the same time, which keeps every core busy.

    Args:
      model: an `IWAE`.

    Returns:
      A function of data `[batch, *event_shape]`, the number of samples (int32) and a seed (int32[2]) to an `Estimate`;
      it can be called in a `tf.function` too. It raises a `tf.errors.InvalidArgumentError` for data that the model does
      not take.
    """
    dtype = tf.as_dtype(model.dtype_policy.variable_dtype)
    most = chunk_size(model)
    sizes = [*(size for size in CHUNKS if size < most), most]
    abreast = min(max(os.cpu_count() or 1, 2), 8)

    def make_rows(size, jit_compile):
        def score(x, num_samples, seed):
            """Scores one observation."""
            posterior = model.posterior(x)
            seed = random.fold_in(seed, 1)

            def draw(i):
                # The density itself: neither the warm-up's weight nor the objective's enters.
                return model.terms(x, posterior, size, random.fold_in(seed, i)).log_weights()

            return stream(draw, num_samples, 1, size, dtype)

        compiled = compiling.function(score, reduce_retracing=True, jit_compile=jit_compile)

        def rows(x, num_samples, seed):
            def score_row(args):
                row, seed = args
                row = model.preprocess_checked(row[tf.newaxis], seed)  # not by XLA, which drops assertions
                return Estimate(*(part[0] for part in compiled(row, num_samples, seed)))

            x = model.asserted(x)
            spec = Estimate(*(tf.TensorSpec(shape, dtype) for shape in ([], [], [], [NUM_LARGEST])))
            return tf.map_fn(
                score_row, (x, random.fold_in_rows(seed, x)), parallel_iterations=abreast, fn_output_signature=spec
            )

        return compiling.function(rows, reduce_retracing=True)

    def make(jit_compile):
        programs = [make_rows(size, jit_compile) for size in sizes]

        def run(x, num_samples, seed):
            """Chooses by k, which in a graph may be known only when it runs."""
            k = tf.get_static_value(num_samples)
            if k is not None:
                return programs[sum(size < k for size in sizes[:-1])](x, num_samples, seed)
            larger = tf.reduce_sum(tf.cast(num_samples > tf.constant(sizes[:-1], tf.int32), tf.int32))
            return tf.switch_case(larger, [functools.partial(one, x, num_samples, seed) for one in programs])

        return run

    return compiling.with_fallback(model, make)


def estimate(model, x, num_samples=5000, seed=None):
    """Estimates log p(x) by L_k with k = `num_samples`; memory does not grow with k.

    Args:
      model: an `IWAE`.
      x: data `[batch, *event_shape]`, as in the training set.
      num_samples: k, samples per observation.
      seed: an integer or `int32[2]`; the same seed gives the same scores. `None` takes the next of the model's own.

    Returns:
      An `Estimate`.

    Raises:
      ValueError: if the data are not such as the model takes, or `num_samples` is no integer of at least 1.
    """
    check_count(num_samples, "num_samples")
    x = model.admit(x)  # which builds the model
    return model.likelihood_program(x, tf.constant(num_samples, tf.int32), model.next_seed(seed))
