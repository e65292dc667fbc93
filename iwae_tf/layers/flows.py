"""Flow layers: posteriors and priors that a chain of invertible steps makes of a Gaussian."""

import math

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from iwae_tf import random
from iwae_tf.checks import as_sizes, check_choice, check_count
from iwae_tf.layers.bijectors import AffineStep, Flow, OneWayAffineStep, PlanarStep, StepChain
from iwae_tf.layers.masked import MADE
from iwae_tf.layers.normal import IndependentNormal, Normal


def build_networks(layer, hidden, num_groups, context_size=None):
    """Builds the masked networks of a chain of affine steps, every other one with the variables in reversed order.

    Args:
      layer: a layer with `num_steps`, `event_shape`, `activation`, `seed` and `dtype_policy`, which is to own them.
      hidden: widths of their hidden layers.
      num_groups: as in `MADE`.
      context_size: size of their context, if they have one.

    Returns:
      A list of `MADE`.
    """
    networks = []
    for i in range(layer.num_steps):
        # Away from the seeds of the heads, which are counted from 0.
        seed = random.derive(layer.seed, 1000 + i)
        options = {"activation": layer.activation, "seed": seed, "dtype": layer.dtype_policy}
        networks.append(MADE(2, hidden, num_groups=num_groups, reverse=i % 2 == 1, **options))
        networks[-1].build((None, math.prod(layer.event_shape)), context_size and (None, context_size))
    return networks


def bounded_affine(log_scale, shift):
    """Keeps the scale of one step between exp(-3) and exp(3)."""
    return 3.0 * tf.tanh(log_scale / 3.0), shift


class FlowPosterior(IndependentNormal):
    """Base of the posteriors that send a diagonal Gaussian through a chain of `num_steps` steps.

    The Gaussian's loc and log scale are heads of the encoder's network, and so is what the steps take of it. The steps
    start as the identity: at first the posterior is that of an `IndependentNormal` of the same seed.

    A sample and its log density come of one pass: ask `log_prob` for the very tensor that `sample` has returned. For
    `mean` and `stddev`, which have no closed form, see `bijectors.Flow`; there is no closed form of the KL either.

    A subclass gives `steps`, and names what they take in `parameters`.
    """

    def __init__(self, event_shape, num_steps, **kwargs):
        super().__init__(event_shape, **kwargs)
        self.num_steps = check_count(num_steps, "num_steps")

    def steps(self, *args, **parameters):
        """Returns the steps, see `StepChain`, given what the heads but those of the Gaussian hold."""
        raise NotImplementedError

    def distribution(self, loc, log_scale, **parameters):
        base = super().distribution(loc, log_scale)
        return Flow(base, StepChain(self.steps(**parameters), len(self.event_shape)))

    def get_config(self):
        return {**super().get_config(), "num_steps": self.num_steps}


class AffineFlowPosterior(FlowPosterior):
    """Base of the posteriors whose steps scale and shift a variable by a masked network's word, given a context."""

    parameters = ("loc", "log_scale", "context")
    num_groups: int | None = None
    step = AffineStep

    def __init__(self, event_shape, num_steps=4, step_hidden=(100,), context_size=50, **kwargs):
        super().__init__(event_shape, num_steps, **kwargs)
        self.step_hidden = as_sizes(step_hidden, "step_hidden")
        self.context_size = check_count(context_size, "context_size")

    def parameter_shape(self, parameter):
        return (self.context_size,) if parameter == "context" else super().parameter_shape(parameter)

    def build(self, input_shape):
        super().build(input_shape)
        self.networks = build_networks(self, self.step_hidden, self.num_groups, self.context_size)

    def affine(self, scale, shift):
        """Makes `log_scale` and `shift` of a step of the two outputs of its network."""
        return bounded_affine(scale, shift)

    def steps(self, context):
        size = math.prod(self.event_shape)
        groups = min(self.num_groups or size, size)

        def make(network):
            # The weights are read here: the distribution outlives the call, in which Keras may hold or cast them.
            evaluate = network.bind(context)
            return self.step(lambda z: self.affine(*evaluate(z)), groups)

        return map(make, self.networks)

    def get_config(self):
        return {**super().get_config(), "step_hidden": self.step_hidden, "context_size": self.context_size}


