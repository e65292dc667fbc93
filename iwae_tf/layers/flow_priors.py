"""A prior that a chain of invertible steps makes of a Gaussian."""

import math
from typing import Any, Literal

import keras
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from iwae_tf.checks import as_sizes, check_choice, check_count
from iwae_tf.layers.flow_steps import AffineStep, Flow, StepChain, bound_scale
from iwae_tf.layers.masked import MADE, build_networks
from iwae_tf.layers.normal import Normal
from iwae_tf.types import Activation, Sizes


@keras.saving.register_keras_serializable(package="iwae_tf")
class AutoregressiveFlow(keras.layers.Layer):
    """A trainable prior: a chain of masked steps between z and a standard normal variable.

    Called without an input, it returns a distribution without batch axes, which starts as N(0, I). The density of any z
    takes one evaluation of each step's network. `kind="maf"` conditions each variable on all variables before it, and
    draws them one after the other. `kind="realnvp"` conditions one half of the variables on the other half, which is
    cheaper and draws in two evaluations per step. The scale of a step is bounded as in `RealNVP`. The mean and the
    standard deviation have no closed form; they are estimated from 100 draws.

    Not to be confused with `InverseAutoregressiveFlow`, the posterior whose samples, rather than densities, are cheap.

    Args:
      event_shape: shape of one latent variable, an integer or a sequence of integers.
      num_steps: steps in the chain; the order of the variables is reversed from step to step.
      hidden: widths of the hidden layers of the masked network of each step.
      kind: `"maf"` or `"realnvp"`.
      activation: activation of the hidden layers.
      seed: integer seed of the initial weights. `None` takes a seed from the model.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if a size is not a positive integer, or `kind` is not one of the two.

    References:
      Papamakarios, Pavlakou & Murray 2017, Masked Autoregressive Flow for Density Estimation, arXiv:1705.07057.
      Chen et al. 2017, Variational Lossy Autoencoder, arXiv:1611.02731, section 3.2: such a prior for a VAE.

    Example:
      ```python
      prior = layers.AutoregressiveFlow(2, num_steps=2, hidden=(8,))
      p = prior()
      p.log_prob(tf.zeros([3, 2]))  # [3], nats
      ```
    """

    def __init__(
        self,
        event_shape: Sizes,
        num_steps: int = 4,
        hidden: Sizes = (100,),
        kind: Literal["maf", "realnvp"] = "maf",
        activation: Activation = "tanh",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.event_shape = as_sizes(event_shape)
        self.num_steps = check_count(num_steps, "num_steps")
        self.hidden = as_sizes(hidden, "hidden")
        self.kind = check_choice(kind, "kind", ("maf", "realnvp"))
        self.activation = keras.activations.get(activation)
        self.seed = seed
        size = math.prod(self.event_shape)
        self._num_groups = size if kind == "maf" else min(2, size)

    def build(self, input_shape: tuple[int | None, ...] | None = None) -> None:
        self.networks = build_networks(self, self.hidden, self._num_groups)

    def call(self, inputs: None = None) -> Flow:
        def make_step(network: MADE) -> AffineStep:
            evaluate = network.bind()
            return AffineStep(lambda z: bound_scale(*evaluate(z)), self._num_groups)

        ndims = len(self.event_shape)
        loc = tf.zeros(self.event_shape, self.dtype_policy.variable_dtype)
        base = tfd.Independent(Normal(loc, tf.ones_like(loc)), ndims)
        # The steps run from z to the base, so that densities take the direction in which they are fast.
        return Flow(base, tfb.Invert(StepChain(map(make_step, self.networks), ndims)))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "event_shape": self.event_shape,
            "num_steps": self.num_steps,
            "hidden": self.hidden,
            "kind": self.kind,
            "activation": keras.activations.serialize(self.activation),
            "seed": self.seed,
        }
