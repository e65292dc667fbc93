"""Features of the rows of a table, for a network to read."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

from iwae_tf.layers.columns import KINDS, Column, as_columns, find_kind, serialize_columns, stack_loc_and_scale


@keras.saving.register_keras_serializable(package="iwae_tf")
class TableFeatures(keras.layers.Layer):
    """Maps the rows of a table, with NaN for missing values, to features for a network.

    Real numbers, logarithms of positive values and log(1 + x) of counts are standardised, categories become one-hot,
    and binary values stay. A missing value gives 0 in all of these. One more feature per column is 1 where the value is
    missing, and 0 elsewhere.

    Use it as the `network=` of the first encoder layer, or as the `first=` of `networks.MLP`.

    Args:
      columns: as in `Heterogeneous`.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: as in `Heterogeneous`.

    Example:
      ```python
      features = layers.TableFeatures({"age": "positive", "smoker": "binary"})
      features(tf.constant([[1.0, 1.0], [np.nan, 0.0]]))  # [[0, 1, 0, 0], [0, 0, 1, 0]]
      ```
    """

    def __init__(self, columns: Iterable[Column | Mapping[str, Any]] | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.columns = as_columns(columns)
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        missing = tf.math.is_nan(inputs)
        features = []
        for name, kind in KINDS.items():
            indices = find_kind(self.columns, name)
            columns = [self.columns[i] for i in indices]
            values = tf.gather(inputs, tf.constant(indices, tf.int32), axis=-1)
            if name == "category":
                codes = tf.cast(tf.where(tf.math.is_nan(values), -tf.ones_like(values), values), tf.int32)
                sizes = [len(column.categories) for column in columns]
                features += [tf.one_hot(codes[:, j], size, dtype=inputs.dtype) for j, size in enumerate(sizes)]
            else:
                if kind.transform is not None:
                    loc, scale = stack_loc_and_scale(columns, inputs.dtype)
                    values = (kind.transform(values) - loc) / scale
                features.append(tf.where(tf.math.is_nan(values), tf.zeros_like(values), values))
        return tf.concat([*features, tf.cast(missing, inputs.dtype)], axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        widths = [len(column.categories) or 1 for column in self.columns]
        return (*input_shape[:-1], sum(widths) + len(widths))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "columns": serialize_columns(self.columns)}