@keras.saving.register_keras_serializable(package="iwae_tf")
class InverseAutoregressiveFlow(AffineFlowPosterior):
    """Inverse autoregressive flow: each step is z <- (s z + (1 - s) m) / s_0 with s = sigmoid(a + forget_bias).

    m and a are outputs of a masked autoregressive network of z and of a context vector, which is a head of the
    encoder's network; the order of the variables is reversed from step to step. The constant
    s_0 = sigmoid(forget_bias) is not in the paper: with it the steps start as the identity.

    It gives the density of its own samples only: objectives that ask for that of any z, such as the doubly
    reparameterised gradient, raise a `ValueError`; `RealNVP` gives both. See also `FlowPosterior`.

    Args:
      event_shape: shape of one draw, an integer or a sequence of integers, of size d.
      num_steps: steps in the chain.
      step_hidden: widths of the hidden layers of the masked network of each step.
      context_size: size of the context vector.
      forget_bias: bias of the gate; the larger, the less a step changes z early in training.
      **kwargs: `hidden`, `activation` and the other arguments of `StochasticLayer`; the masked networks share the
        activation.

    Raises:
      ValueError: if a size is no positive integer, or `forget_bias` not finite.

    References:
      Kingma, Salimans, Jozefowicz, Chen, Sutskever & Welling 2016, Improving Variational Inference with Inverse
      Autoregressive Flow, arXiv:1606.04934.
    """

    step = OneWayAffineStep

    def __init__(self, event_shape, num_steps=4, step_hidden=(100,), context_size=50, forget_bias=2.0, **kwargs):
        super().__init__(event_shape, num_steps, step_hidden, context_size, **kwargs)
        if not np.isfinite(forget_bias):
            raise ValueError(f"Expected a finite forget_bias. Received: {forget_bias!r}")
        self.forget_bias = float(forget_bias)

    def affine(self, scale, shift):
        start = tf.math.log_sigmoid(tf.constant(self.forget_bias, scale.dtype))
        gate = scale + self.forget_bias
        return tf.math.log_sigmoid(gate) - start, tf.sigmoid(-gate) * shift * tf.exp(-start)

    def get_config(self):
        return {**super().get_config(), "forget_bias": self.forget_bias}


@keras.saving.register_keras_serializable(package="iwae_tf")
class RealNVP(AffineFlowPosterior):
    """A flow of affine coupling layers: half of the variables scale and shift the others, and the next step the halves.

    The network of a step also takes a context vector, a head of the encoder's network, by which alone the first half is
    scaled and shifted; a scale stays between exp(-3) and exp(3). It has an inverse, of two evaluations per step, and so
    the density of any z: use it where an objective asks for that. See also `FlowPosterior`.

    Args:
      event_shape: shape of one draw, an integer or a sequence of integers.
      num_steps: steps in the chain.
      step_hidden: widths of the hidden layers of the network of each step.
      context_size: size of the context vector.
      **kwargs: `hidden`, `activation` and the other arguments of `StochasticLayer`; the networks of the steps share the
        activation.

    Raises:
      ValueError: if a size is no positive integer.

    References:
      Dinh, Sohl-Dickstein & Bengio 2017, Density Estimation Using Real NVP, arXiv:1605.08803.
    """

    num_groups = 2


