"""Flows: distributions that come of a chain of invertible steps, each of which gives its log-determinant along."""

import dataclasses
import math
from collections.abc import Callable

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.internal import cache_util

from iwae_tf import random

#: Base draws, half of them the mirror images of the others, from which a flow's mean and deviation are estimated.
NUM_DRAWS = 100


class Flow(tfd.TransformedDistribution):
    """A `tfd.TransformedDistribution` that knows its batch shape at run time only, and estimates its moments.

    Neither the mean nor the standard deviation of a flow has a closed form. They are estimated from `NUM_DRAWS` fixed
    draws of the base, a symmetric distribution; so the deviation is good to some 7 %.

    Args:
      distribution: the base, symmetric about its mean.
      bijector: a `StepChain` or its inverse.
    """

    def __init__(self, distribution, bijector, name="Flow"):
        super().__init__(distribution, bijector, parameters=dict(locals()), name=name)

    def _call_sample_n(self, sample_shape, seed):
        # TFP's own broadcasts the base anew where the batch size is not known; this base has the whole batch shape.
        # What the bijector returns must not be touched: by its identity the density is found.
        return self.bijector.forward(self.distribution.sample(sample_shape, seed=seed))

    def _draws(self):
        half = self.distribution.sample(NUM_DRAWS // 2, seed=random.as_seed(0))
        return self.bijector.forward(tf.concat([half, 2.0 * self.distribution.mean() - half], axis=0))

    def _mean(self):
        return tf.reduce_mean(self._draws(), axis=0)

    def _stddev(self):
        return tf.math.reduce_std(self._draws(), axis=0)


class StepChain(tfb.Bijector):
    """A chain of steps over `[..., *event]`, each over `[..., d]` with d the size of the event.

    TFP's cache keeps the log-determinant, which a step gives together with its values, beside what it returns: the
    density of a sample takes no second evaluation, and no inverse.

    Args:
      steps: sequence of objects with `forward`, and `inverse` if they have one: functions from `[..., d]` to the
        values `[..., d]` and the log-determinant `[...]` of that direction, in nats.
      event_ndims: number of axes of `event`.
    """

    _cache = cache_util.BijectorCacheWithGreedyAttrs("_forward_with_log_det", "_inverse_with_log_det")

    def __init__(self, steps, event_ndims, name="step_chain"):
        self.steps = tuple(steps)
        super().__init__(forward_min_event_ndims=event_ndims, name=name)

    @classmethod
    def _parameter_properties(cls, dtype):
        return {}  # no batch shape but that of the base

    def _forward_with_log_det(self, x):
        y, log_det = self._run([step.forward for step in self.steps], x)
        return y, {"ildj": -log_det}

    def _inverse_with_log_det(self, y):
        x, log_det = self._run([step.inverse for step in reversed(self.steps)], y)
        return x, {"ildj": log_det}

    def _run(self, functions, values):
        event = values.shape[values.shape.rank - self.forward_min_event_ndims :]
        flat = tf.reshape(values, tf.concat([tf.shape(values)[: -len(event)], [math.prod(event)]], 0))
        total = 0.0
        for function in functions:
            flat, log_det = function(flat)
            total += log_det
        return tf.reshape(flat, tf.concat([tf.shape(flat)[:-1], event], 0)), total

    def _inverse_log_det_jacobian(self, y):
        self.inverse(y)  # which keeps it
        return self._cache.inverse_attributes(y)["ildj"]


@dataclasses.dataclass(frozen=True)
class AffineStep:
    """y = z exp(log_scale) + shift, where both for a variable depend on variables of earlier groups alone.

    The inverse finds the variables group by group, the network evaluated anew for each: two evaluations for a coupling
    layer, d for an autoregressive network.

    Args:
      affine: function from z `[..., d]` to `log_scale` and `shift`, `[..., d]`.
      num_groups: the groups, as in `MADE`.
    """

    affine: Callable
    num_groups: int

    def forward(self, z):
        log_scale, shift = self.affine(z)
        return z * tf.exp(log_scale) + shift, tf.reduce_sum(log_scale, axis=-1)

    def inverse(self, y):
        def refine(z):
            log_scale, shift = self.affine(z)
            return (y - shift) * tf.exp(-log_scale), log_scale

        z = y  # After i rounds the first i groups are right, whatever the start.
        if self.num_groups == 2:
            z, _ = refine(z)
        elif self.num_groups > 2:
            [z] = tf.while_loop(lambda z: True, lambda z: [refine(z)[0]], [z], maximum_iterations=self.num_groups - 1)
        z, log_scale = refine(z)
        return z, -tf.reduce_sum(log_scale, axis=-1)


class OneWayStep:
    """A step, or part of one, whose inverse is not offered."""

    def inverse(self, y):
        raise NotImplementedError(
            "Expected a z that this flow drew, whose density it knows. Received: another, and it has no cheap inverse"
        )


class OneWayAffineStep(OneWayStep, AffineStep):
    """An `AffineStep` in the direction of sampling, which to invert would take d evaluations one after the other."""


class PlanarStep(OneWayStep):
    """y = z + u^ tanh(w.z + b), with u^ = u + (m(w.u) - w.u) w / |w|^2 and m > -1, which makes it invertible.

    m(a) = softplus(a + log(e - 1)) - 1 differs from that of Rezende & Mohamed by the constant: with it m(0) = 0, and
    the step is the identity where u = 0.

    Args:
      u, w: `[*leading, d]`.
      b: `[*leading]`.
    """

    def __init__(self, u, w, b):
        product = tf.reduce_sum(w * u, axis=-1, keepdims=True)
        gain = tf.math.softplus(product + math.log(math.e - 1.0))  # 1 + w.u^
        self.w, self.b, self.gain = w, b, gain[..., 0]
        squared = tf.reduce_sum(w * w, axis=-1, keepdims=True)
        self.u = u + tf.math.divide_no_nan((gain - 1.0 - product) * w, squared)

    def forward(self, z):
        bend = tf.tanh(tf.reduce_sum(self.w * z, axis=-1) + self.b)
        squared = bend * bend
        # 1 + (1 - bend^2) w.u^, without the difference, which could round to 0.
        log_det = tf.math.log(squared + (1.0 - squared) * self.gain)
        return z + self.u * bend[..., tf.newaxis], log_det
