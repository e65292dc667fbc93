"""Concrete distributions: continuous relaxations of Bernoulli and categorical variables, whose samples have a gradient.

A discrete variable is the largest of its logits plus noise. The relaxation is the sigmoid or softmax of the same noisy
logits over a temperature t: at t = 0 it is the discrete variable.

References:
  Maddison, Mnih & Teh 2017, The Concrete Distribution, arXiv:1611.00712; Jang, Gu & Poole 2017, Categorical
  Reparameterization with Gumbel-Softmax, arXiv:1611.01144.
"""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.internal import prefer_static as ps

from iwae_tf import random

#: Relaxed Bernoulli variables lie in [EDGE, 1 - EDGE], and have the mass beyond at the ends.
EDGE = 2.0**-20
#: Relaxed classes are at least this large: the gradient of a smaller one would overflow in float32.
SMALLEST = 1e-30


class _Concrete(tfd.Distribution):
    """Base of the relaxed variables: logits, and a temperature.

    Args:
      logits: logits of the discrete variable.
      temperature: t, a positive scalar.
    """

    def __init__(self, logits: tf.Tensor, temperature: tf.Tensor) -> None:
        parameters = dict(locals())
        self.logits = tf.convert_to_tensor(logits)
        self.temperature = tf.convert_to_tensor(temperature, self.logits.dtype)
        super().__init__(
            dtype=self.logits.dtype,
            reparameterization_type=tfd.FULLY_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=type(self).__name__.removesuffix("Distribution"),
        )


class RelaxedBernoulliDistribution(_Concrete):
    """A relaxed Bernoulli variable, whose density is exact in float32 at any temperature.

    Near 1 floats are too far apart for a density. So what lies beyond [EDGE, 1 - EDGE] is moved to the ends, where
    `log_prob` is the log of its probability: as the temperature falls it becomes that of the Bernoulli variable.

    `mean` and `stddev` are those of the Bernoulli variable; the relaxed variable's own have no closed form.

    Args:
      logits: `[*batch]`.
      temperature: t, a positive scalar.
    """

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant([], tf.int32)

    def _batch_shape(self) -> tf.TensorShape:
        return self.logits.shape

    def _batch_shape_tensor(self) -> tf.Tensor:
        return ps.shape(self.logits)

    def _sample_n(self, n: int | tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        u = _draw_uniform(ps.concat([[n], ps.shape(self.logits)], axis=0), seed, self.dtype)
        noise = tf.math.log(u) - tf.math.log1p(-u)
        return tf.clip_by_value(tf.sigmoid((self.logits + noise) / self.temperature), EDGE, 1.0 - EDGE)

    def _log_prob(self, value: tf.Tensor) -> tf.Tensor:
        # The noisy logits have a logistic distribution, and are t logit(z).
        z = tf.clip_by_value(tf.cast(value, self.dtype), EDGE, 1.0 - EDGE)
        log_z, log_rest = tf.math.log(z), tf.math.log1p(-z)
        distance = self.logits - self.temperature * (log_z - log_rest)
        logistic = tf.math.log_sigmoid(distance) + tf.math.log_sigmoid(-distance)
        inside = tf.math.log(self.temperature) + logistic - log_z - log_rest
        end = self.temperature * math.log(1.0 / EDGE - 1.0)
        at_ends = tf.math.log_sigmoid(tf.where(z > 0.5, self.logits, -self.logits) - end)
        return tf.where((z <= EDGE) | (z >= 1.0 - EDGE), at_ends, inside)

    def _mean(self) -> tf.Tensor:
        return tf.sigmoid(self.logits)

    def _variance(self) -> tf.Tensor:
        return tf.sigmoid(self.logits) * tf.sigmoid(-self.logits)


class RelaxedOneHotCategoricalDistribution(_Concrete):
    """A relaxed one-hot categorical variable: positive numbers, one for each class, whose sum is 1.

    Its density is that of all but one of them. No class is below 1e-30, so a temperature below 0.2 has a wrong density
    where logits are more than 14 apart.

    `mean` and `stddev` are those of the one-hot variable; the relaxed variable's own have no closed form.

    Args:
      logits: `[*batch, num_classes]`.
      temperature: t, a positive scalar.
    """

    def _event_shape(self) -> tf.TensorShape:
        return self.logits.shape[-1:]

    def _event_shape_tensor(self) -> tf.Tensor:
        return ps.shape(self.logits)[-1:]

    def _batch_shape(self) -> tf.TensorShape:
        return self.logits.shape[:-1]

    def _batch_shape_tensor(self) -> tf.Tensor:
        return ps.shape(self.logits)[:-1]

    def _sample_n(self, n: int | tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        u = _draw_uniform(ps.concat([[n], ps.shape(self.logits)], axis=0), seed, self.dtype)
        noisy = self.logits - tf.math.log(-tf.math.log(u))
        return tf.maximum(tf.nn.softmax(noisy / self.temperature), SMALLEST)

    def _log_prob(self, value: tf.Tensor) -> tf.Tensor:
        num_classes, t = self.logits.shape[-1], self.temperature
        log_z = tf.math.log(tf.maximum(tf.cast(value, self.dtype), SMALLEST))
        scores = self.logits - t * log_z
        constant = math.lgamma(num_classes) + (num_classes - 1) * tf.math.log(t)
        sums = tf.reduce_sum(scores - log_z, axis=-1) - num_classes * tf.reduce_logsumexp(scores, axis=-1)
        return constant + sums

    def _mean(self) -> tf.Tensor:
        return tf.nn.softmax(self.logits)

    def _variance(self) -> tf.Tensor:
        probs = tf.nn.softmax(self.logits)
        return probs * (1.0 - probs)


class StraightThrough(tfd.Distribution):
    """A discrete distribution whose samples have the gradient of relaxed ones with the same noise.

    Args:
      discrete: the discrete distribution.
      relaxed: its relaxation.
      harden: function from a relaxed sample to the discrete one with the same noise.
    """

    def __init__(
        self, discrete: tfd.Distribution, relaxed: tfd.Distribution, harden: Callable[[tf.Tensor], tf.Tensor]
    ) -> None:
        parameters = dict(locals())
        self.discrete, self.relaxed, self.harden = discrete, relaxed, harden
        super().__init__(
            dtype=relaxed.dtype,
            reparameterization_type=tfd.FULLY_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=f"StraightThrough{discrete.name}",
        )

    def _event_shape(self) -> tf.TensorShape:
        return self.discrete.event_shape

    def _event_shape_tensor(self) -> tf.Tensor:
        return self.discrete.event_shape_tensor()

    def _batch_shape(self) -> tf.TensorShape:
        return self.discrete.batch_shape

    def _batch_shape_tensor(self) -> tf.Tensor:
        return self.discrete.batch_shape_tensor()

    def _sample_n(self, n: int | tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        soft = self.relaxed.sample(n, seed=seed)
        return self.harden(soft) + (soft - tf.stop_gradient(soft))  # the difference is exactly 0

    def _log_prob(self, value: tf.Tensor) -> tf.Tensor:
        return self.discrete.log_prob(value)

    def _mean(self) -> tf.Tensor:
        return self.discrete.mean()

    def _variance(self) -> tf.Tensor:
        return self.discrete.variance()


def _draw_uniform(shape: tf.Tensor, seed: tf.Tensor | None, dtype: tf.DType) -> tf.Tensor:
    """Draws uniform numbers above 0, whose logarithm is finite."""
    return tf.maximum(random.uniform(shape, seed, dtype), np.finfo(dtype.as_numpy_dtype).epsneg)
