"""The gap between log p(x) and the ELBO, split by its causes."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import pandas as pd
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf import compiling, random
from iwae_tf.checks import check_count
from iwae_tf.evaluation.batches import preprocess_batches
from iwae_tf.evaluation.log_likelihood import log_likelihood
from iwae_tf.layers.normal import Normal
from iwae_tf.model import IWAE
from iwae_tf.types import Array


def inference_gaps(
    model: IWAE,
    data: Array | tf.data.Dataset,
    num_steps: int = 500,
    num_samples: int = 32,
    learning_rate: float = 0.02,
    likelihood_samples: int = 5000,
    seed: int = 0,
    verbose: int = 0,
) -> pd.DataFrame:
    """Splits log p^(x) - ELBO into an approximation gap and an amortisation gap.

    For every observation it finds the best diagonal Gaussian by gradient ascent of the ELBO, starting at the mean and
    the standard deviation of q(z|x). The gap that remains is due to the family of Gaussians: the approximation gap. The
    gap between this Gaussian and q(z|x) is due to the network: the amortisation gap, negative if q comes from a richer
    family.

    Args:
      model: an `IWAE` with one stochastic layer.
      data: observations `[n, *event_shape]` or a `tf.data.Dataset` of batches, as given to `fit`.
      num_steps: steps of Adam for every observation.
      num_samples: samples per observation and step; the ELBOs are estimated with 64 times as many.
      learning_rate: learning rate of Adam at the start; it falls to 0 along a cosine.
      likelihood_samples: samples for log p^.
      seed: integer seed of the preprocessing and the samples.
      verbose: 1 shows progress bars.

    Returns:
      A `DataFrame` with a row per observation, in nats: `elbo`; `optimized`, the ELBO of the best Gaussian;
      `log_likelihood`; `amortization_gap`, `optimized` - `elbo`; and `approximation_gap`, `log_likelihood` -
      `optimized`.

    Raises:
      ValueError: if the model has several stochastic layers, a number is not a positive integer, or the data do not
        match the model's input.

    References:
      Cremer, Li & Duvenaud 2018, Inference Suboptimality in Variational Autoencoders, arXiv:1801.03558.

    Example:
      ```python
      shallow = iwae_tf.mlp((8, 8, 1), (4,), ((16,),), preprocessing=layers.StochasticBinarization())
      table = evaluation.inference_gaps(shallow, x, num_steps=20, num_samples=4, likelihood_samples=50)
      table[["amortization_gap", "approximation_gap"]].mean()
      ```
    """
    for value, name in ((num_steps, "num_steps"), (num_samples, "num_samples")):
        check_count(value, name)
    if len(model.encoder) != 1:
        raise ValueError(f"Expected a model of one stochastic layer. Received: {len(model.encoder)}")
    if model.is_discrete:
        raise ValueError("Expected continuous latent variables, which have Gaussians. Received: discrete ones")
    tables = []
    for x, batch_seed in preprocess_batches(model, data, seed, verbose):
        q = model.posterior(x)
        key = q.mean().shape, num_steps, num_samples, learning_rate
        ascend = compiling.cached(model, functools.partial(_Ascent, model, *key), _Ascent, *key)
        best = ascend(x, q, batch_seed)
        last = random.fold_in(batch_seed, num_steps)
        elbos = [_estimate_elbo(model, x, d, 64 * num_samples, last) for d in (q, best)]
        tables.append(pd.DataFrame({name: e.numpy() for name, e in zip(("elbo", "optimized"), elbos, strict=True)}))
    table = pd.concat(tables, ignore_index=True)
    table["log_likelihood"] = log_likelihood(model, data, likelihood_samples, seed, verbose).log_likelihood
    return table.assign(
        amortization_gap=table.optimized - table.elbo, approximation_gap=table.log_likelihood - table.optimized
    )


def _estimate_elbo(model: IWAE, observed: Any, q: tfd.Distribution, num_samples: int, seed: tf.Tensor) -> tf.Tensor:
    z = [q.sample(num_samples, seed=seed)]
    return tf.reduce_mean(model.score(observed, z, [q]).log_weights(), axis=0)


class _Ascent:
    """Gradient ascent of the ELBO over diagonal Gaussians, one for each row of a batch, compiled once for all batches.

    Args:
      model: an `IWAE` with one stochastic layer.
      shape: shape of the means, `[batch, *event]`.
      num_steps: steps of Adam.
      num_samples: samples per observation and step.
      learning_rate: learning rate of Adam at the start.
    """

    def __init__(
        self, model: IWAE, shape: tf.TensorShape, num_steps: int, num_samples: int, learning_rate: float
    ) -> None:
        dtype = model.dtype_policy.variable_dtype
        self._parameters = [tf.Variable(tf.zeros(shape, dtype)) for _ in ("loc", "log_scale")]
        optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, num_steps))
        optimizer.build(self._parameters)
        self._state = optimizer.variables
        self._start = [tf.identity(variable.value) for variable in self._state]

        def train(x: tf.Tensor, seed: tf.Tensor) -> None:
            observed = model.observe(x)

            def step(i: tf.Tensor) -> tuple[tf.Tensor]:
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch(self._parameters)
                    q, step_seed = self._make_gaussian(), random.fold_in(seed, i)
                    loss = -tf.reduce_sum(_estimate_elbo(model, observed, q, num_samples, step_seed))
                optimizer.apply(tape.gradient(loss, self._parameters), self._parameters)
                return (i + 1,)

            tf.while_loop(lambda i: i < num_steps, step, (tf.constant(0),), parallel_iterations=1)

        def make(jit_compile: bool) -> Callable:
            return compiling.function(train, jit_compile=jit_compile)

        self._train = compiling.with_fallback(model, make)

    def _make_gaussian(self) -> tfd.Distribution:
        loc, log_scale = map(tf.identity, self._parameters)
        return tfd.Independent(Normal(loc, tf.exp(log_scale)), loc.shape.rank - 1)

    def __call__(self, x: tf.Tensor, q: tfd.Distribution, seed: tf.Tensor) -> tfd.Distribution:
        """Finds the best Gaussian for each row of x, starting at the mean and the standard deviation of q."""
        values = (q.mean(), tf.math.log(q.stddev()), *self._start)
        for variable, value in zip((*self._parameters, *self._state), values, strict=True):
            variable.assign(value)
        self._train(x, seed)
        return self._make_gaussian()
