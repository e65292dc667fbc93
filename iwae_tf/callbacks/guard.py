"""Protection of a model from batches that would make its weights NaN or infinite."""

import logging
from collections.abc import Iterator
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from iwae_tf import random
from iwae_tf.checks import check_choice, check_count
from iwae_tf.hierarchy import summary
from iwae_tf.model import IWAE
from iwae_tf.sequences import StateSpaceModel
from iwae_tf.training import replicas
from iwae_tf.training.batches import filtering_options
from iwae_tf.training.executions import Logs, Program, get_metric_variables, get_variables, split_batch

#: What helps, most likely first.
ADVICE = (
    "What may help: a lower learning rate, clipped gradients (`clipnorm=1.0` in the optimiser), data of a smaller "
    "scale, a lower limit of scales (`min_scale=` of IndependentNormal), float32 instead of half precision"
)

_log = logging.getLogger(__name__)


class NonFiniteGuard(keras.callbacks.Callback):
    """Protects a model from batches whose log weights or gradients are NaN or infinite.

    The guard checks the loss and the weights after every execution. If they are not finite, it restores the model as it
    was before the execution and repeats its steps one by one. Good steps give what they would have given. A bad step is
    undone, including the optimiser and the random seed, and the guard reports the layer and the rows that caused it.

    While everything is finite this costs a copy of the weights and of the optimiser's variables for each execution.

    Args:
      action: `"stop"` raises an error, `"skip"` logs a warning and continues with the next batch.
      max_skipped: number of batches skipped in a row after which the training stops with an error.

    Attributes:
      skipped: list of dicts, one for each skipped batch: `epoch`, `step` (of the optimiser), `layer`, `rows`.

    Raises:
      ValueError: if `action` is neither, or `max_skipped` is not a positive integer; in `fit`, for a model that was
        made under a strategy of several replicas.
      FloatingPointError: in `fit`, for a bad batch with `"stop"`, or `max_skipped` of them in a row. The model is then
        as it was before the first of them.

    Example:
      ```python
      guard = callbacks.NonFiniteGuard("skip")
      model.fit(splits.validation, epochs=1, callbacks=[guard], verbose=0)
      guard.skipped  # [], since every batch was fine
      ```
    """

    def __init__(self, action: Literal["stop", "skip"] = "stop", max_skipped: int = 10) -> None:
        super().__init__()
        self.action = check_choice(action, "action", ("stop", "skip"))
        self.max_skipped = check_count(max_skipped, "max_skipped")
        self.skipped: list[dict[str, Any]] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if replicas.is_several(self.model.distribute_strategy):
            raise ValueError("Expected a model on one device for NonFiniteGuard. Received: one of several replicas")
        self.model.train_function.guard = self._run
        self._num_in_a_row = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def _run(self, program: Program, x: tf.Tensor, sample_weight: tf.Tensor | None, count: tf.Tensor) -> Logs:
        """Runs the program of an execution, without the steps that would spoil the model."""
        before = self._copy_state()
        logs = program(x, sample_weight, count)
        if self._is_finite(logs):
            self._num_in_a_row = 0
            return logs
        self._restore(before)
        logs = self.model.get_metrics_result()
        for i in range(int(count)):
            before, shift = self._copy_state(), -i
            # Moves the step to the front, where the program of the execution can run it alone.
            group = tf.roll(x, shift, 0), None if sample_weight is None else tf.roll(sample_weight, shift, 0)
            new_logs = program(*group, tf.constant(1))
            if self._is_finite(new_logs):
                self._num_in_a_row, logs = 0, new_logs
                continue
            self._restore(before)
            layer, rows = find_cause(self.model, x[i])
            self._restore(before)
            self._skip(len(x[i]), layer, rows)
        return logs

    def _copy_state(self) -> list[tuple[Any, tf.Tensor]]:
        """Copies everything that a step changes."""
        variables = (*get_variables(self.model), *get_metric_variables(self.model))
        return [(variable, tf.identity(variable.value)) for variable in variables]

    def _restore(self, state: list[tuple[Any, tf.Tensor]]) -> None:
        for variable, value in state:
            variable.assign(value)

    def _is_finite(self, logs: Logs) -> bool:
        values = [*keras.tree.flatten(logs), *(variable.value for variable in self.model.trainable_variables)]
        return bool(tf.reduce_all([tf.reduce_all(tf.math.is_finite(value)) for value in values]))

    def _skip(self, batch_size: int, layer: str, rows: list[int]) -> None:
        step = int(self.model.optimizer.iterations)
        self.skipped.append({"epoch": self._epoch, "step": step, "layer": layer, "rows": rows})
        self._num_in_a_row += 1
        where = f"in {layer}" + (f" for rows {', '.join(map(str, rows))} of {batch_size}" if rows else "")
        message = f"Expected finite numbers. Received: NaN or infinity {where}, at step {step} of epoch {self._epoch}"
        if self.action == "stop" or self._num_in_a_row == self.max_skipped:
            repeated = f"; {self._num_in_a_row} batches in a row" if self._num_in_a_row > 1 else ""
            raise FloatingPointError(f"{message}{repeated}. The model is as it was before. {ADVICE}")
        _log.warning("%s; the batch is skipped", message)


