"""The model: an importance-weighted autoencoder as a Keras model."""

import functools

import keras
import tensorflow as tf

from iwae_tf import compiling, random
from iwae_tf.checks import check_count
from iwae_tf.data import inputs
from iwae_tf.estimates import imputation, likelihood
from iwae_tf.hierarchy import Hierarchy
from iwae_tf.layers.base import StochasticLayer
from iwae_tf.objectives import ImportanceWeighted, Objective
from iwae_tf.training import executions, feeds, gradients, hooks, replicas


@keras.saving.register_keras_serializable(package="iwae_tf")
class IWAE(Hierarchy):
    """A deep latent-variable model trained by a multi-sample bound.

    The generative network is p(z_L) p(z_{L-1}|z_L) ... p(x|z_1), the inference network q(z_1|x) ... q(z_L|z_{L-1}),
    or with a ladder q(z_L|x) ... q(z_1|z_2, x).
    With the default objective a training step minimises -(logsumexp_i log w_i - log k), averaged over the batch.

    `fit`, `evaluate` and `predict` take what they take in any Keras model: arrays, `tf.data` datasets, `PyDataset`s and
    generators of x or of tuples `(x, y, sample_weight)`; targets are not used. They log `loss` (the negative bound of
    the objective), `elbo`, `reconstruction` (E log p(x|z)) and `kl`, in nats, and `effective_sample_size`.
    Calling the model, and `predict`, give reconstructions.

    Args:
      encoder: layers of q, bottom up. Each returns a `tfd.Distribution`: those of `iwae_tf.layers`, or any Keras
        layer from `[n, *event]` to a distribution of batch shape `[n]`.
      decoder: as many layers of p, top down; the last is the likelihood p(x|z_1).
      prior: layer that returns p(z_L) when called without an input.
      objective: an `iwae_tf.objectives.Objective`; may be replaced at any time. Default: L_50.
      preprocessing: layer from the data as they come to x as the likelihood sees it, of the same shape, such as
        `layers.StochasticBinarization()`. It runs inside the compiled step. Default: a cast to floats.
      seed: integer seed of the initial weights, of all draws, and of the order of array data in `fit`.
      incomplete: whether entries of x that are NaN are taken, as missing ones: log p(x|z) leaves them out, and the
        encoder sees 0 in their place. The likelihood must be of independent entries. The bound of `ImportanceWeighted`
        is then that of Mattei & Frellsen 2019, who call it MIWAE; `objectives.MIWAE` is Rainforth's.
      skip: whether all layers of p below the top one see z_L too, concatenated to their input; latent variables then
        have one axis each.
      ladder: whether inference goes down from the top and merges what x says with p(z_l|z_{l+1}), see
        `ladder.Ladder`. Both networks have to follow one bound: no `Combined`, `PIWAE`, score or sleep of wake-sleep.
      **kwargs: as for any `keras.Model`.

    Attributes:
      data_dtype: name of the dtype of the data that the model was fitted to, which an export takes.
      guard: while a `callbacks.NonFiniteGuard` watches the training, that.
      kl_weight: scalar variable that multiplies log p(z) - log q(z|x) inside log w: 1, or less during warm-up.

    Raises:
      ValueError: if the numbers of layers differ or are 0, the event shapes of two layers do not fit, skip
        connections meet latent variables of several axes, or the objective is none for a ladder.
      TypeError: if `objective` is not an `Objective`, a layer not a Keras layer, the likelihood of incomplete data not
        of independent entries, or with a ladder a layer no `IndependentNormal`.

    References:
      Burda, Grosse & Salakhutdinov 2015, Importance Weighted Autoencoders, arXiv:1509.00519.
      Mattei & Frellsen 2019, MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets, arXiv:1812.02633.
    """

    def __init__(
        self, encoder, decoder, prior, objective=None, preprocessing=None, seed=None, incomplete=False, skip=False,
        ladder=False, **kwargs,
    ):  # fmt: skip
        super().__init__(encoder, decoder, prior, preprocessing, seed, incomplete, skip, ladder, **kwargs)
        self.objective = ImportanceWeighted(num_samples=50) if objective is None else objective
        self.kl_weight = self.add_weight(shape=(), initializer="ones", trainable=False, name="kl_weight")
        names = ("loss", "elbo", "reconstruction", "kl", "effective_sample_size")
        self.trackers = [keras.metrics.Mean(name=name) for name in names]
        self.data_dtype = self.guard = None
        if isinstance(self.decoder[-1], StochasticLayer):
            self.build((None, *self.decoder[-1].event_shape))
            self._tracker.unlock()  # for the metrics that a subclass makes in its own constructor

    @property
    def objective(self):
        """The objective; setting it keeps the weights and the optimiser's state, and compiles the steps anew."""
        return self._objective

    @objective.setter
    def objective(self, objective):
        if not isinstance(objective, Objective):
            raise TypeError(f"Expected an iwae_tf.objectives.Objective. Received: {objective!r}")
        gradients.check(self, objective)
        self._objective = objective
        self.train_function = self.test_function = None

    # ------------------------------------------------------------------------------------------ training

    def compile(self, optimizer="adam", *, jit_compile="auto", steps_per_execution="auto", run_eagerly=False, **kwargs):
        """As `keras.Model.compile`; the loss is the objective's, so there is none to pass.

        Args:
          optimizer: a Keras optimiser or its name.
          jit_compile: whether XLA compiles the steps. `"auto"` does so, on CPU and GPU, unless a layer refuses it.
          steps_per_execution: steps that run as one program, between two looks of the callbacks. `"auto"` chooses up
            to 100, see `executions.steps_per_execution`.
          run_eagerly: whether the steps run op by op, for debugging.
          **kwargs: as for `keras.Model.compile`.

        Raises:
          ValueError: if a loss or metrics are given.
        """
        for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if kwargs.get(name) is not None:
                raise ValueError(f"Expected no {name}: the loss is that of model.objective. Received: {kwargs[name]!r}")
        self._choose_steps = steps_per_execution == "auto"
        steps = 1 if self._choose_steps else check_count(steps_per_execution, "steps_per_execution")
        for program in ("likelihood_program", "imputation_program", "programs"):  # which go by jit_compile too
            self.__dict__.pop(program, None)
        super().compile(
            optimizer, jit_compile=jit_compile, steps_per_execution=steps, run_eagerly=run_eagerly, **kwargs
        )

    def _resolve_auto_jit_compile(self):  # where Keras asks for a GPU too
        return not self._distribute_strategy and all(layer.supports_jit for layer in self._flatten_layers())

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Leaves out what Keras does under a strategy: a mean over replicas, which uint8 does not have, to build."""

    def build_optimizer(self):
        """Makes the variables of the optimiser, if they are not there."""
        if not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)

    def make_train_function(self, force=False):
        self.build_optimizer()  # or the first call would trace twice
        if self.train_function is None or force:
            self.train_function = self._make_function(self.train_step, lambda: self.guard)

    def make_test_function(self, force=False):
        if self.test_function is None or force:
            self.test_function = self._make_function(self.test_step)

    def _make_function(self, step_function, guard=lambda: None):
        if self._distribute_strategy:  # whose iterators hold a part of a batch for each replica
            train = step_function == self.train_step
            return replicas.make_function(self, self.steps_per_execution, train)
        own = step_function.__func__ in (IWAE.train_step, IWAE.test_step)
        return executions.make_function(self, step_function, self.steps_per_execution, guard, keep_logs=not own)

    def make_predict_function(self, force=False):
        if getattr(self, "predict_function", None) is not None and not force:
            return
        if self._distribute_strategy:
            super().make_predict_function(force)
            return

        def predict_step(x):
            return self.predict_step((x,))

        def predict_batches(batches):
            xs = (self.admit(inputs.x_of(batch), whole=False) for batch in batches)
            run = predict_step if self.run_eagerly else compiling.compiled(self, predict_step)
            return keras.tree.map_structure(lambda *parts: tf.concat(parts, 0), *map(run, xs))

        self.predict_function = predict_batches

    @property
    def metrics(self):
        return keras.layers.Layer.metrics.fget(self)  # a model's own would ask `compile` for some

    def train_step(self, data):
        self.optimizer.apply(self.batch_gradients(data), self.trainable_variables)
        return self.get_metrics_result()

    def batch_gradients(self, data):
        """Returns the gradients of the loss of a batch for the trainable variables, and updates the metrics."""
        objective, (x, sample_weight) = self.objective, executions.unpack(self, data)
        # Of the whole batch are what a layer keeps of it (batch normalisation, say) and the KL of free bits.
        whole = self.state() or any(part.free_bits for part in (objective, objective.inference) if part)
        data = x, None, sample_weight
        shares = [data] if whole else executions.shares(data, objective.num_particles)
        parts = list(map(self._gradients, shares))
        return [tf.add_n(part) / len(part) if len(part) > 1 else part[0] for part in zip(*parts, strict=True)]

    def test_step(self, data):
        self._track(self.evaluated(data, self.next_seed()), data)
        return self.get_metrics_result()

    def evaluated(self, data, seed):
        """Computes what is logged of a batch of evaluation, a dict of `[batch]`; the weight of the KL is 1 in it."""
        objective, (x, _) = self.objective, executions.unpack(self, data)
        with self.phase(training=False):
            x, seed = self.preprocess(x, seed), random.fold_in(seed, 1)
            terms = self.terms(x, self.posterior(x), objective.num_particles, seed, objective.analytic_kl)
        return gradients.quantities(objective, terms)

    def computed(self, data, seed):
        """Computes the gradients of the loss of a batch, and what is logged of it, a dict of `[batch]`."""
        x, sample_weight = executions.unpack(self, data)
        with self.phase(training=True):
            x, seed = self.preprocess(x, seed), random.fold_in(seed, 1)
            return gradients.compute(self, self.objective, x, seed, sample_weight, self.optimizer.scale_loss)

    def _gradients(self, data):
        """Returns the gradients of the loss for the trainable variables, and updates the metrics."""
        computed, values = self.computed(data, self.next_seed())
        self._track(values, data)
        return computed

    def _track(self, values, data):
        _, sample_weight = executions.unpack(self, data)
        for tracker in self.trackers:
            tracker.update_state(values[tracker.name], sample_weight=sample_weight)

    # ------------------------------------------------------------------------------------------ data at the door

    def fit(
        self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None, validation_split=0.0,
        validation_data=None, shuffle=True, class_weight=None, sample_weight=None, initial_epoch=0,
        steps_per_epoch=None, validation_steps=None, validation_batch_size=None, validation_freq=1,
    ):  # fmt: skip
        """As `keras.Model.fit`; arrays are shuffled with the model's seed, so that the same seed repeats the run.

        Sample weights need no targets: they weight the rows in the loss, its gradient and all metrics. Targets are
        read by `class_weight` alone. Validation uses the objective's own bound, at a `kl_weight` of 1.

        With `initial_epoch` data of `iwae_tf.data` come in the order that they would have had in that epoch.

        Raises:
          ValueError: if data are not what the model was built for, hold NaN, have no end or are empty; if weights are
            negative or not one for each row; or if `validation_split` is to cut anything but arrays.
          TypeError: if the data are not numeric, or nothing that gives batches.
        """
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = feeds.split_validation((x, y, sample_weight), validation_split)
        order = (lambda: random.derive(*(int(n) & 0xFFFFFFFF for n in self.next_seed()))) if shuffle else None
        feed = feeds.make(
            self, x, y, sample_weight, batch_size, steps_per_epoch, order, bool(class_weight), "steps_per_epoch"
        )
        self._assert_compile_called("fit")
        self.data_dtype = feed.dtype or self.data_dtype
        if self._choose_steps:
            steps, every = steps_per_epoch or feed.num_batches, executions.acts_every(keras.tree.flatten(callbacks))
            self._set_steps(executions.steps_per_execution(steps, feed.batch_bytes, bool(steps_per_epoch), every))
        validation = None
        if validation_data is not None:
            (x, y, sample_weight), size = feeds.parts_of(validation_data), validation_batch_size or batch_size
            validation = feeds.make(self, x, y, sample_weight, size, validation_steps, argument="validation_steps")
            validation, validation_steps = self._whole_executions(validation, validation_steps)
        data, steps_per_epoch = self._whole_executions(feed, steps_per_epoch, class_weight, initial_epoch)
        try:
            with replicas.all_there(), hooks.around(callbacks) as watchers:
                return super().fit(
                    data, epochs=epochs, verbose=verbose, callbacks=watchers, validation_data=validation,
                    shuffle=shuffle and isinstance(data, keras.utils.PyDataset), class_weight=class_weight,
                    initial_epoch=initial_epoch, steps_per_epoch=steps_per_epoch, validation_steps=validation_steps,
                    validation_freq=validation_freq,
                )  # fmt: skip
        finally:
            self.guard = None  # after an interrupt Keras does not tell a guard that the training has ended

    def _set_steps(self, steps):
        if steps != self.steps_per_execution:
            self.steps_per_execution: int = steps
            self.train_function = self.test_function = None

    def _whole_executions(self, feed, steps, class_weight=None, first_pass=0):
        """Returns a pipeline of `data.batches` as one of whole executions, and what Keras is to take for an epoch."""
        several, x = bool(self._distribute_strategy), feed.data
        if hasattr(x, "executions") and not (steps or class_weight):
            x, steps = x.executions(1 if several else self.steps_per_execution, first_pass), feed.num_batches
        return (replicas.shared_out(x) if several and isinstance(x, tf.data.Dataset) else x), steps

    def evaluate(
        self, x=None, y=None, batch_size=None, verbose="auto", sample_weight=None, steps=None, callbacks=None,
        return_dict=False, **kwargs,
    ):  # fmt: skip
        """As `keras.Model.evaluate`; the bound is the objective's own, at a `kl_weight` of 1."""
        if not kwargs.get("_use_cached_eval_dataset"):  # of fit, which has made them a `Feed` already
            feed = feeds.make(self, x, y, sample_weight, batch_size, steps)
            self._assert_compile_called("evaluate")
            x, steps = self._whole_executions(feed, steps)
            with hooks.around(callbacks) as watchers:
                return super().evaluate(
                    x, verbose=verbose, steps=steps, callbacks=watchers, return_dict=return_dict, **kwargs
                )
        return super().evaluate(x, y, batch_size, verbose, sample_weight, steps, callbacks, return_dict, **kwargs)

    def predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
        """As `keras.Model.predict`: reconstructions, the means of p(x|z) for one z ~ q(z|x) each."""
        return super().predict(feeds.make(self, x, None, None, batch_size, steps).data, None, verbose, steps, callbacks)

    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, return_dict=False):
        """As `keras.Model.train_on_batch`."""
        x, y, sample_weight = feeds.one_batch(self, x, y, sample_weight)
        return super().train_on_batch(x, y, sample_weight, class_weight, return_dict)

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        """As `keras.Model.test_on_batch`."""
        return super().test_on_batch(*feeds.one_batch(self, x, y, sample_weight), return_dict)

    def admit(self, x, whole=True):
        """Checks data and makes them a tensor; see `inputs.admit`. A tensor of a graph has no values to check yet."""
        if tf.is_tensor(x) and not isinstance(x, tf.SparseTensor) and not hasattr(x, "numpy"):
            return x
        return tf.convert_to_tensor(inputs.admit(self, x, whole))

    # ------------------------------------------------------------------------------------------ use

    @functools.cached_property
    def likelihood_program(self):
        """The compiled function that `likelihood.estimate` runs."""
        return likelihood.program(self)

    @functools.cached_property
    def imputation_program(self):
        """The compiled function that `imputation.impute` runs."""
        return imputation.program(self)

    @functools.cached_property
    def programs(self):
        """The other compiled functions, see `compiling.compiled`."""
        return {}

    def call(self, inputs, training=None):
        return self._reconstruct(inputs, tf.zeros(2, tf.int32))

    def encode(self, x):
        """Returns q(z_1|x), a `tfd.Distribution` of batch shape `[batch]`, for x `[batch, *event_shape]`.

        With a ladder it is q(z_1|z_2, x), the layers above drawn once.
        """
        x, seed = self.admit(x), self.next_seed()
        return self.infer(self.posterior(self.preprocess(x, seed)), (), random.fold_in(seed, 1))[0][0]

    def log_weights(self, x, num_samples, seed=None):
        """Draws log w = log p(x, z) - log q(z|x) for z ~ q(z|x), in nats; `kl_weight` applies, as in training.

        Args:
          x: data `[batch, *event_shape]`, as in the training set.
          num_samples: k, samples per observation.
          seed: an integer or `int32[2]`. `None` takes the next of the model's own.

        Returns:
          `[num_samples, batch]`.

        Raises:
          ValueError: if the data are not such as the model takes, or `num_samples` is below 1.
        """
        check_count(num_samples, "num_samples")
        x, seed = self.admit(x), self.next_seed(seed)
        x = self.preprocess(x, seed)
        return self.terms(x, self.posterior(x), num_samples, random.fold_in(seed, 1)).log_weights(self.kl_weight)

    def log_likelihood(self, x, num_samples=5000, seed=None):
        """Estimates log p(x) by L_k with k = `num_samples`, in nats; see `likelihood.estimate`.

        Args:
          x: data `[batch, *event_shape]`, as in the training set.
          num_samples: k, samples per observation; memory does not grow with it.
          seed: an integer or `int32[2]`. `None` takes the next of the model's own.

        Returns:
          `[batch]`.

        Raises:
          ValueError: if the data are not such as the model takes, or `num_samples` is below 1.
        """
        return likelihood.estimate(self, x, num_samples, seed).log_likelihood

    def impute(self, x, num_samples=1000, seed=None):
        """Fills the missing entries of x with estimates of their mean given the others; see `imputation.impute`.

        Args:
          x: data `[batch, *event_shape]`, as in the training set; NaN where an entry is missing.
          num_samples: samples per observation; memory does not grow with it.
          seed: an integer or `int32[2]`. `None` takes the next of the model's own.

        Returns:
          `[batch, *event_shape]`, the entries of x that are there untouched.

        Raises:
          ValueError: if the data are not such as the model takes, or `num_samples` is below 1.
        """
        return imputation.impute(self, x, num_samples, seed)

    def reconstruct(self, x, seed=None):
        """Reconstructs x: means of p(x|z_1) for one z_1 ~ q(z_1|x) each, `[batch, *event_shape]`."""
        return self._reconstruct(self.admit(x), self.next_seed(seed))

    def _reconstruct(self, x, seed):
        return self.reconstruction(self.preprocess(x, seed), random.fold_in(seed, 1))

    def reconstruction(self, x, seed):
        """Returns the mean of p(x|z_1) for one z_1 ~ q(z_1|x) each, for x as the likelihood sees it."""
        _, z = self.infer(self.posterior(x), (), seed)
        return self.generate(0, z[0], z[-1]).mean()

    # ------------------------------------------------------------------------------------------ saving

    def get_config(self):
        objective = keras.saving.serialize_keras_object(self.objective)
        return {**super().get_config(), "objective": objective, "data_dtype": self.data_dtype}

    @classmethod
    def from_config(cls, config):
        data_dtype = config.pop("data_dtype", None)
        names = ("encoder", "decoder", "prior", "objective", "preprocessing")
        model = cls(**{k: keras.saving.deserialize_keras_object(v) if k in names else v for k, v in config.items()})
        model.data_dtype = data_dtype
        return model

    def save(self, filepath, overwrite=True, zipped=None, **kwargs):
        """As `keras.Model.save`, in Keras' own format.

        Raises:
          ValueError: if the name ends in something else than `.keras`: HDF5 cannot hold what it takes to load a model.
        """
        if not str(filepath).endswith(".keras"):
            raise ValueError(f"Expected a path that ends in .keras. Received: {filepath}")
        super().save(filepath, overwrite, zipped, **kwargs)

    def export(self, *args, **kwargs):
        """Points to `iwae_tf.export`, whose SavedModel has an endpoint for each use.

        Raises:
          NotImplementedError: always.
        """
        raise NotImplementedError("Expected iwae_tf.export(model, path), which writes every endpoint. Received: export")

    def get_compile_config(self):
        config = super().get_compile_config()
        # A choice, not what was chosen: a reloaded model would run one step at a time.
        return {**config, "steps_per_execution": "auto"} if config and self._choose_steps else config

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)
