"""Metrics of log weights, for `metrics=` of `compile`."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="iwae_tf")
class LogWeightMean(keras.metrics.Mean):
    """The mean over the observations of a function of their log weights.

    `fit` and `evaluate` log it beside `elbo` and the others, from the log weights that a step has anyway, at a weight
    of the KL of 1. Like these, and unlike Keras' own metrics, it respects sample weights.

    Args:
      function: a function from log weights `[k, batch]`, in nats, to values `[batch]`. Keras loads a saved model if
        the function is decorated with `keras.saving.register_keras_serializable`.
      name: the name in the logs. `None` is the name of the function.
      **kwargs: as for `keras.metrics.Mean`.

    Raises:
      TypeError: if `function` cannot be called.

    Example:
      ```python
      @keras.saving.register_keras_serializable(package="my_project")
      def largest_weight(log_weights):
          return tf.reduce_max(tf.nn.softmax(log_weights, axis=0), axis=0)

      model = iwae_tf.mlp(splits.event_shape, (5,), ((20,),), objective=objectives.ImportanceWeighted(5))
      model.compile("adam", metrics=[iwae_tf.metrics.LogWeightMean(largest_weight)])
      model.fit(x / 255, verbose=0).history["largest_weight"]  # between 1/5 and 1
      ```
    """

    def __init__(self, function: Callable[[tf.Tensor], tf.Tensor], name: str | None = None, **kwargs: Any) -> None:
        if not callable(function):
            raise TypeError(f"Expected a function of log weights. Received: {function!r}")
        super().__init__(name=name or function.__name__, **kwargs)
        self.function = function

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "function": keras.saving.serialize_keras_object(self.function)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LogWeightMean":
        return cls(**{**config, "function": keras.saving.deserialize_keras_object(config["function"])})
