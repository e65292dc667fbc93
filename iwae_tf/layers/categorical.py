"""The categorical layer: the likelihood of codes."""

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf import random
from iwae_tf.checks import check_count
from iwae_tf.layers import rules
from iwae_tf.layers.base import StochasticLayer


def draw_classes(logits, n, seed):
    """Draws n classes `[n, *batch]` (int32) in proportion to exp(logits), `[*batch, num_classes]`."""
    axes = range(logits.shape.rank)
    return random.categorical(tf.transpose(logits, [axes[-1], *axes[:-1]]), seed, n)


class CategoricalDistribution(tfd.Categorical):
    """`tfd.Categorical` over logits whose draws are the same compiled and not, and whose mean is the mode."""

    def _sample_n(self, n, seed=None):
        return tf.cast(draw_classes(tf.convert_to_tensor(self.logits), n, seed), self.dtype)

    def _mean(self):
        return self.mode()


@keras.saving.register_keras_serializable(package="iwae_tf")
class Categorical(StochasticLayer):
    """Independent categorical variables: the logits of their classes are linear in the features of the network.

    The data are codes 0, ..., num_classes - 1, integers or floats. A class has no mean: what the distribution gives as
    such, and so reconstructions and samples of the model, is the most probable code.
    Emits a `tfd.Independent(Categorical)` of event shape `event_shape`.

    Args:
      event_shape: as in `StochasticLayer`.
      num_classes: number of classes, the same for each entry of the event.
      *args: the next arguments of `StochasticLayer`.
      **kwargs: its other arguments.

    Raises:
      ValueError: if `num_classes` is no integer of at least 2.
    """

    parameters = ("logits",)

    def __init__(self, event_shape, num_classes, *args, **kwargs):
        super().__init__(event_shape, *args, **kwargs)
        self.num_classes = check_count(num_classes, "num_classes", minimum=2)

    def parameter_shape(self, parameter):
        return (*self.event_shape, self.num_classes)

    def distribution(self, logits):
        return tfd.Independent(CategoricalDistribution(logits=logits, dtype=logits.dtype), len(self.event_shape))

    def rules(self, x):
        yield rules.whole(x, "codes for the Categorical likelihood")
        yield rules.between(x, "codes for the Categorical likelihood", 0, self.num_classes - 1)

    def get_config(self):
        return {**super().get_config(), "num_classes": self.num_classes}
