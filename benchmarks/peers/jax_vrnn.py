"""A variational recurrent network with a particle filter in JAX: time steps and training steps are `lax.scan`s."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers.jax_adam import adam

EPSILON = 1e-7


class Vrnn:
    """A model with the state of its training.

    Args:
      rolls: sequences of 0 and 255, uint8 `[n, time, notes]`.
      num_samples: k, particles per sequence.
      batch_size: sequences per step, drawn with replacement.
      num_layers: 1; every contender has this argument.
      size: size of z_t, of the cell and of the hidden layers.
      seed: integer seed of the weights and of all draws.
    """

    def __init__(self, rolls, num_samples, batch_size, num_layers=1, size=32, seed=0):
        self.num_samples, self.batch_size = num_samples, batch_size
        self.device = jax.default_backend()
        self._rolls = jnp.asarray(rolls, jnp.float32) / 255
        key, draws = jax.random.split(jax.random.key(seed))
        notes = rolls.shape[-1]
        sizes = {
            "cell": (notes + 2 * size, 4 * size), "prior": (size, size, 2 * size),
            "proposal": (notes + size, size, 2 * size), "emission": (2 * size, size, notes),
        }  # fmt: skip
        parameters = {}
        for name, widths in sizes.items():
            key, draw = jax.random.split(key)
            parameters[name] = initial(draw, widths)
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        self._state = (parameters, zeros, jax.tree.map(jnp.copy, zeros), jnp.zeros((), jnp.int32), draws)
        self._mean = jnp.mean(self._rolls, (0, 1))

    def train(self, num_steps):
        """Runs optimiser steps and returns the mean of their losses; compiles when a `num_steps` is new."""
        options = self.num_samples, self.batch_size, num_steps
        self._state, loss = train(self._state, self._rolls, self._mean, *options)
        return float(loss)

    def log_likelihood(self, x, num_samples):
        """Returns the filter's estimates of sequences `[m, time, notes]`, `[m]`."""
        *state, key = self._state
        key, draws = jax.random.split(key)
        self._state = (*state, key)
        return np.asarray(score(self._state[0], jnp.asarray(x, jnp.float32), self._mean, draws, num_samples))


def initial(key, widths):
    """Glorot uniform weights, zero biases, for a list of dense layers."""
    glorot = jax.nn.initializers.glorot_uniform()
    pairs = list(itertools.pairwise(widths))
    keys = jax.random.split(key, len(pairs))
    return [(glorot(k, pair, jnp.float32), jnp.zeros(pair[1])) for k, pair in zip(keys, pairs, strict=True)]


def mlp(layers, h):
    """Dense layers with ReLU between them."""
    *hidden, (weights, biases) = layers
    for w, b in hidden:
        h = jax.nn.relu(h @ w + b)
    return h @ weights + biases


def normal(layers, h):
    """Mean and scale of a Gaussian."""
    mean, raw = jnp.split(mlp(layers, h), 2, axis=-1)
    return mean, jax.nn.softplus(raw + 0.25)


def log_normal(z, mean, scale):
    """Log density up to the constant, which cancels, `[k, batch]`."""
    return jnp.sum(-0.5 * ((z - mean) / scale) ** 2 - jnp.log(scale), -1)


def filter_bound(parameters, x, mean, key, num_samples):
    """The log of the filter's estimate of p(x), for x `[batch, time, notes]`."""
    k, batch, size = num_samples, len(x), parameters["prior"][0][0].shape[0]
    steps = jnp.swapaxes(x, 0, 1)
    features = steps - mean
    earlier = jnp.concatenate([jnp.zeros_like(features[:1]), features[:-1]])

    def tile(values):
        return jnp.broadcast_to(values, (k, *values.shape))

    def advance(state, inputs):
        z, h, c, log_w, total = state
        x_t, features_t, earlier_t, key = inputs
        draw, choose = jax.random.split(key)
        ((weights, biases),) = parameters["cell"]
        gates = jnp.concatenate([tile(earlier_t), z, h], -1) @ weights + biases
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        c = jax.nn.sigmoid(f + 1) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        prior_mean, prior_scale = normal(parameters["prior"], h)
        shift, scale = normal(parameters["proposal"], jnp.concatenate([tile(features_t), h], -1))
        q_mean = prior_mean + shift
        z = q_mean + scale * jax.random.normal(draw, q_mean.shape)
        logits = mlp(parameters["emission"], jnp.concatenate([z, h], -1))
        log_p = jnp.sum(x_t * logits - jax.nn.softplus(logits), -1)
        log_w = log_w + log_p + log_normal(z, prior_mean, prior_scale) - log_normal(z, q_mean, scale)
        log_mean = jax.nn.logsumexp(log_w, 0) - jnp.log(k)
        normalized = jax.lax.stop_gradient(jax.nn.softmax(log_w, 0))
        needed = 1 / jnp.sum(normalized**2, 0) <= k / 2
        ancestors = jax.random.categorical(choose, jax.lax.stop_gradient(log_w), axis=0, shape=(k, batch))
        ancestors = jnp.where(needed, ancestors, jnp.arange(k)[:, None])
        z, h, c = (jnp.take_along_axis(v, ancestors[..., None], 0) for v in (z, h, c))
        total = total + jnp.where(needed, log_mean, 0)
        return (z, h, c, jnp.where(needed, 0, log_w), total), None

    zeros = jnp.zeros((k, batch, size))
    start = zeros, zeros, zeros, jnp.zeros((k, batch)), jnp.zeros(batch)
    inputs = steps, features, earlier, jax.random.split(key, len(steps))
    (*_, log_w, total), _ = jax.lax.scan(advance, start, inputs)
    return total + jax.nn.logsumexp(log_w, 0) - jnp.log(k)


@functools.partial(jax.jit, donate_argnums=0, static_argnums=(3, 4, 5))
def train(state, rolls, mean, num_samples, batch_size, num_steps):
    """Runs steps of Adam; returns the new state and the mean loss."""

    def step(state, _):
        parameters, m, v, t, key = state
        key, choice, draws = jax.random.split(key, 3)
        x = rolls[jax.random.randint(choice, (batch_size,), 0, len(rolls))]
        value, gradient = jax.value_and_grad(
            lambda p: -jnp.mean(filter_bound(p, x, mean, draws, num_samples))
        )(parameters)  # fmt: skip
        return (*adam(parameters, m, v, t, gradient, EPSILON), key), value

    state, losses = jax.lax.scan(step, state, length=num_steps)
    return state, losses.mean()


@functools.partial(jax.jit, static_argnums=4)
def score(parameters, x, mean, key, num_samples):
    """The filter's estimates, sequence by sequence."""

    def one(row):
        sequence, key = row
        return filter_bound(parameters, sequence[None], mean, key, num_samples)[0]

    return jax.lax.map(one, (x, jax.random.split(key, len(x))))
