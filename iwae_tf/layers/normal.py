"""The diagonal Gaussian layer."""

import math
from typing import Any, Literal

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.internal import prefer_static as ps

from iwae_tf import random
from iwae_tf.checks import check_choice
from iwae_tf.layers.observation import ObservationLayer
from iwae_tf.types import Sizes


class Normal(tfd.Normal):
    """`tfd.Normal` with a more precise density, and with a generator that is fast under XLA on every device."""

    def _log_prob(self, value: tf.Tensor) -> tf.Tensor:
        # Subtract before dividing: TFP's x / scale - loc / scale loses digits where loc is large.
        loc, scale = tf.convert_to_tensor(self.loc), tf.convert_to_tensor(self.scale)
        return -0.5 * tf.square((value - loc) / scale) - (0.5 * math.log(2.0 * math.pi) + tf.math.log(scale))

    def _sample_n(self, n: int | tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        loc, scale = tf.convert_to_tensor(self.loc), tf.convert_to_tensor(self.scale)
        shape = ps.concat([[n], self._batch_shape_tensor(loc=loc, scale=scale)], axis=0)
        return loc + scale * random.normal(shape, seed, self.dtype)


def as_normal(q: tfd.Distribution) -> tfd.Normal:
    """Returns the `tfd.Normal` of a diagonal Gaussian.

    Raises:
      NotImplementedError: if q is another distribution.
    """
    if isinstance(q, tfd.Independent):
        return as_normal(q.distribution)
    if not isinstance(q, tfd.Normal):
        raise NotImplementedError(f"Expected a diagonal Gaussian. Received: {type(q).__name__}")
    return q


#: The scale as a function of the parameter `log_scale`.
SCALES = {"exp": tf.exp, "softplus": tf.nn.softplus, "shared": tf.exp}


@keras.saving.register_keras_serializable(package="iwae_tf")
class IndependentNormal(ObservationLayer):
    """A Gaussian with diagonal covariance: its loc is linear in the features of the network.

    By default the scale is exp of a second linear head, as in Burda, Grosse & Salakhutdinov 2015 (arXiv:1509.00519).
    Returns a `tfd.Independent(tfd.Normal)` of event shape `event_shape`.

    As a likelihood with a learned scale it has no upper bound where the data lie on fewer dimensions than they have;
    give `min_scale` there.

    Args:
      event_shape: as in `ObservationLayer`.
      *args: the next arguments of `StochasticLayer`.
      scale: `"exp"` or `"softplus"` of the head; or `"shared"`, which learns one scale for each entry of the event,
        the same for all inputs.
      min_scale: lower bound of the scale, in units of the event; it is added to the scale.
      **kwargs: the other arguments of `ObservationLayer`.

    Raises:
      ValueError: if `scale` is not one of these, or `min_scale` is negative.

    Example:
      ```python
      q = layers.IndependentNormal(2, hidden=(16,))(tf.zeros([5, 8]))
      z = q.sample(3)  # [3, 5, 2]
      q.log_prob(z)  # [3, 5], nats
      ```
    """

    parameters: tuple[str, ...] = ("loc", "log_scale")

    def __init__(
        self,
        event_shape: Sizes,
        *args: Any,
        scale: Literal["exp", "softplus", "shared"] = "exp",
        min_scale: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape, *args, **kwargs)
        if not 0 <= min_scale < math.inf:
            raise ValueError(f"Expected min_scale to be a finite number of 0 or more. Received: {min_scale!r}")
        self.scale, self.min_scale = check_choice(scale, "scale", SCALES), float(min_scale)
        if scale == "shared":
            self.parameters = tuple(name for name in self.parameters if name != "log_scale")
            self.shared = ("log_scale",)

    def distribution(self, loc: tf.Tensor, log_scale: tf.Tensor) -> tfd.Distribution:
        scale = SCALES[self.scale](log_scale)
        return tfd.Independent(Normal(loc, scale + self.min_scale if self.min_scale else scale), len(self.event_shape))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale, "min_scale": self.min_scale}
