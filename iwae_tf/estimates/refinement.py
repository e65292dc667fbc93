"""Refined proposals: q(z|x) fitted to each observation before it is scored."""

import math
from typing import Any, NamedTuple

import tensorflow as tf

from iwae_tf import random
from iwae_tf.hierarchy import Hierarchy
from iwae_tf.layers.multivariate_normal import FullNormal, LowerTriangularOperator
from iwae_tf.layers.normal import Normal

#: Samples of each step, and the learning rate of Adam, which falls to 0 along a cosine.
NUM_SAMPLES, LEARNING_RATE = 32, 0.05
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
#: Factor of the standard deviations after the last step: a proposal that is too narrow has heavy-tailed weights.
WIDENING = 1.1


class Proposal(NamedTuple):
    """A defensive mixture for observations x: one half is q(z|x), the other a Gaussian refined for each of them.

    A diagonal Gaussian q makes z from standard normal noise. The refined component has another distribution of the
    noise: for each observation and layer a Gaussian with a full covariance. So it follows q wherever q depends on the
    layer below, and any number of layers has refined distributions.

    Attributes:
      model: the model.
      observed: the result of `Hierarchy.observe` for x.
      posterior: the result of `Hierarchy.posterior` for x.
      components: for each layer, the refined distribution of its noise, flattened to `[batch, size]`.
    """

    model: Hierarchy
    observed: Any
    posterior: Any
    components: list[FullNormal]

    def log_weights(self, num_samples: int, seed: tf.Tensor) -> tf.Tensor:
        """Draws samples from the mixture, and returns log p(x, z) minus the log density of the mixture, `[k, batch]`.

        Of each pair of samples a coin gives one to either component. Each sample alone has the density of the mixture,
        so the weights have the mean p(x) for any k.
        """
        batch_size, dtype = self.components[0].loc.shape[0], self.components[0].dtype
        coins = random.uniform([-(-num_samples // 2), batch_size], random.fold_in(seed, 0), dtype) < 0.5
        refined = tf.reshape(tf.stack([coins, ~coins], 1), [-1, batch_size])[:num_samples, :, tf.newaxis]
        noise = []
        for i, component in enumerate(self.components):
            layer_seed = random.fold_in(seed, i + 1)  # of both components, since a sample takes one of them
            own = random.normal([num_samples, *component.loc.shape], layer_seed, dtype)
            noise.append(tf.where(refined, component.sample(num_samples, seed=layer_seed), own))
        log_ratio = _log_density(self.components, noise) - _log_density_of_q(noise)
        # The mixture over q is (1 + ratio) / 2.
        return _log_weights_of_q(self.model, self.observed, self.posterior, noise) - (
            tf.nn.softplus(log_ratio) - math.log(2.0)
        )


def refine(model: Hierarchy, x: tf.Tensor, posterior: Any, num_steps: int, seed: tf.Tensor) -> Proposal:
    """Fits the distribution of the noise of q(z|x) to each observation, by gradient ascent of the ELBO.

    The gradients are path gradients, whose variance vanishes as the proposal approaches p(z|x).

    Args:
      model: a model whose posteriors are diagonal Gaussians.
      x: `[batch, *event_shape]`, as the likelihood sees it.
      posterior: the result of `Hierarchy.posterior` for x.
      num_steps: steps of Adam.
      seed: `int32[2]`.

    Raises:
      NotImplementedError: if a posterior is not a diagonal Gaussian.

    References:
      Cremer, Li & Duvenaud 2018, arXiv:1801.03558 (q optimised for each observation); Roeder, Wu & Duvenaud 2017,
      arXiv:1703.09194 (path gradients); Hesterberg 1995, Technometrics 37 (defensive mixtures).
    """
    sizes = [math.prod(shape) for shape in model.latent_shapes]
    observed = model.observe(x)
    start = [tf.zeros([x.shape[0], size, size + 1], x.dtype) for size in sizes]

    def step(i: tf.Tensor, values: list, means: list, squares: list) -> tuple[tf.Tensor, list, list, list]:
        with tf.GradientTape() as tape:
            tape.watch(values)
            step_seed = random.fold_in(seed, i)
            noise = [
                component.sample(NUM_SAMPLES, seed=random.fold_in(step_seed, layer))
                for layer, component in enumerate(_make_components(values))
            ]
            target = _log_weights_of_q(model, observed, posterior, noise) + _log_density_of_q(noise)
            fixed = _make_components([tf.stop_gradient(value) for value in values])
            # Summed over the observations, which have nothing in common.
            loss = -tf.reduce_sum(tf.reduce_mean(target - _log_density(fixed, noise), axis=0))
        gradients = tape.gradient(loss, values)
        means = [BETA_1 * mean + (1 - BETA_1) * g for mean, g in zip(means, gradients, strict=True)]
        squares = [BETA_2 * square + (1 - BETA_2) * g**2 for square, g in zip(squares, gradients, strict=True)]
        done = tf.cast(i, x.dtype)
        rate = LEARNING_RATE * 0.5 * (1.0 + tf.cos(math.pi * done / num_steps))
        rate *= tf.sqrt(1.0 - BETA_2 ** (done + 1.0)) / (1.0 - BETA_1 ** (done + 1.0))
        moments = zip(values, means, squares, strict=True)
        return i + 1, [v - rate * m / (tf.sqrt(s) + EPSILON) for v, m, s in moments], means, squares

    zeros = [tf.zeros_like(value) for value in start]
    _, values, _, _ = tf.while_loop(
        lambda i, *_: i < num_steps, step, (tf.constant(0), start, zeros, zeros), parallel_iterations=1
    )
    return Proposal(model, observed, posterior, _make_components(values, WIDENING))


def _make_components(values: list[tf.Tensor], widening: float = 1.0) -> list[FullNormal]:
    """Makes a Gaussian of each `[batch, d, d + 1]`: its mean, and its Cholesky factor with the logs of its diagonal."""
    components = []
    for value in values:
        loc, tril = value[..., 0], value[..., 1:]
        tril = tf.linalg.set_diag(tf.linalg.band_part(tril, -1, 0), tf.exp(tf.linalg.diag_part(tril)))
        components.append(FullNormal(loc, LowerTriangularOperator(widening * tril, is_non_singular=True)))
    return components


def _log_density(components: list[FullNormal], noise: list[tf.Tensor]) -> tf.Tensor:
    return tf.add_n([component.log_prob(u) for component, u in zip(components, noise, strict=True)])


def _log_density_of_q(noise: list[tf.Tensor]) -> tf.Tensor:
    """Returns the log density of standard normal noise."""
    return tf.add_n([tf.reduce_sum(Normal(tf.zeros([], u.dtype), 1.0).log_prob(u), -1) for u in noise])


def _log_weights_of_q(model: Hierarchy, observed: Any, posterior: Any, noise: list[tf.Tensor]) -> tf.Tensor:
    """Returns log p(x, z) - log q(z|x) of the z that q makes from the noise, `[k, batch]`."""
    shaped = [tf.reshape(u, [*u.shape[:2], *shape]) for u, shape in zip(noise, model.latent_shapes, strict=True)]
    posteriors, z = model.infer_from_noise(posterior, shaped)
    return model.score(observed, z, posteriors).log_weights()
