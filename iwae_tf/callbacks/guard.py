"""What becomes of a batch that would spoil a model."""

import logging

import keras
import numpy as np
import tensorflow as tf

from iwae_tf import random
from iwae_tf.checks import check_choice, check_count
from iwae_tf.hierarchy import summary
from iwae_tf.training import executions, replicas

#: What helps, most likely first.
ADVICE = (
    "What may help: a lower learning rate, clipped gradients (`clipnorm=1.0` in the optimiser), a smaller scale of the "
    "data, a floor under scales (`min_scale=` of IndependentNormal), float32 instead of half precision"
)

_log = logging.getLogger(__name__)


class NonFiniteGuard(keras.callbacks.Callback):
    """Keeps a model from a batch whose log weights or gradients are NaN or infinite.

    After every execution the loss and the weights are looked at. If they are not finite the model is set back to where
    the execution began, and its steps are taken one by one: the good ones give what they would have given, the bad one
    is left out, weights, optimiser and random seed as before it, and said to be bad: in which layer and for which rows.

    While all is finite it costs a copy of the weights and of the optimiser's state for each execution.

    Args:
      action: `"stop"` raises an error, `"skip"` logs a warning and goes on with the next batch.
      most: batches left out in a row that are too many to go on.

    Attributes:
      skipped: list of dicts of the batches left out: `epoch`, `step` (of the optimiser), `layer`, `rows`.

    Raises:
      ValueError: if there is no such action, or `most` is no integer of at least 1; in `fit`, for a model that was made
        under a strategy of several replicas.
      FloatingPointError: in `fit`, for a bad batch with `"stop"`, or `most` of them in a row. The model is then as it
        was before the first of them.
    """

    def __init__(self, action="stop", most=10):
        super().__init__()
        self.action = check_choice(action, "action", ("stop", "skip"))
        self.most = check_count(most, "most")
        self.skipped = []

    def on_train_begin(self, logs=None):
        if replicas.is_several(self.model.distribute_strategy):
            raise ValueError("Expected a model on one device for NonFiniteGuard. Received: one of several replicas")
        self.model.guard = self
        self._in_a_row = 0

    def on_train_end(self, logs=None):
        self.model.guard = None

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def run(self, program, x, sample_weight, count):
        """Runs the program of an execution, see `executions.make_function`, without what would spoil the model."""
        before = self._state()
        logs = program(x, sample_weight, count)
        if self._is_finite(logs):
            self._in_a_row = 0
            return logs
        self._restore(before)
        logs = self.model.get_metrics_result()
        for i in range(int(count)):
            before, shift = self._state(), -i
            # The step to the front, where the program of the execution can take it alone.
            batches = tf.roll(x, shift, 0), None if sample_weight is None else tf.roll(sample_weight, shift, 0)
            after = program(*batches, tf.constant(1))
            if self._is_finite(after):
                self._in_a_row, logs = 0, after
                continue
            self._restore(before)
            found = find(self.model, x[i])
            self._restore(before)
            self._leave_out(len(x[i]), *found)
        return logs

    def _state(self):
        """Copies all that a step changes."""
        variables = (*executions.variables(self.model), *executions.metric_variables(self.model))
        return [(variable, tf.identity(variable.value)) for variable in variables]

    def _restore(self, state):
        for variable, value in state:
            variable.assign(value)

    def _is_finite(self, logs):
        values = [*keras.tree.flatten(logs), *(variable.value for variable in self.model.trainable_variables)]
        return bool(tf.reduce_all([tf.reduce_all(tf.math.is_finite(value)) for value in values]))

    def _leave_out(self, size, layer, rows):
        step = int(self.model.optimizer.iterations)
        self.skipped.append({"epoch": self._epoch, "step": step, "layer": layer, "rows": rows})
        self._in_a_row += 1
        where = f"in {layer}" + (f" for rows {', '.join(map(str, rows))} of {size}" if rows else "")
        message = f"Expected finite numbers. Received: some that are not {where}, at step {step} of epoch {self._epoch}"
        if self.action == "stop" or self._in_a_row == self.most:
            often = f"; {self._in_a_row} batches in a row" if self._in_a_row > 1 else ""
            self.model.guard = None
            raise FloatingPointError(f"{message}{often}. The model is as it was before. {ADVICE}")
        _log.warning("%s; the batch is left out", message)


def find(model, x):
    """Finds what is not finite in the training step that a model would take next, whose random seed it takes.

    Args:
      model: an `IWAE`.
      x: a batch of data.

    Returns:
      The first layer, in the order of the model's summary, that gives numbers that are not finite, such as
      `q(z1|x) (independent_normal)`, or the first weight whose gradient is not; and the list of the rows of the batch
      that it does so for, empty for a gradient.
    """
    seed = tf.identity(model.seed_generator.state.value)
    rows: dict[str, list[int]] = {}
    names, first = summary.named_layers(model), 0
    for share in executions.shares((x,), model.objective.num_particles):
        for name, finite in zip(names, _finite(model, share[0]), strict=True):
            rows.setdefault(name, []).extend(int(row) for row in first + np.flatnonzero(~finite))
        first += len(share[0])
    for name, found in rows.items():
        if found:
            return name, found
    model.seed_generator.state.assign(seed)
    for variable, gradient in zip(model.trainable_variables, model.batch_gradients((x,)), strict=True):
        if gradient is not None and not np.isfinite(gradient).all():
            return f"the gradient of {variable.path}", []
    return "the step of the optimiser", []


def _finite(model, x):
    """Returns for each layer, q bottom up and then p top down, which rows `[batch]` it is finite for."""
    seed = model.next_seed()
    with model.phase(training=True):
        x = model.preprocess(x, seed)
        posteriors, z = model.infer(model.posterior(x), model.objective.num_particles, random.fold_in(seed, 1))
        observation, *priors = model.generative(z)
        q = [[z_l, q_l.log_prob(z_l)] for q_l, z_l in zip(posteriors, z, strict=True)]
        p = [[p_l.log_prob(z_l)] for p_l, z_l in zip(priors, z, strict=True)]
        likelihood = [observation.log_prob(x)]
    for values in (*q, *reversed(p), likelihood):
        axes = [tuple(axis for axis in range(value.shape.rank) if axis != 1) for value in values]
        yield np.all([np.isfinite(v).all(axis) for v, axis in zip(values, axes, strict=True)], axis=0)
