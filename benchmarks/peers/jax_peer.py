"""The one- and two-layer networks of Burda et al. in JAX: a whole run of training steps is one compiled `lax.scan`."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases import decoder_sizes, encoder_sizes
from benchmarks.peers.jax_adam import adam

EPSILON = 1e-4
CHUNK = 5000  # samples of one image that `log_likelihood` decodes at once


class Peer:
    """A model with the state of its training.

    Args:
      images_uint8: grey values `[n, 784]`, binarised anew at every step.
      num_samples: k, importance samples per observation.
      batch_size: observations per step, drawn with replacement.
      num_layers: 1 or 2 stochastic layers.
      seed: integer seed of the weights and of all draws.
    """

    def __init__(self, images_uint8, num_samples, batch_size, num_layers=1, seed=0):
        self.num_samples, self.batch_size = num_samples, batch_size
        self.device = jax.default_backend()
        # Whichever is the faster: on a CPU Threefry, by a twentieth at k = 50 and a tenth at k = 1.
        prng = "threefry2x32" if self.device == "cpu" else "unsafe_rbg"
        self._images = jnp.asarray(images_uint8)
        key, draws = jax.random.split(jax.random.key(seed, impl=prng))
        parameters = initial(key, num_layers)
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        # Copies, since the buffers are donated and no two may be the same.
        self._state = (parameters, zeros, jax.tree.map(jnp.copy, zeros), jnp.zeros((), jnp.int32), draws)

    @property
    def parameters(self):
        """(q, p): for each network, (weights, biases) of its dense layers."""
        return self._state[0]

    def train(self, num_steps):
        """Runs optimiser steps and returns the mean of their losses; compiles when a `num_steps` is new."""
        self._state, loss = train(self._state, self._images, self.num_samples, self.batch_size, num_steps)
        return float(loss)

    def log_likelihood(self, x, num_samples=5000):
        """Returns L_{num_samples} of binary float32 images `[m, 784]`, `[m]`."""
        *state, key = self._state
        key, draws = jax.random.split(key)
        self._state = (*state, key)
        return np.asarray(log_likelihood(self.parameters, jnp.asarray(x), draws, num_samples))


def initial(key, num_layers):
    """Glorot uniform weights, zero biases."""
    networks = encoder_sizes(num_layers), decoder_sizes(num_layers)
    glorot = jax.nn.initializers.glorot_uniform()

    def dense(sizes):
        nonlocal key
        key, draw = jax.random.split(key)
        return glorot(draw, sizes, jnp.float32), jnp.zeros(sizes[1])

    return jax.tree.map(
        lambda sizes: [dense(pair) for pair in itertools.pairwise(sizes)],
        networks,
        is_leaf=lambda node: isinstance(node, tuple) and isinstance(node[0], int),
    )


def mlp(layers, h):
    """Dense layers with tanh between them."""
    *hidden, (weights, biases) = layers
    for w, b in hidden:
        h = jnp.tanh(h @ w + b)
    return h @ weights + biases


def log_weights(parameters, posterior, x, key, num_samples):
    """log p(x, z) - log q(z|x), `[num_samples, batch]`; the normal constants of p and q cancel.

    Args:
      parameters: (q, p).
      posterior: mu and log sigma of q(z_1|x) side by side, `[batch, 2 d_1]`.
      x: binary images `[batch, 784]`.
      key: of the draws.
      num_samples: samples per observation.
    """
    encoder, decoder = parameters
    batch = len(x)
    log_w, z = 0.0, []
    for i, draw in enumerate(jax.random.split(key, len(encoder))):
        mu, log_sigma = jnp.split(posterior if i == 0 else mlp(encoder[i], z[-1]), 2, axis=-1)
        if i == 0:
            noise = jax.random.normal(draw, (num_samples, *mu.shape))
            sample = (mu + jnp.exp(log_sigma) * noise).reshape(-1, mu.shape[-1])
        else:
            noise = jax.random.normal(draw, mu.shape)
            sample = mu + jnp.exp(log_sigma) * noise
        log_w += jnp.sum(0.5 * noise**2 + log_sigma, -1).reshape(num_samples, batch)
        z.append(sample)
    log_w -= 0.5 * jnp.sum(z[-1] ** 2, -1).reshape(num_samples, batch)
    for layers, above, below in zip(decoder[:-1], z[:0:-1], z[-2::-1], strict=True):
        mu, log_sigma = jnp.split(mlp(layers, above), 2, axis=-1)
        log_p = jnp.sum(-0.5 * ((below - mu) * jnp.exp(-log_sigma)) ** 2 - log_sigma, -1)
        log_w += log_p.reshape(num_samples, batch)
    logits = mlp(decoder[-1], z[0]).reshape(num_samples, batch, -1)
    return log_w + jnp.sum(x * logits - jax.nn.softplus(logits), -1)


def bound(log_w):
    """L_k of log weights `[k, batch]`."""
    return jax.nn.logsumexp(log_w, axis=0) - jnp.log(len(log_w))


@functools.partial(jax.jit, donate_argnums=0, static_argnums=(2, 3, 4))
def train(state, images, num_samples, batch_size, num_steps):
    """Runs steps of Adam on -L_k; returns the new state and the mean loss."""

    def step(state, _):
        parameters, m, v, t, key = state
        key, choice, pixels, draws = jax.random.split(key, 4)
        index = jax.random.randint(choice, (batch_size,), 0, len(images))
        grey = images[index].astype(jnp.float32) / 255
        x = (jax.random.uniform(pixels, grey.shape) < grey).astype(jnp.float32)

        def loss(parameters):
            posterior = mlp(parameters[0][0], x)
            return -jnp.mean(bound(log_weights(parameters, posterior, x, draws, num_samples)))

        value, gradient = jax.value_and_grad(loss)(parameters)
        return (*adam(parameters, m, v, t, gradient, EPSILON), key), value

    state, losses = jax.lax.scan(step, state, length=num_steps)
    return state, losses.mean()


@functools.partial(jax.jit, static_argnums=3)
def log_likelihood(parameters, x, key, num_samples):
    """L_{num_samples} `[m]`, image by image, in chunks of samples."""
    posterior = mlp(parameters[0][0], x)
    chunks, rest = divmod(num_samples, CHUNK)

    def one(row):
        posterior, x, key = row

        def chunk(key, size=CHUNK):
            return jax.nn.logsumexp(log_weights(parameters, posterior[None], x[None], key, size))

        key, last = jax.random.split(key)
        parts = jax.lax.map(chunk, jax.random.split(key, chunks))
        if rest:
            parts = jnp.append(parts, chunk(last, rest))
        return jax.nn.logsumexp(parts) - jnp.log(num_samples)

    return jax.lax.map(one, (posterior, x, jax.random.split(key, len(x))))
