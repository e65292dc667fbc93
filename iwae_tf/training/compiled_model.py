"""A Keras model whose steps follow an objective, and run as compiled executions."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from iwae_tf import compiling, random
from iwae_tf.checks import check_count
from iwae_tf.data import inputs
from iwae_tf.objectives import ImportanceWeighted, Objective
from iwae_tf.training import executions, gradients, replicas
from iwae_tf.training.batches import Metrics, compute_metrics, filtering_options, mean_loss
from iwae_tf.training.executions import Executions, Logs
from iwae_tf.training.logged_model import LoggedModel, split_metrics
from iwae_tf.types import Array


class CompiledModel(LoggedModel):
    """Base of the models that follow an `Objective` over log weights: the steps, their gradients and their compilation.

    A subclass gives the networks, see `LoggedModel`, and whatever `gradients` needs. `MultiSampleModel` adds the loop
    over the data.

    Attributes:
      chooses_steps: whether `fit` chooses the number of steps per execution.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.train_function: Executions | None
        self.test_function: Executions | None
        self.chooses_steps = True

    def _set_objective(self, objective: Objective | None) -> None:
        """Sets the objective and makes the metrics, once the networks exist."""
        self.objective = ImportanceWeighted(num_samples=50) if objective is None else objective
        self._make_trackers()

    @property
    def objective(self) -> Objective:
        """The objective; setting it keeps the weights and the optimiser's variables, and recompiles the steps."""
        return self._objective

    @objective.setter
    def objective(self, objective: Objective) -> None:
        if not isinstance(objective, Objective):
            raise TypeError(f"Expected an iwae_tf.objectives.Objective. Received: {objective!r}")
        gradients.check_objective(self, objective)
        self._objective = objective
        self.train_function = self.test_function = None

    # ------------------------------------------------------------------------------------------ compiling

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        *,
        metrics: Sequence[Any] | None = None,
        weighted_metrics: Sequence[Any] | None = None,
        jit_compile: bool | Literal["auto"] = "auto",
        steps_per_execution: int | Literal["auto"] = "auto",
        run_eagerly: bool = False,
        **kwargs: Any,
    ) -> None:
        """Configures the training, like `keras.Model.compile`. There is no loss to pass: it is the objective's.

        Args:
          optimizer: a Keras optimiser or its name.
          metrics: Keras metrics, their names or functions, which compare x as the likelihood sees it with its
            reconstruction, the mean of p(x|z) for one z ~ q(z|x); this costs one more sample per observation, without
            a gradient. Also `metrics.LogWeightMean`s, which cost next to nothing.
          weighted_metrics: the same, with sample weights.
          jit_compile: whether XLA compiles the steps. `"auto"` does so, on CPU and GPU, unless a layer refuses it.
          steps_per_execution: steps that run as one program; callbacks act between executions. `"auto"` chooses up to
            100, see `executions.steps_per_execution`.
          run_eagerly: whether the steps run op by op, for debugging.
          **kwargs: as for `keras.Model.compile`.

        Raises:
          ValueError: if a loss is given; the metrics are not a list, or one has the name of another log;
            `steps_per_execution` is not a positive integer; or, under a strategy of several replicas, a metric needs
            the reconstruction or the model has its own `compute_loss`.
        """
        for name in ("loss", "loss_weights"):
            if kwargs.get(name) is not None:
                raise ValueError(f"Expected no {name}: the loss is model.objective's. Received: {kwargs[name]!r}")
        for name, values in {"metrics": metrics, "weighted_metrics": weighted_metrics}.items():
            if not isinstance(values, (list, tuple, type(None))):
                raise ValueError(f"{name} must be a list of metrics. Received: {values!r}")
        self.chooses_steps = steps_per_execution == "auto"
        steps = 1 if self.chooses_steps else check_count(steps_per_execution, "steps_per_execution")
        metrics, of_log_weights = split_metrics(list(metrics or ()))
        weighted_metrics, others = split_metrics(list(weighted_metrics or ()))
        if self.is_distributed and (metrics or weighted_metrics or self.has_own_loss):
            raise ValueError(
                "Expected the objective's own loss, and no metrics but metrics.LogWeightMean, under a strategy of "
                f"several replicas. Received: {[*metrics, *weighted_metrics] or f'{type(self).__name__}.compute_loss'}"
            )
        self._set_trackers([*of_log_weights, *others])
        self.programs.clear()  # they depend on jit_compile too
        super().compile(
            optimizer, metrics=metrics or None, weighted_metrics=weighted_metrics or None, jit_compile=jit_compile,
            steps_per_execution=steps, run_eagerly=run_eagerly, **kwargs,
        )  # fmt: skip

    def _resolve_auto_jit_compile(self) -> bool:  # Keras' own requires a GPU too
        return not self.is_distributed and all(layer.supports_jit for layer in self._flatten_layers())

    def build_optimizer(self) -> None:
        """Makes the variables of the optimiser, if they do not exist."""
        if not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)

    def set_steps_per_execution(self, steps: int) -> None:
        """Sets the number of steps that run as one program."""
        if steps != self.steps_per_execution:
            self.steps_per_execution: int = steps
            self.train_function = self.test_function = None

    def make_train_function(self, force: bool = False) -> None:
        self.build_optimizer()  # otherwise the first call would trace twice
        if self.train_function is None or force:
            self.train_function = self._make_function(self.train_step)

    def make_test_function(self, force: bool = False) -> None:
        if self.test_function is None or force:
            self.test_function = self._make_function(self.test_step)

    def _make_function(self, step: Any) -> Executions:
        if self.is_distributed:  # its iterators hold a part of a batch for each replica
            return replicas.make_function(self, self.steps_per_execution, train=step == self.train_step)
        is_ours = step.__func__ in (CompiledModel.train_step, CompiledModel.test_step)
        return executions.make_function(self, step, self.steps_per_execution, keep_logs=not is_ours)

    def make_predict_function(self, force: bool = False) -> None:
        if getattr(self, "predict_function", None) is not None and not force:
            return
        if self.is_distributed:
            super().make_predict_function(force)
            return

        def predict_step(x: tf.Tensor) -> Any:
            return self.predict_step((x,))

        def predict_batches(batches: Any) -> Any:
            xs = (self.as_input(inputs.get_x(batch), whole=False) for batch in batches)
            run = predict_step if self.run_eagerly else compiling.cached_program(self, predict_step)
            return keras.tree.map_structure(lambda *parts: tf.concat(parts, 0), *map(run, xs))

        self.predict_function = predict_batches

    def as_input(self, x: Array, whole: bool = True) -> tf.Tensor:
        """Checks data and returns them as a tensor; see `data.inputs.as_input`.

        A symbolic tensor passes unchecked, since it has no values yet.
        """
        if tf.is_tensor(x) and not isinstance(x, tf.SparseTensor) and not hasattr(x, "numpy"):
            return x
        return tf.convert_to_tensor(inputs.as_input(self, x, whole))

    # ------------------------------------------------------------------------------------------ steps

    @property
    def has_own_loss(self) -> bool:
        """Whether a subclass overrides `compute_loss`, which the steps then differentiate."""
        return type(self).compute_loss is not CompiledModel.compute_loss

    def train_step(self, data: Any) -> Logs:
        self.optimizer.apply(self.batch_gradients(data), self.trainable_variables)
        return self._compare(data)

    def test_step(self, data: Any) -> Logs:
        if self.has_own_loss:
            self._track_own_loss(data, training=False)
        else:
            self._track(self.compute_batch_metrics(data, self.next_seed()), data)
        return self._compare(data)

    def compute_loss(
        self,
        x: Array | None = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: tf.Tensor | None = None,
        training: bool = True,
    ) -> tf.Tensor:
        """Computes the loss of a batch for a training loop of your own, or for a loss with further terms.

        In training a tape finds the gradient of the objective, whatever its form, for the trainable variables; the loss
        has no gradient for anything else. `fit` and `evaluate` follow a subclass that overrides this method. It updates
        all metrics of the log weights but `loss`, which belongs to the step, as in Keras.

        Args:
          x: data `[batch, *event_shape]`, as in the training set.
          y: ignored.
          y_pred: ignored.
          sample_weight: `[batch]`, or `None`.
          training: whether to compute the loss of training, with `kl_weight` and dropout, or that of evaluation.

        Returns:
          The negative bound of the objective, averaged over the batch, plus the layers' own losses, in nats; a scalar.

        Raises:
          ValueError: if the data do not match the model's input.
        """
        data = self.as_input(x), None, sample_weight
        if training:
            values, metrics = self.compute_gradients(data, self.next_seed(), scale=False)
        else:
            metrics = self.compute_batch_metrics(data, self.next_seed())
        loss = mean_loss(self, metrics.pop("loss"), sample_weight)
        self._track(metrics, data)
        return gradients.attach(loss, values, self.trainable_variables) if training else loss

    def _track_own_loss(self, data: Any, training: bool) -> tf.Tensor:
        """Computes and logs the loss of a subclass that overrides `compute_loss`."""
        x, sample_weight = executions.unpack(self, data)
        loss = self._compute_loss(x, None, None, sample_weight, training)
        self.trackers[0].update_state(loss, sample_weight=tf.shape(x)[0])
        return loss

    def batch_gradients(self, data: Any) -> gradients.Gradients:
        """Returns the gradients of the loss of a batch for the trainable variables, and updates the metrics."""
        if self.has_own_loss:
            with tf.GradientTape() as tape:
                loss = self.optimizer.scale_loss(self._track_own_loss(data, training=True))
            return tape.gradient(loss, self.trainable_variables)
        objective, (x, sample_weight) = self.objective, executions.unpack(self, data)
        # A layer's state (batch normalisation) and the KL of free bits are computed from the whole batch.
        whole = self.state() or any(part.free_bits for part in (objective, objective.inference) if part)
        data = x, None, sample_weight
        parts = [data] if whole else executions.split_batch(data, objective.num_particles)
        by_part = list(map(self._gradients, parts))
        return [tf.add_n(part) / len(part) if len(part) > 1 else part[0] for part in zip(*by_part, strict=True)]

    def compute_gradients(self, data: Any, seed: tf.Tensor, scale: bool = True) -> tuple[gradients.Gradients, Metrics]:
        """Computes the gradients of the loss of a batch, and its metrics, each `[batch]`.

        With `scale` the optimiser scales the loss before it is differentiated, which its `apply` undoes.
        """
        x, sample_weight = executions.unpack(self, data)
        options = {"scale": self.optimizer.scale_loss} if scale else {}
        with self.phase(training=True):
            x, seed = self.preprocess(x, seed), random.fold_in(seed, 1)
            return gradients.compute(self, self.objective, x, seed, sample_weight, **options)

    def compute_batch_metrics(self, data: Any, seed: tf.Tensor) -> Metrics:
        """Computes the metrics of a batch in evaluation, each `[batch]`; the weight of the KL is 1."""
        objective, (x, _) = self.objective, executions.unpack(self, data)
        with self.phase(training=False):
            x, seed = self.preprocess(x, seed), random.fold_in(seed, 1)
            terms = self.terms(
                x,
                self.posterior(x),
                objective.num_particles,
                seed,
                objective.analytic_kl,
                **filtering_options(objective),
            )
        return compute_metrics(self, objective, terms)

    def _gradients(self, data: Any) -> gradients.Gradients:
        """Returns the gradients of the loss of a part of a batch, and updates the metrics."""
        values, metrics = self.compute_gradients(data, self.next_seed())
        self._track(metrics, data)
        return values

    def get_compile_config(self) -> dict[str, Any]:
        config = super().get_compile_config()
        if not config:
            return config
        metrics = [
            *(config["metrics"] or ()),
            *map(keras.saving.serialize_keras_object, self.trackers[len(self.logs) :]),
        ]
        # The choice rather than its result: otherwise a reloaded model would run one step at a time.
        steps = "auto" if self.chooses_steps else config["steps_per_execution"]
        return {**config, "metrics": metrics or None, "steps_per_execution": steps}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)
