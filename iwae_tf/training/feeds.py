"""The data of one `fit`, ready for the compiled loop over the steps."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from iwae_tf import random
from iwae_tf.data import streams
from iwae_tf.data.observation_model import ObservationModel
from iwae_tf.data.streams import Stream, make_stream
from iwae_tf.training import executions, replicas
from iwae_tf.types import Data


class Feed(NamedTuple):
    """Data for `keras.Model.fit`, checked, shuffled and grouped into executions.

    Attributes:
      train: the training data.
      validation: the validation data, or `None`.
      steps_per_epoch: steps per epoch as Keras counts them, or `None` for all batches.
      validation_steps: likewise.
    """

    train: Any
    validation: Any
    steps_per_epoch: int | None
    validation_steps: int | None


def prepare(
    model: ObservationModel,
    data: streams.Rows,
    validation_data: Data | streams.Rows | None = None,
    *,
    validation_split: float = 0.0,
    batch_size: int | None = None,
    validation_batch_size: int | None = None,
    shuffle: bool = True,
    class_weight: dict[int, float] | None = None,
    initial_epoch: int = 0,
    steps_per_epoch: int | None = None,
    validation_steps: int | None = None,
    callbacks: Any = None,
) -> Feed:
    """Prepares the data of one `fit`, and sets the model's steps per execution where it is to choose them.

    Args:
      model: the model that is fitted.
      data: x, y and sample weights as `fit` receives them.
      validation_data: as for `fit`.
      validation_split, batch_size, validation_batch_size, shuffle, class_weight, initial_epoch: likewise.
      steps_per_epoch, validation_steps, callbacks: likewise.

    Raises:
      ValueError, TypeError: as in `streams.make_stream`; also if `validation_split` is to split anything but arrays.
    """
    if validation_split and validation_data is None:
        data, validation_data = streams.split_validation(data, validation_split)

    def draw_seed() -> int:
        return random.derive(*(int(n) & 0xFFFFFFFF for n in model.next_seed()))

    train = make_stream(
        model, *data, batch_size, steps_per_epoch, draw_seed if shuffle else None, bool(class_weight), "steps_per_epoch"
    )
    model._assert_compile_called("fit")
    model.data_dtype = train.dtype or model.data_dtype
    if model.chooses_steps:
        steps, every = steps_per_epoch or train.num_batches, executions.acts_every(keras.tree.flatten(callbacks))
        model.set_steps_per_execution(
            executions.steps_per_execution(steps, train.batch_bytes, bool(steps_per_epoch), every)
        )
    validation = None
    if validation_data is not None:
        rows: streams.Rows = validation_data, None, None
        if not streams.takes_sequences(model, validation_data):
            rows = streams.unpack_validation_data(validation_data)
        stream = make_stream(
            model,
            *rows,
            validation_batch_size or batch_size,
            validation_steps,
            argument="validation_steps",
        )
        validation, validation_steps = for_keras(model, stream, validation_steps)
    for_training, steps_per_epoch = for_keras(model, train, steps_per_epoch, bool(class_weight), initial_epoch)
    return Feed(for_training, validation, steps_per_epoch, validation_steps)


def for_keras(
    model: ObservationModel, stream: Stream, steps: int | None, keep_targets: bool = False, first_pass: int = 0
) -> tuple[Any, int | None]:
    """Returns the data of a stream as the model's loop reads them, and the steps per epoch as Keras counts them.

    Pipelines of `data.batches` give whole executions, beginning with pass `first_pass`; under a strategy of several
    replicas each worker reads its shard of every batch.
    """
    several, data = model.is_distributed, stream.data
    if hasattr(data, "executions") and not (steps or keep_targets):
        data, steps = data.executions(1 if several else model.steps_per_execution, first_pass), stream.num_batches
    return (replicas.shard(data) if several and isinstance(data, tf.data.Dataset) else data), steps
