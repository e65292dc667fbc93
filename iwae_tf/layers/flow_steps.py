"""The invertible steps of flows, their chain, and the distribution that a chain makes of a base."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.internal import cache_util

from iwae_tf import random

#: Draws of the base from which a flow's moments are estimated; half of them mirror the other half.
NUM_DRAWS = 100


class Flow(tfd.TransformedDistribution):
    """A `tfd.TransformedDistribution` that estimates its moments, and whose batch size may be known only at run time.

    Neither the mean nor the standard deviation of a flow has a closed form. Both are estimated from `NUM_DRAWS` fixed
    draws of the base, so the standard deviation is accurate to about 7 %.

    Args:
      distribution: the base, symmetric about its mean.
      bijector: a `StepChain` or its inverse.
    """

    def __init__(self, distribution: tfd.Distribution, bijector: tfb.Bijector, name: str = "Flow") -> None:
        super().__init__(distribution, bijector, parameters=dict(locals()), name=name)

    def _call_sample_n(self, sample_shape: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        # TFP would broadcast the base again where the batch size is unknown; this base has the whole batch shape.
        # Return the bijector's tensor itself: its cache finds the density by the tensor's identity.
        return self.bijector.forward(self.distribution.sample(sample_shape, seed=seed))

    def _draws(self) -> tf.Tensor:
        half = self.distribution.sample(NUM_DRAWS // 2, seed=random.as_seed(0))
        return self.bijector.forward(tf.concat([half, 2.0 * self.distribution.mean() - half], axis=0))

    def _mean(self) -> tf.Tensor:
        return tf.reduce_mean(self._draws(), axis=0)

    def _stddev(self) -> tf.Tensor:
        return tf.math.reduce_std(self._draws(), axis=0)


class Step(Protocol):
    """A step of a flow: a map of `[..., d]` to `[..., d]`, with its log-determinant `[...]` in nats."""

    def forward(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns y and the log-determinant of the step."""

    def inverse(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns z and the log-determinant of the inverse."""


class StepChain(tfb.Bijector):
    """A chain of steps over `[..., *event]`; each step works on `[..., d]`, where d is the size of the event.

    A step computes its log-determinant along with its values, and TFP's cache keeps both: the density of a sample needs
    no second evaluation and no inverse.

    Args:
      steps: the steps, in the order of the forward direction.
      event_ndims: number of axes of `event`.
    """

    _cache = cache_util.BijectorCacheWithGreedyAttrs("_forward_with_log_det", "_inverse_with_log_det")

    def __init__(self, steps: Iterable[Step], event_ndims: int, name: str = "step_chain") -> None:
        self.steps = tuple(steps)
        super().__init__(forward_min_event_ndims=event_ndims, name=name)

    @classmethod
    def _parameter_properties(cls, dtype: tf.DType | None) -> dict[str, Any]:
        return {}  # no batch shape but the base's

    def _forward_with_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        y, log_det = self._run([step.forward for step in self.steps], x)
        return y, {"ildj": -log_det}

    def _inverse_with_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        x, log_det = self._run([step.inverse for step in reversed(self.steps)], y)
        return x, {"ildj": log_det}

    def _run(
        self, functions: Sequence[Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]], values: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        event = values.shape[values.shape.rank - self.forward_min_event_ndims :]
        flat = tf.reshape(values, tf.concat([tf.shape(values)[: -len(event)], [math.prod(event)]], 0))
        total = 0.0
        for function in functions:
            flat, log_det = function(flat)
            total += log_det
        return tf.reshape(flat, tf.concat([tf.shape(flat)[:-1], event], 0)), total

    def _inverse_log_det_jacobian(self, y: tf.Tensor) -> tf.Tensor:
        self.inverse(y)  # the cache keeps its log-determinant
        return self._cache.inverse_attributes(y)["ildj"]


def bound_scale(log_scale: tf.Tensor, shift: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns both arguments, with the scale of the step bounded to lie between exp(-3) and exp(3)."""
    return 3.0 * tf.tanh(log_scale / 3.0), shift


@dataclasses.dataclass(frozen=True)
class AffineStep:
    """y = z exp(log_scale) + shift, where both depend only on variables of earlier groups.

    The inverse computes the variables group by group and evaluates the network once for each group: twice for a
    coupling layer, d times for an autoregressive network.

    Args:
      affine: function from z `[..., d]` to `log_scale` and `shift`, `[..., d]`.
      num_groups: number of groups, as in `MADE`.
    """

    affine: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
    num_groups: int

    def forward(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        log_scale, shift = self.affine(z)
        return z * tf.exp(log_scale) + shift, tf.reduce_sum(log_scale, axis=-1)

    def inverse(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        def refine(z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
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
    """Base of the steps that offer no inverse."""

    def inverse(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        raise NotImplementedError(
            "Expected a z that this flow drew, whose density it knows. Received: another z, and the flow has no cheap "
            "inverse"
        )


class OneWayAffineStep(OneWayStep, AffineStep):
    """An `AffineStep` in the direction of sampling, whose inverse would take d evaluations one after the other."""


class PlanarStep(OneWayStep):
    """y = z + u^ tanh(w.z + b), with u^ = u + (m(w.u) - w.u) w / |w|^2 and m > -1, which makes it invertible.

    m(a) = softplus(a + log(e - 1)) - 1 differs from Rezende & Mohamed's m by the constant: it gives m(0) = 0, so the
    step is the identity where u = 0.

    Args:
      u: `[*leading, d]`.
      w: `[*leading, d]`.
      b: `[*leading]`.
    """

    def __init__(self, u: tf.Tensor, w: tf.Tensor, b: tf.Tensor) -> None:
        product = tf.reduce_sum(w * u, axis=-1, keepdims=True)
        gain = tf.math.softplus(product + math.log(math.e - 1.0))  # 1 + w.u^
        self.w, self.b, self.gain = w, b, gain[..., 0]
        squared = tf.reduce_sum(w * w, axis=-1, keepdims=True)
        self.u = u + tf.math.divide_no_nan((gain - 1.0 - product) * w, squared)

    def forward(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        bend = tf.tanh(tf.reduce_sum(self.w * z, axis=-1) + self.b)
        squared = bend * bend
        # 1 + (1 - bend^2) w.u^, without the difference, which could round to 0.
        log_det = tf.math.log(squared + (1.0 - squared) * self.gain)
        return z + self.u * bend[..., tf.newaxis], log_det
