"""The objective: log weights in, a bound out."""

from collections.abc import Callable

import keras
import tensorflow as tf


class Objective:
    """Base of the objectives, which know log weights and nothing of layers or models.

    A subclass gives `bound`, and keeps the arguments of its constructor as attributes named in `_arguments`. The
    generative network always follows the gradient of `bound`; so does the inference network, unless one of the
    attributes says otherwise. They are plain data, which `iwae_tf.training.gradients` reads.

    Attributes:
      num_particles: samples drawn per observation.
      kl_weight: multiplies log p(z) - log q(z|x) inside log w.
      analytic_kl: whether the model replaces the top layer's log q - log p by its expectation.
      free_bits: nats that each stochastic layer's KL, averaged over the batch, may take at no cost.
      inference: the objective that the inference network follows, where it is another one.
      path_weights: a function from log weights, `[num_particles, batch]`, and the weight of the KL inside them, to
        factors of the same shape. The bound is then differentiated with the parameters of log q(z|x) held fixed, and
        what arrives at the z of sample i is multiplied by the factor of sample i where scoring hands over to sampling.
      score_weights: a function from log weights to coefficients c of the same shape. The inference network then
        follows sum_i c_i d log q(z_i|x), z_i held fixed, for which q need not be reparameterisable.
      sleep: weight, in [0, 1], of the sleep phase in what the inference network follows: of d log q(z|x) for x and z
        drawn from the generative model.
      choose: a function from log weights and a seed (`int32[2]`) to indices of samples, `[n, batch]`. The mean log w
        of these samples is then differentiated, in the place of the bound of all.
    """

    num_particles: int
    kl_weight = 1.0
    analytic_kl = False
    free_bits = 0.0
    inference: "Objective | None" = None
    path_weights: Callable[..., tf.Tensor] | None = None
    score_weights: Callable[[tf.Tensor], tf.Tensor] | None = None
    sleep = 0.0
    choose: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None
    _arguments: tuple[str, ...] = ()

    def bound(self, log_weights):
        """Computes the reported bound, in nats: `[num_particles, batch]` -> `[batch]`."""
        raise NotImplementedError

    def _values(self):
        return {name: getattr(self, name) for name in self._arguments}

    def get_config(self):
        return {name: keras.saving.serialize_keras_object(value) for name, value in self._values().items()}

    @classmethod
    def from_config(cls, config):
        return cls(**{name: keras.saving.deserialize_keras_object(value) for name, value in config.items()})

    def __eq__(self, other):
        return type(self) is type(other) and self._values() == other._values()

    def __hash__(self):
        return hash((type(self), tuple(self._values().items())))

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self._values().items())})"


serializable = keras.saving.register_keras_serializable(package="iwae_tf")
