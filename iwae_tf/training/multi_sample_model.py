"""A Keras model trained by a multi-sample bound, whatever its networks are."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import keras
import numpy.typing as npt
import tensorflow as tf

from iwae_tf import compiling, random
from iwae_tf.checks import check_count
from iwae_tf.data import inputs
from iwae_tf.data.observation_model import ObservationModel
from iwae_tf.data.streams import Rows, check_batch, make_stream
from iwae_tf.estimates import likelihood
from iwae_tf.hierarchy import Terms
from iwae_tf.objectives import ImportanceWeighted, Objective
from iwae_tf.training import executions, feeds, gradients, hooks, replicas
from iwae_tf.training.executions import Executions, Logs
from iwae_tf.types import Array, Data, Seed

Callbacks: TypeAlias = keras.callbacks.Callback | keras.callbacks.CallbackList | Sequence[keras.callbacks.Callback]


class MultiSampleModel(ObservationModel):
    """Base of the models that an `Objective` over log weights trains: compiling, fitting, likelihoods and saving.

    A subclass gives the networks: `posterior`, `terms`, `reconstruction` and `state`, and whatever `gradients` needs.

    Attributes:
      kl_weight: scalar variable that multiplies log p(z) - log q(z|x) inside log w: 1, or less during warm-up.
      trackers: the metrics that `fit` and `evaluate` log.
      programs: compiled functions that `compiling.cached` keeps.
      chooses_steps: whether `fit` chooses the number of steps per execution.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.programs: dict[tuple, Callable] = {}
        self.train_function: Executions | None
        self.test_function: Executions | None
        self.chooses_steps = True

    def posterior(self, x: tf.Tensor) -> Any:
        """Returns the part of q(z|x) that depends on x alone, which `terms` reads."""
        raise NotImplementedError

    def terms(
        self, x: tf.Tensor, posterior: Any, num_samples: int, seed: tf.Tensor, analytic_kl: bool = False
    ) -> Terms:
        """Samples z ~ q(z|x), `num_samples` for each observation, and scores it."""
        raise NotImplementedError

    def reconstruction(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns the mean of p(x|z) for one draw z ~ q(z|x) each, `[batch, *event_shape]`."""
        raise NotImplementedError

    def state(self) -> list[Any]:
        """Returns the variables that a call of the networks changes, such as moving averages."""
        raise NotImplementedError

    def _set_objective(self, objective: Objective | None) -> None:
        """Sets the objective and makes the weight of the KL and the metrics, once the networks exist."""
        self.objective = ImportanceWeighted(num_samples=50) if objective is None else objective
        self.kl_weight = self.add_weight(shape=(), initializer="ones", trainable=False, name="kl_weight")
        names = ("loss", "elbo", "reconstruction", "kl", "effective_sample_size")
        self.trackers = [keras.metrics.Mean(name=name) for name in names]

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
        jit_compile: bool | Literal["auto"] = "auto",
        steps_per_execution: int | Literal["auto"] = "auto",
        run_eagerly: bool = False,
        **kwargs: Any,
    ) -> None:
        """Configures the training, like `keras.Model.compile`. There is no loss to pass: it is the objective's.

        Args:
          optimizer: a Keras optimiser or its name.
          jit_compile: whether XLA compiles the steps. `"auto"` does so, on CPU and GPU, unless a layer refuses it.
          steps_per_execution: steps that run as one program; callbacks act between executions. `"auto"` chooses up to
            100, see `executions.steps_per_execution`.
          run_eagerly: whether the steps run op by op, for debugging.
          **kwargs: as for `keras.Model.compile`.

        Raises:
          ValueError: if a loss or metrics are given, or `steps_per_execution` is not a positive integer.
        """
        for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if kwargs.get(name) is not None:
                raise ValueError(f"Expected no {name}: the loss is model.objective's. Received: {kwargs[name]!r}")
        self.chooses_steps = steps_per_execution == "auto"
        steps = 1 if self.chooses_steps else check_count(steps_per_execution, "steps_per_execution")
        self.programs.clear()  # they depend on jit_compile too
        super().compile(
            optimizer, jit_compile=jit_compile, steps_per_execution=steps, run_eagerly=run_eagerly, **kwargs
        )

    def _resolve_auto_jit_compile(self) -> bool:  # Keras' own requires a GPU too
        return not self.is_distributed and all(layer.supports_jit for layer in self._flatten_layers())

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Does nothing. Under a strategy, Keras would build by a mean over replicas, which uint8 does not have."""

    @property
    def is_distributed(self) -> bool:
        """Whether the model was made under a strategy of `tf.distribute`."""
        return bool(self._distribute_strategy)

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
        is_ours = step.__func__ in (MultiSampleModel.train_step, MultiSampleModel.test_step)
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

    # ------------------------------------------------------------------------------------------ steps

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return keras.layers.Layer.metrics.fget(self)  # a model's own property would ask `compile` for metrics

    def train_step(self, data: Any) -> Logs:
        self.optimizer.apply(self.batch_gradients(data), self.trainable_variables)
        return self.get_metrics_result()

    def test_step(self, data: Any) -> Logs:
        self._track(self.compute_metrics(data, self.next_seed()), data)
        return self.get_metrics_result()

    def batch_gradients(self, data: Any) -> gradients.Gradients:
        """Returns the gradients of the loss of a batch for the trainable variables, and updates the metrics."""
        objective, (x, sample_weight) = self.objective, executions.unpack(self, data)
        # A layer's state (batch normalisation) and the KL of free bits are computed from the whole batch.
        whole = self.state() or any(part.free_bits for part in (objective, objective.inference) if part)
        data = x, None, sample_weight
        parts = [data] if whole else executions.split_batch(data, objective.num_particles)
        by_part = list(map(self._gradients, parts))
        return [tf.add_n(part) / len(part) if len(part) > 1 else part[0] for part in zip(*by_part, strict=True)]

    def compute_gradients(self, data: Any, seed: tf.Tensor) -> tuple[gradients.Gradients, gradients.Metrics]:
        """Computes the gradients of the loss of a batch, and its metrics, each `[batch]`."""
        x, sample_weight = executions.unpack(self, data)
        with self.phase(training=True):
            x, seed = self.preprocess(x, seed), random.fold_in(seed, 1)
            return gradients.compute(self, self.objective, x, seed, sample_weight, self.optimizer.scale_loss)

    def compute_metrics(self, data: Any, seed: tf.Tensor) -> gradients.Metrics:
        """Computes the metrics of a batch in evaluation, each `[batch]`; the weight of the KL is 1."""
        objective, (x, _) = self.objective, executions.unpack(self, data)
        with self.phase(training=False):
            x, seed = self.preprocess(x, seed), random.fold_in(seed, 1)
            terms = self.terms(x, self.posterior(x), objective.num_particles, seed, objective.analytic_kl)
        return gradients.compute_metrics(objective, terms)

    def _gradients(self, data: Any) -> gradients.Gradients:
        """Returns the gradients of the loss of a part of a batch, and updates the metrics."""
        values, metrics = self.compute_gradients(data, self.next_seed())
        self._track(metrics, data)
        return values

    def _track(self, metrics: gradients.Metrics, data: Any) -> None:
        _, sample_weight = executions.unpack(self, data)
        for tracker in self.trackers:
            tracker.update_state(metrics[tracker.name], sample_weight=sample_weight)

    # ------------------------------------------------------------------------------------------ fitting

    def fit(
        self,
        x: Data | None = None,
        y: npt.ArrayLike | None = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | Literal["auto"] = "auto",
        callbacks: Callbacks | None = None,
        validation_split: float = 0.0,
        validation_data: Data | Rows | None = None,
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: npt.ArrayLike | None = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
    ) -> keras.callbacks.History:
        """Trains the model, like `keras.Model.fit`.

        Arrays are shuffled with the model's seed, so that the same seed repeats the run. Sample weights need no
        targets: they weight the rows in the loss, its gradient and all metrics. Only `class_weight` reads targets.
        Validation uses the objective's own bound, at a `kl_weight` of 1. With `initial_epoch`, data of `iwae_tf.data`
        come in the order that they would have had in that epoch.

        Raises:
          ValueError: if data do not match the model's input, hold NaN, are endless or empty; if weights are negative or
            do not match the rows; or if `validation_split` is to split anything but arrays.
          TypeError: if the data are not numeric, or cannot be iterated over.
        """
        self._assert_compile_called("fit")
        feed = feeds.prepare(
            self,
            (x, y, sample_weight),
            validation_data,
            validation_split=validation_split,
            batch_size=batch_size,
            validation_batch_size=validation_batch_size,
            shuffle=shuffle,
            class_weight=class_weight,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps,
            callbacks=callbacks,
        )
        with replicas.report_lost_workers(), hooks.surround(self, callbacks) as all_callbacks:
            return super().fit(
                feed.train,
                epochs=epochs,
                verbose=verbose,
                callbacks=all_callbacks,
                validation_data=feed.validation,
                shuffle=shuffle and isinstance(feed.train, keras.utils.PyDataset),
                class_weight=class_weight,
                initial_epoch=initial_epoch,
                steps_per_epoch=feed.steps_per_epoch,
                validation_steps=feed.validation_steps,
                validation_freq=validation_freq,
            )

    def evaluate(
        self,
        x: Data | None = None,
        y: npt.ArrayLike | None = None,
        batch_size: int | None = None,
        verbose: int | Literal["auto"] = "auto",
        sample_weight: npt.ArrayLike | None = None,
        steps: int | None = None,
        callbacks: Callbacks | None = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> list[float] | dict[str, float]:
        """Evaluates the objective's own bound at a `kl_weight` of 1, like `keras.Model.evaluate`."""
        if kwargs.get("_use_cached_eval_dataset"):  # called by fit, whose data are ready
            return super().evaluate(x, y, batch_size, verbose, sample_weight, steps, callbacks, return_dict, **kwargs)
        self._assert_compile_called("evaluate")
        stream = make_stream(self, x, y, sample_weight, batch_size, steps)
        data, steps = feeds.for_keras(self, stream, steps)
        with hooks.surround(self, callbacks) as all_callbacks:
            return super().evaluate(
                data, verbose=verbose, steps=steps, callbacks=all_callbacks, return_dict=return_dict, **kwargs
            )

    def predict(
        self,
        x: Data,
        batch_size: int | None = None,
        verbose: int | Literal["auto"] = "auto",
        steps: int | None = None,
        callbacks: Callbacks | None = None,
    ) -> Any:
        """Returns reconstructions, means of p(x|z) for one z ~ q(z|x) each, like `keras.Model.predict`."""
        data = make_stream(self, x, None, None, batch_size, steps).data
        return super().predict(data, None, verbose, steps, callbacks)

    def train_on_batch(
        self,
        x: Array,
        y: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
        class_weight: dict[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Trains on a single batch, like `keras.Model.train_on_batch`."""
        x, y, sample_weight = check_batch(self, x, y, sample_weight)
        return super().train_on_batch(x, y, sample_weight, class_weight, return_dict)

    def test_on_batch(
        self,
        x: Array,
        y: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Evaluates a single batch, like `keras.Model.test_on_batch`."""
        return super().test_on_batch(*check_batch(self, x, y, sample_weight), return_dict)

    # ------------------------------------------------------------------------------------------ use

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self._reconstruct(inputs, tf.zeros(2, tf.int32))

    def log_weights(self, x: Array, num_samples: int, seed: Seed | None = None) -> tf.Tensor:
        """Draws log w = log p(x, z) - log q(z|x) for z ~ q(z|x), in nats; `kl_weight` applies, as in training.

        Args:
          x: data `[batch, *event_shape]`, as in the training set.
          num_samples: k, samples per observation.
          seed: an integer or `int32[2]`. `None` draws the model's next seed.

        Returns:
          `[num_samples, batch]`.

        Raises:
          ValueError: if the data do not match the model's input, or `num_samples` is not a positive integer.
        """
        check_count(num_samples, "num_samples")
        x, seed = self.as_input(x), self.next_seed(seed)
        x = self.preprocess(x, seed)
        return self.terms(x, self.posterior(x), num_samples, random.fold_in(seed, 1)).log_weights(self.kl_weight)

    def log_likelihood(self, x: Array, num_samples: int = 5000, seed: Seed | None = None) -> tf.Tensor:
        """Estimates log p(x) by L_k with k = `num_samples`, in nats; see `estimates.likelihood.estimate`.

        Args:
          x: data `[batch, *event_shape]`, as in the training set.
          num_samples: k, samples per observation; memory does not grow with it.
          seed: an integer or `int32[2]`. `None` draws the model's next seed.

        Returns:
          `[batch]`.

        Raises:
          ValueError: if the data do not match the model's input, or `num_samples` is not a positive integer.
        """
        return likelihood.estimate(self, x, num_samples, seed).log_likelihood

    def reconstruct(self, x: Array, seed: Seed | None = None) -> tf.Tensor:
        """Returns means of p(x|z) for one draw z ~ q(z|x) each, `[batch, *event_shape]`."""
        return self._reconstruct(self.as_input(x), self.next_seed(seed))

    def _reconstruct(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return self.reconstruction(self.preprocess(x, seed), random.fold_in(seed, 1))

    # ------------------------------------------------------------------------------------------ saving

    def get_config(self) -> dict[str, Any]:
        objective = keras.saving.serialize_keras_object(self.objective)
        return {**super().get_config(), "objective": objective, "data_dtype": self.data_dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MultiSampleModel":
        config = keras.saving.deserialize_keras_object(config)
        data_dtype = config.pop("data_dtype", None)
        model = cls(**config)
        model.data_dtype = data_dtype
        return model

    def save(self, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any) -> None:
        """Saves the model in Keras' own format, like `keras.Model.save`.

        Raises:
          ValueError: if the path does not end in `.keras`: HDF5 cannot hold everything that loading needs.
        """
        if not str(filepath).endswith(".keras"):
            raise ValueError(f"Expected a path that ends in .keras. Received: {filepath}")
        super().save(filepath, overwrite, zipped, **kwargs)

    def export(self, *args: Any, **kwargs: Any) -> None:
        """Refers to `iwae_tf.export`, whose SavedModel has an endpoint for each use.

        Raises:
          NotImplementedError: always.
        """
        raise NotImplementedError("Expected iwae_tf.export(model, path), which writes every endpoint. Received: export")

    def get_compile_config(self) -> dict[str, Any]:
        config = super().get_compile_config()
        # The choice rather than its result: otherwise a reloaded model would run one step at a time.
        return {**config, "steps_per_execution": "auto"} if config and self.chooses_steps else config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)
