"""Adam, as Keras has it, for the peers in JAX."""

import jax
import jax.numpy as jnp

LEARNING_RATE, BETA_1, BETA_2 = 1e-3, 0.9, 0.999


def adam(parameters, m, v, t, gradient, epsilon):
    """Takes a step; returns the new parameters, moments and number of steps."""
    t += 1
    m = jax.tree.map(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, m, gradient)
    v = jax.tree.map(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, v, gradient)
    rate, scale = LEARNING_RATE / (1 - BETA_1**t), 1 / jnp.sqrt(1 - BETA_2**t)
    parameters = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) * scale + epsilon), parameters, m, v)
    return parameters, m, v, t
