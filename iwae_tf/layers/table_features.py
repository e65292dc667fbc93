"""Features of the rows of a table, for a network to read."""

import keras
import tensorflow as tf

from iwae_tf.layers.columns import KINDS, as_columns, find_kind, serialize_columns, stack_loc_and_scale


@keras.saving.register_keras_serializable(package="iwae_tf")
class TableFeatures(keras.layers.Layer):
    """Maps rows of numbers, NaN where a value is missing, to what a network reads well.

    Reals, logarithms of positive values and log(1 + x) of counts are standardised, categories become one-hot, and
    binary values stay. What is missing gives 0 in all of these. As many features follow as the table has columns: 1
    where the value is missing, otherwise 0.

    It serves as the `network=` of the first encoder layer.

    Args:
      columns: see `Heterogeneous`.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: as in `Heterogeneous`.
    """

    def __init__(self, columns, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.columns = as_columns(columns)
        self.built = True

    def call(self, inputs):
        missing = tf.math.is_nan(inputs)
        features = []
        for kind in KINDS:
            chosen = find_kind(self.columns, kind)
            columns = [self.columns[i] for i in chosen]
            values = tf.gather(inputs, tf.constant(chosen, tf.int32), axis=-1)
            if kind == "category":
                codes = tf.cast(tf.where(tf.math.is_nan(values), -tf.ones_like(values), values), tf.int32)
                sizes = [len(column.categories) for column in columns]
                features += [tf.one_hot(codes[:, j], size, dtype=inputs.dtype) for j, size in enumerate(sizes)]
            else:
                if KINDS[kind].transform is not None:
                    loc, scale = stack_loc_and_scale(columns, inputs.dtype)
                    values = (KINDS[kind].transform(values) - loc) / scale
                features.append(tf.where(tf.math.is_nan(values), tf.zeros_like(values), values))
        return tf.concat([*features, tf.cast(missing, inputs.dtype)], axis=-1)

    def compute_output_shape(self, input_shape):
        widths = [len(column.categories) or 1 for column in self.columns]
        return (*input_shape[:-1], sum(widths) + len(widths))

    def get_config(self):
        return {**super().get_config(), "columns": serialize_columns(self.columns)}
