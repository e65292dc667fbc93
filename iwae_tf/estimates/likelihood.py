"""Streaming likelihoods: log p^(x) from any number of samples in bounded memory."""

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from iwae_tf import compiling, random
from iwae_tf.checks import check_count
from iwae_tf.estimates import refinement
from iwae_tf.estimates.rows import map_rows
from iwae_tf.hierarchy import Hierarchy
from iwae_tf.log_weights import effective_sample_size_of_sums, standard_error
from iwae_tf.types import Array, Seed

#: Samples are scored in chunks of one of these sizes: the one that costs least for k. The size is part of what a seed
#: means.
CHUNKS = (10, 100, 500)
MOST_SAMPLES = CHUNKS[-1]
#: What a chunk costs besides its samples, in times of the cost of a sample.
CHUNK_OVERHEAD = 4
#: Bytes that a chunk may need, for each of the observations that are scored side by side.
MEMORY = 2**28
#: Number of the largest log weights of each observation that are kept, to judge the estimate.
NUM_LARGEST = 256
T = TypeVar("T", int, tf.Tensor)
#: A function of data `[batch, *event_shape]`, k (int32) and a seed (int32[2]) to an `Estimate`.
Program = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], "Estimate"]


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

    def scores(self) -> dict[str, tf.Tensor]:
        """Returns everything except the largest log weights, by name."""
        return {name: value for name, value in self._asdict().items() if name != "largest_log_weights"}


def stream(
    draw: Callable[[tf.Tensor], tf.Tensor],
    num_samples: tf.Tensor,
    batch_size: int,
    chunk_size: int,
    dtype: tf.DType = tf.float32,
) -> Estimate:
    """Estimates log (1/k) sum_i w_i from chunks of log weights, with running sums of w and w^2 and the largest w.

    Args:
      draw: a function from the number of a chunk, a scalar int32 tensor, to log weights `[chunk_size, batch_size]`.
      num_samples: k, a scalar int32 tensor; further samples in the last chunk are left out.
      batch_size: number of observations.
      chunk_size: samples per chunk.
      dtype: dtype of the log weights.

    Returns:
      An `Estimate`.
    """

    def add(i: tf.Tensor, largest: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
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


def choose_chunk_size(model: Hierarchy) -> int:
    """Chooses the number of samples scored at once: `MOST_SAMPLES`, or fewer where they would exceed `MEMORY`.

    The memory of a sample is counted as the outputs of all operations of its scoring, none of them freed. The number
    depends only on the model, so that a seed means the same on every machine.
    """

    @tf.function(autograph=False)
    def score(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return model.terms(x, model.posterior(x), MOST_SAMPLES, seed).log_weights()

    x = tf.TensorSpec([1, *model.event_shape], model.dtype_policy.variable_dtype)
    graph = score.get_concrete_function(x, tf.TensorSpec([2], tf.int32)).graph
    outputs = [output for operation in graph.get_operations() for output in operation.outputs]
    needed = sum((t.shape.num_elements() or 0) * t.dtype.size for t in outputs) / MOST_SAMPLES
    return int(min(max(MEMORY // needed, 1), MOST_SAMPLES))


def get_program(model: Hierarchy, refine: int = 0) -> Program:
    """Returns the compiled function that scores observations; the model keeps it.

    With `refine` the samples of each observation come from a proposal that is refined by that many steps.

    It can be called in a `tf.function` too. It raises a `tf.errors.InvalidArgumentError` for data that do not match
    the model's input.
    """
    return compiling.cached(model, functools.partial(_make_program, model, refine), "likelihood", refine)


def _make_program(model: Hierarchy, refine: int) -> Program:
    """Makes the function that scores observations, each on its own (see `map_rows`), in chunks of samples.

    x is encoded once.
    """
    most = choose_chunk_size(model)
    sizes = [*(size for size in CHUNKS if size < most), most]

    def make(jit_compile: bool) -> Program:
        programs = [_make_rows(model, refine, size, jit_compile) for size in sizes]

        def run(x: tf.Tensor, num_samples: tf.Tensor, seed: tf.Tensor) -> Estimate:
            """Chooses the program by k, which a graph may know only when it runs."""
            k = tf.get_static_value(num_samples)
            if k is not None:
                return programs[int(np.argmin(_compute_costs(k, sizes)))](x, num_samples, seed)
            cheapest = tf.argmin(tf.stack(_compute_costs(num_samples, sizes)), output_type=tf.int32)
            return tf.switch_case(cheapest, [functools.partial(program, x, num_samples, seed) for program in programs])

        return run

    return compiling.with_fallback(model, make)


def _compute_costs(k: T, sizes: list[int]) -> list[T]:
    """Returns the costs of k samples in chunks of each size, which are drawn whole, in times of a sample."""
    return [-(-k // size) * (CHUNK_OVERHEAD + size) for size in sizes]


def _make_rows(model: Hierarchy, refine: int, size: int, jit_compile: bool) -> Program:
    """Makes the function that scores rows in chunks of `size` samples."""
    dtype = tf.as_dtype(model.dtype_policy.variable_dtype)

    def score(x: tf.Tensor, num_samples: tf.Tensor, seed: tf.Tensor) -> Estimate:
        """Scores one observation, `[1, *event_shape]`."""
        posterior, observed = model.posterior(x), model.observe(x)
        seed = random.fold_in(seed, 1)
        if refine:
            proposal = refinement.refine(model, x, posterior, refine, random.fold_in(seed, -1))

        def draw(i: tf.Tensor) -> tf.Tensor:
            chunk_seed = random.fold_in(seed, i)
            if refine:
                return proposal.log_weights(size, chunk_seed)
            # The density itself, without the KL weights of the warm-up and the objective.
            return model.terms(observed, posterior, size, chunk_seed).log_weights()

        return Estimate(*(part[0] for part in stream(draw, num_samples, 1, size, dtype)))

    spec = Estimate(*(tf.TensorSpec(shape, dtype) for shape in ([], [], [], [NUM_LARGEST])))
    return map_rows(model, score, spec, jit_compile)


def estimate(model: Hierarchy, x: Array, num_samples: int = 5000, seed: Seed | None = None) -> Estimate:
    """Estimates log p(x) by L_k with k = `num_samples`; memory does not grow with k.

    Args:
      model: the model.
      x: data `[batch, *event_shape]`, as in the training set.
      num_samples: k, samples per observation.
      seed: an integer or `int32[2]`; the same seed gives the same scores. `None` draws the model's next seed.

    Returns:
      An `Estimate`.

    Raises:
      ValueError: if the data do not match the model's input, or `num_samples` is not a positive integer.

    Example:
      ```python
      estimate = estimates.likelihood.estimate(model, x, num_samples=100, seed=0)
      estimate.log_likelihood.shape  # [20]
      ```
    """
    check_count(num_samples, "num_samples")
    x = model.as_input(x)  # builds the model
    return get_program(model)(x, tf.constant(num_samples, tf.int32), model.next_seed(seed))
