"""What an exported model of sequences offers.

| endpoint | takes | returns |
|---|---|---|
| `log_likelihood`, the default | `x`, `lengths` int32[batch] | the fields of `use.Scores` |
| `log_likelihood_seeded` | `x`, `lengths`, `seed` int32[2] | the same |
| `filter` | `x`, `lengths` | `mean`, `stddev` of z_t given x_1..x_t, `effective_sample_size` `[batch, time]` |
| `forecast` | `x`, `lengths`, `seed` int32[2] | `x` `[batch, steps, *event]`: what may follow, one draw of each |

x is `[batch, time, *event]`; what lies beyond `lengths` is not read, and steps of NaN at the end are padding too.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from iwae_tf.sequences import use

#: Filters whose spread is the standard error.
REPEATS = 4
#: Steps of a forecast.
STEPS = 32


def make_sequence_endpoints(
    model: Any, num_samples: int, fixed_seed: tf.Tensor
) -> dict[str, tuple[Callable[..., dict], list[tf.TensorSpec]]]:
    """Returns functions of tensors and the specs of their arguments, by name.

    Args:
      model: a `StateSpaceModel`.
      num_samples: particles per filter.
      fixed_seed: `int32[2]`, the seed of endpoints that take none.
    """
    filtering = use.choose_filtering(model.objective, num_samples)
    x_spec = tf.TensorSpec([None, *model.event_shape], model.dtype_policy.variable_dtype, name="x")
    lengths_spec = tf.TensorSpec([None], tf.int32, name="lengths")
    seed_spec = tf.TensorSpec([2], tf.int32, name="seed")

    def cut(x: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        there = tf.sequence_mask(lengths, tf.shape(x)[1])
        with tf.control_dependencies([tf.debugging.assert_positive(lengths, "Expected positive lengths.")]):
            return tf.where(there[(..., *[tf.newaxis] * (x.shape.rank - 2))], x, tf.constant(float("nan"), x.dtype))

    def log_likelihood_seeded(x: tf.Tensor, lengths: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        program = use.get_program(model, filtering, REPEATS)
        return program(cut(x, lengths), tf.constant(num_samples), seed)._asdict()

    def log_likelihood(x: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        return log_likelihood_seeded(x, lengths, fixed_seed)

    def filter_sequences(x: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        filtered = use.filter_sequences(model, model.assert_rules(cut(x, lengths)), num_samples, fixed_seed)
        return {name: getattr(filtered, name) for name in ("mean", "stddev", "effective_sample_size")}

    def forecast(x: tf.Tensor, lengths: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        x = model.assert_rules(cut(x, lengths))
        return {"x": use.forecast(model, x, STEPS, num_samples, seed)[0]}

    return {
        "log_likelihood": (log_likelihood, [x_spec, lengths_spec]),
        "log_likelihood_seeded": (log_likelihood_seeded, [x_spec, lengths_spec, seed_spec]),
        "filter": (filter_sequences, [x_spec, lengths_spec]),
        "forecast": (forecast, [x_spec, lengths_spec, seed_spec]),
    }