@keras.saving.register_keras_serializable(package="iwae_tf")
class PlanarFlow(FlowPosterior):
    """A planar flow: each step is z <- z + u tanh(w.z + b), where the encoder's network gives u, w and b.

    u is corrected so that a step is invertible. It gives the density of its own samples only, as
    `InverseAutoregressiveFlow`. A step bends z along one direction, so it takes many of them in more than a few
    dimensions. See also `FlowPosterior`.

    Args:
      event_shape: shape of one draw, an integer or a sequence of integers.
      num_steps: steps in the chain.
      **kwargs: `hidden`, `activation` and the other arguments of `StochasticLayer`.

    Raises:
      ValueError: if a size is no positive integer.

    References:
      Rezende & Mohamed 2015, Variational Inference with Normalizing Flows, arXiv:1505.05770, and its appendix A.1.
    """

    parameters = ("loc", "log_scale", "u", "w", "b")

    def __init__(self, event_shape, num_steps=10, **kwargs):
        super().__init__(event_shape, num_steps, **kwargs)

    def parameter_shape(self, parameter):
        sizes = {"u": (math.prod(self.event_shape),), "w": (math.prod(self.event_shape),), "b": ()}
        return (self.num_steps, *sizes[parameter]) if parameter in sizes else super().parameter_shape(parameter)

    def kernel_initializer(self, parameter, seed):
        return "zeros" if parameter == "u" else super().kernel_initializer(parameter, seed)

    def steps(self, u, w, b):
        parts = tf.unstack(u, axis=-2), tf.unstack(w, axis=-2), tf.unstack(b, axis=-1)
        return map(PlanarStep, *parts)


@keras.saving.register_keras_serializable(package="iwae_tf")
class AutoregressiveFlow(keras.layers.Layer):
    """A trainable prior: masked steps between z and a standard normal variable.

    Called without an input, it returns a distribution with no batch axes, which starts as N(0, I). The density of any z
    takes one evaluation of each step's network. `kind="maf"` conditions each variable on all before it, and draws them
    one after the other; `kind="realnvp"` one half on the other, which costs less and draws in two evaluations per step.
    Like that of `RealNVP`, the scale of a step is bounded; for `mean` and `stddev` see `bijectors.Flow`.

    Args:
      event_shape: shape of one latent variable, an integer or a sequence of integers.
      num_steps: steps in the chain; the order of the variables is reversed from step to step.
      hidden: widths of the hidden layers of the masked network of each step.
      kind: `"maf"` or `"realnvp"`.
      activation: activation of the hidden layers.
      seed: integer seed of the initial weights. `None` takes the model's.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if a size is no positive integer, or `kind` none of these.

    References:
      Papamakarios, Pavlakou & Murray 2017, Masked Autoregressive Flow for Density Estimation, arXiv:1705.07057.
      Chen et al. 2017, Variational Lossy Autoencoder, arXiv:1611.02731, section 3.2: such a prior for a VAE.
    """

    def __init__(self, event_shape, num_steps=4, hidden=(100,), kind="maf", activation="tanh", seed=None, **kwargs):
        super().__init__(**kwargs)
        self.event_shape = as_sizes(event_shape)
        self.num_steps = check_count(num_steps, "num_steps")
        self.hidden = as_sizes(hidden, "hidden")
        self.kind = check_choice(kind, "kind", ("maf", "realnvp"))
        self.activation = keras.activations.get(activation)
        self.seed = seed
        size = math.prod(self.event_shape)
        self._num_groups = size if kind == "maf" else min(2, size)

    def build(self, input_shape=None):
        self.networks = build_networks(self, self.hidden, self._num_groups)

    def call(self, inputs=None):
        def make(network):
            evaluate = network.bind()
            return AffineStep(lambda z: bounded_affine(*evaluate(z)), self._num_groups)

        ndims = len(self.event_shape)
        loc = tf.zeros(self.event_shape, self.dtype_policy.variable_dtype)
        base = tfd.Independent(Normal(loc, tf.ones_like(loc)), ndims)
        # The steps run from z to the base, so that the density takes the direction in which they are quick.
        return Flow(base, tfb.Invert(StepChain(map(make, self.networks), ndims)))

    def get_config(self):
        return {
            **super().get_config(),
            "event_shape": self.event_shape,
            "num_steps": self.num_steps,
            "hidden": self.hidden,
            "kind": self.kind,
            "activation": keras.activations.serialize(self.activation),
            "seed": self.seed,
        }
