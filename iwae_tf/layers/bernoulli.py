"""Bernoulli layers: the likelihood of binary data."""

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf.layers.base import StochasticLayer, check_range


class Bernoulli(tfd.Bernoulli):
    """`tfd.Bernoulli` over logits whose log density is one fused cross entropy, exact at any logit."""

    def _log_prob(self, event):
        logits = tf.convert_to_tensor(self.logits)
        event = tf.cast(event, logits.dtype)
        logits, event = logits + tf.zeros_like(event), event + tf.zeros_like(logits)
        return -tf.nn.sigmoid_cross_entropy_with_logits(labels=event, logits=logits)


@keras.saving.register_keras_serializable(package="iwae_tf")
class IndependentBernoulli(StochasticLayer):
    """Independent Bernoulli variables: their logits are linear in the features of the network.

    Args:
      event_shape: as in `StochasticLayer`.
      mean: training mean of the data in [0, 1], a number or an array of `event_shape`. The output bias starts at
        its logit, clipped to [.001, .999], as in Burda et al. 2015 (arXiv:1509.00519). `None` starts it at 0.
      **kwargs: the other arguments of `StochasticLayer`.

    Raises:
      ValueError: if `mean` has another shape or leaves [0, 1].
    """

    parameters = ("logits",)

    def __init__(self, event_shape, mean=None, **kwargs):
        super().__init__(event_shape, **kwargs)
        if mean is not None:
            mean = np.asarray(mean, np.float32)
            if mean.shape not in ((), self.event_shape):
                raise ValueError(
                    f"Expected mean to be a number or of shape {self.event_shape}. Received: shape {mean.shape}"
                )
            check_range(mean, "mean")
        self.mean = mean

    def bias_initializer(self, parameter):
        if self.mean is None:
            return super().bias_initializer(parameter)
        mean = np.clip(np.broadcast_to(self.mean, self.event_shape).ravel(), 0.001, 0.999)
        # A function, not an Initializer: the layer's own config holds the mean.
        return lambda shape, dtype=None: tf.constant(np.log(mean) - np.log1p(-mean), dtype, shape)

    def distribution(self, logits):
        return tfd.Independent(Bernoulli(logits=logits, dtype=logits.dtype), len(self.event_shape))

    def check_data(self, x):
        super().check_data(x)
        check_range(x, "data for a Bernoulli likelihood")

    def get_config(self):
        return {**super().get_config(), "mean": None if self.mean is None else self.mean.tolist()}
