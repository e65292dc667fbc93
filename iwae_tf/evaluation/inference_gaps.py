"""What inference costs: the gap between log p(x) and the ELBO, by its causes."""

import keras
import pandas as pd
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf import compiling, random
from iwae_tf.checks import check_count
from iwae_tf.evaluation.batches import preprocess_batches
from iwae_tf.evaluation.log_likelihood import log_likelihood
from iwae_tf.layers.normal import Normal


def inference_gaps(
    model, data, num_steps=500, num_samples=32, learning_rate=0.02, likelihood_samples=5000, seed=0,
    verbose=0,
):  # fmt: skip
    """Splits log p^(x) - ELBO into an approximation gap and an amortisation gap.

    For every observation the best diagonal Gaussian is sought, by gradient ascent of the ELBO from the mean and the
    deviation of q(z|x) on. What even this one lacks is the fault of the family, the approximation gap; what q(z|x)
    lacks beside it that of the network, the amortisation gap, below 0 where q is of a richer family.

    Args:
      model: an `IWAE` with one stochastic layer.
      data: array `[n, *event_shape]` or `tf.data.Dataset` of batches, as in the training set.
      num_steps: steps of Adam for every observation.
      num_samples: samples per observation and step; 64 times as many for the ELBOs.
      learning_rate: that of Adam, which falls to 0 along a cosine.
      likelihood_samples: samples for log p^.
      seed: integer seed of the preprocessing and of the samples.
      verbose: 1 shows progress bars.

    Returns:
      A `DataFrame` with a row per observation, in nats: `elbo`, `optimized`, the ELBO of the best Gaussian,
      `log_likelihood`; `amortization_gap`, `optimized` - `elbo`, and `approximation_gap`, `log_likelihood` -
      `optimized`.

    Raises:
      ValueError: if the model has more stochastic layers, a number is no integer of at least 1, or the data are not
        such as the model takes.

    References:
      Cremer, Li & Duvenaud 2018, Inference Suboptimality in Variational Autoencoders, arXiv:1801.03558.
    """
    for value, name in ((num_steps, "num_steps"), (num_samples, "num_samples")):
        check_count(value, name)
    if len(model.encoder) != 1:
        raise ValueError(f"Expected a model of one stochastic layer. Received: {len(model.encoder)}")
    rows = []
    for x, batch_seed in preprocess_batches(model, data, seed, verbose):
        q = model.posterior(x)
        key = (_Ascent, q.mean().shape, num_steps, num_samples, learning_rate)
        if key not in model.programs:
            model.programs[key] = _Ascent(model, *key[1:])
        best = model.programs[key].best(x, q, batch_seed)
        last = random.fold_in(batch_seed, num_steps)
        elbos = [_elbo(model, x, d, 64 * num_samples, last) for d in (q, best)]
        rows.append(pd.DataFrame({name: e.numpy() for name, e in zip(("elbo", "optimized"), elbos, strict=True)}))
    table = pd.concat(rows, ignore_index=True)
    table["log_likelihood"] = log_likelihood(model, data, likelihood_samples, seed, verbose).log_likelihood
    return table.assign(
        amortization_gap=table.optimized - table.elbo, approximation_gap=table.log_likelihood - table.optimized
    )


def _elbo(model, x, q, num_samples, seed):
    z = [q.sample(num_samples, seed=seed)]
    return tf.reduce_mean(model.score(x, z, [q]).log_weights(), axis=0)


class _Ascent:
    """Gradient ascent of the ELBO over diagonal Gaussians, one for each row of a batch, compiled once for all batches.

    Args:
      model: an `IWAE` with one stochastic layer.
      shape: that of the means, `[batch, *event]`.
      num_steps: steps of Adam.
      num_samples: samples per observation and step.
      learning_rate: that of Adam at the start.
    """

    def __init__(self, model, shape, num_steps, num_samples, learning_rate):
        dtype = model.dtype_policy.variable_dtype
        self._parameters = [tf.Variable(tf.zeros(shape, dtype)) for _ in ("loc", "log_scale")]
        optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, num_steps))
        optimizer.build(self._parameters)
        self._state = optimizer.variables
        self._start = [tf.identity(variable.value) for variable in self._state]

        def train(x, seed):
            def step(i):
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch(self._parameters)
                    loss = -tf.reduce_sum(_elbo(model, x, self._gaussian(), num_samples, random.fold_in(seed, i)))
                optimizer.apply(tape.gradient(loss, self._parameters), self._parameters)
                return (i + 1,)

            tf.while_loop(lambda i: i < num_steps, step, (tf.constant(0),), parallel_iterations=1)

        def make(jit_compile):
            return compiling.function(train, jit_compile=jit_compile)

        self._train = compiling.with_fallback(model, make)

    def _gaussian(self):
        loc, log_scale = map(tf.identity, self._parameters)
        return tfd.Independent(Normal(loc, tf.exp(log_scale)), loc.shape.rank - 1)

    def best(self, x, q, seed):
        """Returns the best Gaussian for the rows of x, sought from the mean and the deviation of q on."""
        values = (q.mean(), tf.math.log(q.stddev()), *self._start)
        for variable, value in zip((*self._parameters, *self._state), values, strict=True):
            variable.assign(value)
        self._train(x, seed)
        return self._gaussian()
