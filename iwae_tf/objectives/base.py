"""The objective: log weights in, a bound out."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf


def check_count(value, name):
    """Returns `value` if it is an integer of at least 1, and raises a `ValueError` that names it otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"Expected {name} to be an integer of at least 1. Received: {name}={value!r}")
    return int(value)


class Objective:
    """Base of the objectives, which know log weights and nothing of layers or models.

    A subclass gives `bound`, and keeps the arguments of its constructor as attributes named in `_arguments`.

    Attributes:
      num_particles: samples drawn per observation.
      kl_weight: multiplies log p(z) - log q(z|x) inside log w.
      analytic_kl: whether the model replaces the top layer's log q - log p by its expectation.
      path_weights: `None` asks for the gradient of the bound as it stands. A function from log weights to factors,
        both `[num_particles, batch]`, asks for the bound to be differentiated with the parameters of log q(z|x)
        held fixed, and for what arrives at the z of sample i to be multiplied by the factor of sample i where
        scoring hands over to sampling.
    """

    num_particles: int
    kl_weight = 1.0
    analytic_kl = False
    path_weights: Callable[[tf.Tensor], tf.Tensor] | None = None
    _arguments: tuple[str, ...] = ()

    def bound(self, log_weights):
        """Computes the reported bound, in nats: `[num_particles, batch]` -> `[batch]`."""
        raise NotImplementedError

    def get_config(self):
        return {name: getattr(self, name) for name in self._arguments}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def __eq__(self, other):
        return type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self):
        return hash((type(self), tuple(self.get_config().items())))

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_config().items())})"


serializable = keras.saving.register_keras_serializable(package="iwae_tf")
