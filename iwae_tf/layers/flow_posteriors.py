"""Posteriors that a chain of invertible steps makes of a Gaussian."""

import math
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from iwae_tf.checks import as_sizes, check_count
from iwae_tf.layers.flow_steps import AffineStep, Flow, OneWayAffineStep, PlanarStep, Step, StepChain, bound_scale
from iwae_tf.layers.masked import MADE, build_networks
from iwae_tf.layers.normal import IndependentNormal
from iwae_tf.types import Sizes


class FlowPosterior(IndependentNormal):
    """Base of the posteriors that send a diagonal Gaussian through a chain of `num_steps` steps.

    The loc and the log scale of the Gaussian are heads of the encoder's network, and so are the parameters of the
    steps. The steps start as the identity: the posterior starts as an `IndependentNormal` of the same seed.

    One pass computes a sample and its log density, if `log_prob` receives the very tensor that `sample` has returned.
    The mean and the standard deviation are estimated, see `flow_steps.Flow`; the KL has no closed form either.

    A subclass gives `make_steps`, and adds the parameters of the steps to `parameters`.
    """

    def __init__(self, event_shape: Sizes, num_steps: int, **kwargs: Any) -> None:
        super().__init__(event_shape, **kwargs)
        self.num_steps = check_count(num_steps, "num_steps")

    def make_steps(self, *args: Any, **parameters: Any) -> Iterable[Step]:
        """Returns the steps, given the values of all heads except the Gaussian's."""
        raise NotImplementedError

    def distribution(self, loc: tf.Tensor, log_scale: tf.Tensor, **parameters: tf.Tensor) -> Flow:
        base = super().distribution(loc, log_scale)
        return Flow(base, StepChain(self.make_steps(**parameters), len(self.event_shape)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_steps": self.num_steps}


class AffineFlowPosterior(FlowPosterior):
    """Base of the posteriors whose steps scale and shift the variables, by a masked network that reads a context."""

    parameters = ("loc", "log_scale", "context")
    num_groups: int | None = None
    step: type[AffineStep] = AffineStep

    def __init__(
        self,
        event_shape: Sizes,
        num_steps: int = 4,
        step_hidden: Sizes = (100,),
        context_size: int = 50,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape, num_steps, **kwargs)
        self.step_hidden = as_sizes(step_hidden, "step_hidden")
        self.context_size = check_count(context_size, "context_size")

    def parameter_shape(self, parameter: str) -> tuple[int, ...]:
        return (self.context_size,) if parameter == "context" else super().parameter_shape(parameter)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        self.networks = build_networks(self, self.step_hidden, self.num_groups, self.context_size)

    def affine(self, scale: tf.Tensor, shift: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes `log_scale` and `shift` of a step from the two outputs of its network."""
        return bound_scale(scale, shift)

    def make_steps(self, context: tf.Tensor) -> Iterable[Step]:
        size = math.prod(self.event_shape)
        groups = min(self.num_groups or size, size)

        def make_step(network: MADE) -> AffineStep:
            # Read the weights here: the distribution outlives the call, in which Keras may replace or cast them.
            evaluate = network.bind(context)
            return self.step(lambda z: self.affine(*evaluate(z)), groups)

        return map(make_step, self.networks)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "step_hidden": self.step_hidden, "context_size": self.context_size}


@keras.saving.register_keras_serializable(package="iwae_tf")
class InverseAutoregressiveFlow(AffineFlowPosterior):
    """Inverse autoregressive flow: each step is z <- (s z + (1 - s) m) / s_0 with s = sigmoid(a + forget_bias).

    m and a are outputs of a masked autoregressive network, which reads z and a context vector, a head of the encoder's
    network. The order of the variables is reversed from step to step. The constant s_0 = sigmoid(forget_bias) is not in
    the paper: it makes the steps start as the identity.

    The layer knows the density of its own samples only. Objectives that need the density of any z, such as the doubly
    reparameterised gradient, raise a `ValueError`; use `RealNVP` for them. One pass computes a sample and its log
    density, if `log_prob` receives the very tensor that `sample` has returned. The mean and the standard deviation have
    no closed form; they are estimated from 100 draws.

    Not to be confused with `AutoregressiveFlow`, the prior whose densities, rather than samples, are cheap.

    Args:
      event_shape: shape of one draw, an integer or a sequence of integers.
      num_steps: steps in the chain.
      step_hidden: widths of the hidden layers of the masked network of each step.
      context_size: size of the context vector.
      forget_bias: bias of the gate; the larger, the less a step changes z early in training.
      **kwargs: `hidden`, `activation` and the other arguments of `StochasticLayer`; the masked networks share the
        activation.

    Raises:
      ValueError: if a size is not a positive integer, or `forget_bias` is not finite.

    References:
      Kingma, Salimans, Jozefowicz, Chen, Sutskever & Welling 2016, Improving Variational Inference with Inverse
      Autoregressive Flow, arXiv:1606.04934.

    Example:
      ```python
      q = layers.InverseAutoregressiveFlow(2, num_steps=2, hidden=(16,), step_hidden=(8,))(tf.zeros([5, 8]))
      z = q.sample(3)  # [3, 5, 2]
      q.log_prob(z)  # [3, 5], nats
      ```
    """

    step = OneWayAffineStep

    def __init__(
        self,
        event_shape: Sizes,
        num_steps: int = 4,
        step_hidden: Sizes = (100,),
        context_size: int = 50,
        forget_bias: float = 2.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape, num_steps, step_hidden, context_size, **kwargs)
        if not np.isfinite(forget_bias):
            raise ValueError(f"Expected a finite forget_bias. Received: {forget_bias!r}")
        self.forget_bias = float(forget_bias)

    def affine(self, scale: tf.Tensor, shift: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        start = tf.math.log_sigmoid(tf.constant(self.forget_bias, scale.dtype))
        gate = scale + self.forget_bias
        return tf.math.log_sigmoid(gate) - start, tf.sigmoid(-gate) * shift * tf.exp(-start)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "forget_bias": self.forget_bias}


@keras.saving.register_keras_serializable(package="iwae_tf")
class RealNVP(AffineFlowPosterior):
    """A flow of affine coupling layers: one half of the variables scales and shifts the other, in turn.

    The network of a step also reads a context vector, a head of the encoder's network; the first half is scaled and
    shifted by the context alone. A scale stays between exp(-3) and exp(3). The inverse takes two evaluations per step,
    so the layer knows the density of any z: use it where an objective needs that. The mean and the standard deviation
    have no closed form; they are estimated from 100 draws.

    Args:
      event_shape: shape of one draw, an integer or a sequence of integers.
      num_steps: steps in the chain.
      step_hidden: widths of the hidden layers of the network of each step.
      context_size: size of the context vector.
      **kwargs: `hidden`, `activation` and the other arguments of `StochasticLayer`; the networks of the steps share the
        activation.

    Raises:
      ValueError: if a size is not a positive integer.

    References:
      Dinh, Sohl-Dickstein & Bengio 2017, Density Estimation Using Real NVP, arXiv:1605.08803.

    Example:
      ```python
      q = layers.RealNVP(2, num_steps=2, hidden=(16,), step_hidden=(8,))(tf.zeros([5, 8]))
      q.log_prob(tf.ones([5, 2]))  # [5], nats: the density of any z
      ```
    """

    num_groups = 2


@keras.saving.register_keras_serializable(package="iwae_tf")
class PlanarFlow(FlowPosterior):
    """A planar flow: each step is z <- z + u tanh(w.z + b), where the encoder's network gives u, w and b.

    u is corrected so that a step is invertible. The layer knows the density of its own samples only, as
    `InverseAutoregressiveFlow` does. A step bends z along one direction, so more than a few dimensions need many steps.

    Args:
      event_shape: shape of one draw, an integer or a sequence of integers.
      num_steps: steps in the chain.
      **kwargs: `hidden`, `activation` and the other arguments of `StochasticLayer`.

    Raises:
      ValueError: if a size is not a positive integer.

    References:
      Rezende & Mohamed 2015, Variational Inference with Normalizing Flows, arXiv:1505.05770, and its appendix A.1.

    Example:
      ```python
      q = layers.PlanarFlow(2, num_steps=3, hidden=(16,))(tf.zeros([5, 8]))
      z = q.sample(3)  # [3, 5, 2]
      q.log_prob(z)  # [3, 5], nats
      ```
    """

    parameters = ("loc", "log_scale", "u", "w", "b")

    def __init__(self, event_shape: Sizes, num_steps: int = 10, **kwargs: Any) -> None:
        super().__init__(event_shape, num_steps, **kwargs)

    def parameter_shape(self, parameter: str) -> tuple[int, ...]:
        sizes = {"u": (math.prod(self.event_shape),), "w": (math.prod(self.event_shape),), "b": ()}
        return (self.num_steps, *sizes[parameter]) if parameter in sizes else super().parameter_shape(parameter)

    def kernel_initializer(self, parameter: str, seed: int | None) -> str | keras.initializers.Initializer:
        return "zeros" if parameter == "u" else super().kernel_initializer(parameter, seed)

    def make_steps(self, u: tf.Tensor, w: tf.Tensor, b: tf.Tensor) -> Iterable[Step]:
        return map(PlanarStep, tf.unstack(u, axis=-2), tf.unstack(w, axis=-2), tf.unstack(b, axis=-1))