def find_cause(model: IWAE | StateSpaceModel, x: tf.Tensor) -> tuple[str, list[int]]:
    """Finds what is not finite in the training step that a model would take next, with that step's random seed.

    Args:
      model: the model, in the state before the step.
      x: a batch of data.

    Returns:
      The first layer, in the order of the model's summary, whose output is not finite, such as
      `q(z1|x) (independent_normal)`, or the first weight whose gradient is not; and the list of the rows of the batch
      that are affected, empty for a gradient.
    """
    seed = tf.identity(model.seed_generator.state.value)
    rows_by_layer: dict[str, list[int]] = {}
    check, first = _check_steps if isinstance(model, StateSpaceModel) else _check_layers, 0
    for part in split_batch((x,), model.objective.num_particles):
        for name, finite in check(model, part[0]):
            rows_by_layer.setdefault(name, []).extend(int(row) for row in first + np.flatnonzero(~finite))
        first += len(part[0])
    for name, rows in rows_by_layer.items():
        if rows:
            return name, rows
    model.seed_generator.state.assign(seed)
    for variable, gradient in zip(model.trainable_variables, model.batch_gradients((x,)), strict=True):
        if gradient is not None and not np.isfinite(gradient).all():
            return f"the gradient of {variable.path}", []
    return "the step of the optimiser", []


def _check_layers(model: IWAE, x: tf.Tensor) -> Iterator[tuple[str, np.ndarray]]:
    """Yields for each layer, q bottom up and then p top down, its name and whether each row is finite, `[batch]`."""
    seed = model.next_seed()
    with model.phase(training=True):
        x = model.preprocess(x, seed)
        posteriors, z = model.infer(model.posterior(x), model.objective.num_particles, random.fold_in(seed, 1))
        observation, *priors = model.generative(z)
        q = [[z_l, q_l.log_prob(z_l)] for q_l, z_l in zip(posteriors, z, strict=True)]
        p = [[p_l.log_prob(z_l)] for p_l, z_l in zip(priors, z, strict=True)]
        likelihood = [observation.log_prob(x)]
    for name, values in zip(summary.name_layers(model), (*q, *reversed(p), likelihood), strict=True):
        axes = [tuple(axis for axis in range(value.shape.rank) if axis != 1) for value in values]
        yield name, np.all([np.isfinite(v).all(axis) for v, axis in zip(values, axes, strict=True)], axis=0)


def _check_steps(model: StateSpaceModel, x: tf.Tensor) -> Iterator[tuple[str, np.ndarray]]:
    """Yields for each layer of a model of sequences its name and whether each sequence is finite, `[batch]`."""
    seed, objective = model.next_seed(), model.objective
    with model.phase(training=True):
        x = model.preprocess(x, seed)
        posterior, options = model.posterior(x), filtering_options(objective)
        terms = model.terms(x, posterior, objective.num_particles, random.fold_in(seed, 1), **options)
    for density, layer, values in (
        ("q(z_t|.)", model.encoder[0], terms.log_posterior),
        ("p(z_t|.)", model.transition, terms.log_posterior - terms.kl),
        ("p(x_t|.)", model.emission, terms.reconstruction),
    ):
        yield f"{density} ({layer.name})", np.isfinite(values).all(axis=0)
