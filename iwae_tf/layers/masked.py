"""Masked networks: each output depends only on the variables before its own in an order."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from iwae_tf import random
from iwae_tf.checks import as_sizes, check_count
from iwae_tf.types import Activation, Sizes


@keras.saving.register_keras_serializable(package="iwae_tf")
class MADE(keras.layers.Layer):
    """A masked autoregressive network from d variables to `num_outputs` outputs for each of them.

    The variables are put into groups 1, ..., g by their position; the outputs for a variable of group j depend on the
    variables of groups 1, ..., j - 1 alone. With one group per variable the network is autoregressive; with two groups
    it is the network of a coupling layer. A context enters the first layer unmasked. The last layer starts at zero.

    Args:
      num_outputs: outputs for each variable.
      hidden: widths of the hidden layers.
      activation: activation of the hidden layers.
      num_groups: g, of which at most d are used. `None` means d.
      reverse: whether the last variables come first in the order.
      seed: integer seed of the initial weights.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if `num_outputs`, `hidden` or `num_groups` holds anything but positive integers.

    References:
      Germain, Gregor, Murray & Larochelle 2015, MADE: Masked Autoencoder for Distribution Estimation, arXiv:1502.03509.
    """

    def __init__(
        self,
        num_outputs: int,
        hidden: Sizes = (),
        activation: Activation = "tanh",
        num_groups: int | None = None,
        reverse: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_outputs = check_count(num_outputs, "num_outputs")
        self.hidden = as_sizes(hidden, "hidden")
        self.activation = keras.activations.get(activation)
        self.num_groups = None if num_groups is None else check_count(num_groups, "num_groups")
        self.reverse = reverse
        self.seed = seed

    def build(self, inputs_shape: tuple[int | None, int], context_shape: tuple[int | None, int] | None = None) -> None:
        size = inputs_shape[-1]
        groups = min(self.num_groups or size, size)
        # The degree of a unit is the last group that it depends on; the degree of an output is the group before its
        # own. Units of degree 0 depend on the context alone: without a context they are useful only with one group.
        lowest = 0 if context_shape or groups == 1 else 1
        variables = 1 + np.arange(size) * groups // size
        degrees = [variables[::-1] if self.reverse else variables]
        degrees += [np.rint(np.linspace(lowest, groups - 1, width)) for width in self.hidden]
        degrees += [np.tile(degrees[0] - 1, self.num_outputs)]
        self.masks = [before[:, np.newaxis] <= after for before, after in itertools.pairwise(degrees)]

        def weight(name: str, shape: tuple[int, ...], i: int | None = None) -> keras.Variable:
            initializer = "zeros" if i is None else keras.initializers.GlorotUniform(random.derive(self.seed, i))
            return self.add_weight(shape=shape, initializer=initializer, name=name)

        last = len(self.hidden)
        self.kernels = [weight(f"kernel_{i}", mask.shape, i if i < last else None) for i, mask in enumerate(self.masks)]
        self.biases = [weight(f"bias_{i}", mask.shape[1:]) for i, mask in enumerate(self.masks)]
        if context_shape:
            shape = (context_shape[-1], self.masks[0].shape[1])
            self.context_kernel = weight("context_kernel", shape, last if last else None)

    def call(self, inputs: tf.Tensor, context: tf.Tensor | None = None) -> list[tf.Tensor]:
        return self.bind(context)(inputs)

    def bind(self, context: tf.Tensor | None = None) -> Callable[[tf.Tensor], list[tf.Tensor]]:
        """Reads the weights, and adds the context to them, once for any number of evaluations.

        Args:
          context: `[*leading, context_size]`, or `None`.

        Returns:
          A function from variables `[*samples, *leading, d]` to a list of `num_outputs` outputs of the same shape, in
          the precision of the weights.
        """
        low = self.compute_dtype

        def read(variable: keras.Variable) -> tf.Tensor:
            return tf.cast(tf.convert_to_tensor(variable.value), low)

        kernels = [read(kernel) * tf.cast(mask, low) for kernel, mask in zip(self.kernels, self.masks, strict=True)]
        biases = list(map(read, self.biases))
        if context is not None:
            biases[0] += tf.tensordot(tf.cast(context, low), read(self.context_kernel), 1)

        def evaluate(inputs: tf.Tensor) -> list[tf.Tensor]:
            features = tf.cast(inputs, low)
            for kernel, bias in zip(kernels[:-1], biases[:-1], strict=True):
                features = self.activation(tf.tensordot(features, kernel, 1) + bias)
            outputs = tf.tensordot(features, kernels[-1], 1) + biases[-1]
            return tf.split(tf.cast(outputs, self.variable_dtype), self.num_outputs, axis=-1)

        return evaluate

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_outputs": self.num_outputs,
            "hidden": self.hidden,
            "activation": keras.activations.serialize(self.activation),
            "num_groups": self.num_groups,
            "reverse": self.reverse,
            "seed": self.seed,
        }


def build_networks(
    layer: keras.layers.Layer, hidden: Sizes, num_groups: int | None, context_size: int | None = None
) -> list[MADE]:
    """Builds the masked networks of a chain of affine steps; every other one has the variables in reversed order.

    Args:
      layer: the layer that owns the networks, with `num_steps`, `event_shape`, `activation`, `seed` and `dtype_policy`.
      hidden: widths of the hidden layers of each network.
      num_groups: as in `MADE`.
      context_size: size of the context, if there is one.
    """
    networks = []
    for i in range(layer.num_steps):
        # Far from the seeds of the heads, which are counted from 0.
        seed = random.derive(layer.seed, 1000 + i)
        options = {"activation": layer.activation, "seed": seed, "dtype": layer.dtype_policy}
        networks.append(MADE(2, hidden, num_groups=num_groups, reverse=i % 2 == 1, **options))
        networks[-1].build((None, math.prod(layer.event_shape)), (None, context_size) if context_size else None)
    return networks
