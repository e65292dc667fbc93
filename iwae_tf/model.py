"""The model: an importance-weighted autoencoder as a Keras model."""

import functools
import inspect
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from iwae_tf import intake, likelihood, random
from iwae_tf.data import batches
from iwae_tf.layers.base import StochasticLayer, emit
from iwae_tf.log_weights import effective_sample_size
from iwae_tf.objectives import ImportanceWeighted, Objective
from iwae_tf.objectives.base import check_count


class Terms(NamedTuple):
    """The two parts of log w, each `[k, batch]`, in nats."""

    reconstruction: tf.Tensor  # log p(x|z_1)
    kl: tf.Tensor  # log q(z|x) - log p(z), whose mean under q is KL(q || p)

    def log_weights(self, kl_weight=1.0):
        """Returns log w, its second part multiplied by `kl_weight`."""
        return self.reconstruction - kl_weight * self.kl


@keras.saving.register_keras_serializable(package="iwae_tf")
class IWAE(keras.Model):
    """A deep latent-variable model trained by a multi-sample bound.

    The generative network is p(z_L) p(z_{L-1}|z_L) ... p(x|z_1), the inference network q(z_1|x) ... q(z_L|z_{L-1}).
    With the default objective a training step minimises -(logsumexp_i log w_i - log k), averaged over the batch.

    `fit`, `evaluate` and `predict` take what they take in any Keras model: arrays, `tf.data` datasets of x or of
    tuples that begin with x (targets are not used), sample weights. They log `loss` (the negative bound of the
    objective), `elbo`, `reconstruction` (E log p(x|z)) and `kl`, in nats, and `effective_sample_size`.
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
      **kwargs: as for any `keras.Model`.

    Attributes:
      data_dtype: name of the dtype of the data that the model was given last, which an export takes.
      kl_weight: scalar variable that multiplies log p(z) - log q(z|x) inside log w: 1, or less during warm-up.

    Raises:
      ValueError: if the numbers of layers differ or are 0, or the event shapes of two layers do not fit.
      TypeError: if `objective` is not an `Objective`, or a layer not a Keras layer.

    References:
      Burda, Grosse & Salakhutdinov 2015, Importance Weighted Autoencoders, arXiv:1509.00519.
    """

    def __init__(self, encoder, decoder, prior, objective=None, preprocessing=None, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.autocast = False  # a low-precision policy is for matrix products, not for the data
        self.encoder, self.decoder = list(encoder), list(decoder)
        self.prior = prior
        self.preprocessing = preprocessing
        self.objective = ImportanceWeighted(num_samples=50) if objective is None else objective
        self.seed = seed
        if not self.encoder or len(self.encoder) != len(self.decoder):
            raise ValueError(
                "Expected as many encoder as decoder layers, at least one. "
                f"Received: {len(self.encoder)} encoder and {len(self.decoder)} decoder layers"
            )
        for i, layer in enumerate((*self.encoder, *self.decoder, self.prior)):
            if not isinstance(layer, keras.layers.Layer):
                raise TypeError(f"Expected a Keras layer that returns a tfd.Distribution. Received: {layer!r}")
            if isinstance(layer, StochasticLayer) and layer.seed is None:
                layer.seed = random.derive(seed, i)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.kl_weight = self.add_weight(shape=(), initializer="ones", trainable=False, name="kl_weight")
        names = ("loss", "elbo", "reconstruction", "kl", "effective_sample_size")
        self._trackers = [keras.metrics.Mean(name=name) for name in names]
        self.data_dtype = None
        if isinstance(self.decoder[-1], StochasticLayer):
            self.build((None, *self.decoder[-1].event_shape))

    # ------------------------------------------------------------------------------------------ the architecture

    @property
    def objective(self):
        """The objective; setting it keeps the weights and the optimiser's state, and compiles the steps anew."""
        return self._objective

    @objective.setter
    def objective(self, objective):
        if not isinstance(objective, Objective):
            raise TypeError(f"Expected an iwae_tf.objectives.Objective. Received: {objective!r}")
        self._objective = objective
        self.train_function = self.test_function = None

    @property
    def event_shape(self):
        """Shape of one observation."""
        return self._event_shapes[0]

    @property
    def latent_shapes(self):
        """Event shapes of z_1, ..., z_L."""
        return self._event_shapes[1:]

    def build(self, input_shape):
        """Makes all weights, and checks that what each layer emits is what its neighbours expect."""

        def emitted(layer, shape):
            if not isinstance(layer, StochasticLayer):
                return tuple(emit(layer, tf.zeros([1, *shape]), len(shape)).event_shape)
            if not layer.built:
                layer.build((None, *shape))
            return layer.event_shape

        with tf.init_scope():
            shapes = [tuple(input_shape[1:])]  # of x, z_1, ..., z_L
            for layer in self.encoder:
                shapes.append(emitted(layer, shapes[-1]))
            generated = [tuple(self.prior().event_shape)]  # of z_L, ..., z_1, x
            for layer, above in zip(self.decoder, reversed(shapes[1:]), strict=True):
                generated.append(emitted(layer, above))
        if shapes != generated[::-1]:
            raise ValueError(
                "Expected data, encoder, decoder and prior to agree on the event shapes of x, z_1, ..., z_L. "
                f"Received: {shapes} from the data and the encoder, {generated[::-1]} from the decoder and the prior"
            )
        self._event_shapes = shapes

    def posterior(self, x):
        """Returns q(z_1|x) for x as the likelihood sees it."""
        return emit(self.encoder[0], x, len(self.event_shape))

    def infer(self, posterior, num_samples, seed):
        """Samples z_1, ..., z_L ~ q(z|x), layer by layer.

        Args:
          posterior: q(z_1|x), taken rather than made so that any number of draws share one encoding of x.
          num_samples: samples per observation, or `()` for one without a sample axis.
          seed: `int32[2]`.

        Returns:
          The distributions q(z_1|x), ..., q(z_L|z_{L-1}) and the list of z, each `[num_samples, batch, *event]`.
        """
        posteriors, z = [posterior], [posterior.sample(num_samples, seed=random.fold_in(seed, 0))]
        for i, layer in enumerate(self.encoder[1:], start=1):
            posteriors.append(emit(layer, z[-1], len(self._event_shapes[i])))
            z.append(posteriors[-1].sample(seed=random.fold_in(seed, i)))
        return posteriors, z

    def _held_posteriors(self, x, z):
        """The distributions of `infer` given z, their parameters held fixed while the gradient reaches z."""

        def call(layer, inputs):
            weights = [[tf.stop_gradient(v) for v in layer.trainable_variables], layer.non_trainable_variables]
            return layer.stateless_call(*weights, inputs)[0]

        return [
            emit(layer, inputs, len(shape), call=functools.partial(call, layer))
            for layer, inputs, shape in zip(self.encoder, [x, *z], self._event_shapes, strict=False)
        ]

    def _generative(self, z):
        """The distributions p(x|z_1), p(z_1|z_2), ..., p(z_L)."""
        layers = zip(reversed(self.decoder), z, self._event_shapes[1:], strict=True)
        return [*(emit(layer, z_l, len(shape)) for layer, z_l, shape in layers), self.prior()]

    def _score(self, x, z, posteriors, analytic_kl=False):
        """Scores given z under p and q; `analytic_kl` takes the expectation of the top layer's part."""
        observation, *priors = self._generative(z)
        kl = [q.log_prob(z_l) - p.log_prob(z_l) for q, p, z_l in zip(posteriors, priors, z, strict=True)]
        reconstruction = observation.log_prob(x)
        if analytic_kl:
            kl[-1] = tf.broadcast_to(posteriors[-1].kl_divergence(priors[-1]), tf.shape(reconstruction))
        return Terms(reconstruction, tf.add_n(kl))

    def terms(self, x, posterior, num_samples, seed, analytic_kl=False):
        """Samples z ~ q(z|x) and scores it; x as the likelihood sees it, `posterior` is q(z_1|x). Returns `Terms`."""
        posteriors, z = self.infer(posterior, num_samples, seed)
        return self._score(x, z, posteriors, analytic_kl)

    def preprocess(self, x, seed):
        """Returns x as the likelihood sees it in a call with this seed (`int32[2]`)."""
        if self.preprocessing is None:
            return tf.cast(x, self.dtype_policy.variable_dtype)
        if "seed" in inspect.signature(self.preprocessing.call).parameters:
            return self.preprocessing(x, seed=random.fold_in(seed, 0))
        return self.preprocessing(x)

    # ------------------------------------------------------------------------------------------ training

    def compile(self, optimizer="adam", **kwargs):
        """As `keras.Model.compile`; the loss is the objective's, so there is none to pass.

        Raises:
          ValueError: if a loss or metrics are given.
        """
        for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if kwargs.get(name) is not None:
                raise ValueError(f"Expected no {name}: the loss is that of model.objective. Received: {kwargs[name]!r}")
        super().compile(optimizer, **kwargs)

    @property
    def metrics(self):
        return self._trackers

    def train_step(self, data):
        gradients, logs = self._gradients(data)
        self.optimizer.apply(gradients, self.trainable_variables)
        return logs

    def test_step(self, data):
        x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        seed, objective = self.next_seed(), self.objective
        x = self.preprocess(x, seed)
        terms = self.terms(
            x, self.posterior(x), objective.num_particles, random.fold_in(seed, 1), objective.analytic_kl
        )
        return self._loss(terms, sample_weight)[1]

    def _gradients(self, data):
        """Returns the gradients of the loss for the trainable variables, and the logs."""
        x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        seed, objective, variables = self.next_seed(), self.objective, self.trainable_variables
        x = self.preprocess(x, seed)
        hold = objective.path_weights is not None
        with tf.GradientTape(persistent=hold) as tape:
            posteriors, sampled = self.infer(self.posterior(x), objective.num_particles, random.fold_in(seed, 1))
            z = sampled
            if hold:
                z = [tf.stop_gradient(z_l) for z_l in sampled]
                tape.watch(z)
                posteriors = self._held_posteriors(x, z)
            terms = self._score(x, z, posteriors, objective.analytic_kl)
            loss, logs = self._loss(terms, sample_weight)
            loss = self.optimizer.scale_loss(loss)
        if not hold:
            return tape.gradient(loss, variables), logs
        # One backward pass through scoring serves both networks: what arrives at z is weighted, sample by sample,
        # and sent on through the sampling chain to the inference network.
        direct, arriving = tape.gradient(loss, [variables, z])
        factors = objective.path_weights(terms.log_weights(self.kl_weight * objective.kl_weight))
        arriving = [g * factors[(..., *[tf.newaxis] * (g.shape.rank - 2))] for g in arriving]
        path = tape.gradient(sampled, variables, output_gradients=arriving)
        return [b if a is None else a if b is None else a + b for a, b in zip(direct, path, strict=True)], logs

    def _loss(self, terms, sample_weight):
        """Returns the loss, a scalar, and the logs, for which the metrics have been updated."""
        log_weights = terms.log_weights(self.kl_weight * self.objective.kl_weight)
        values = {
            "loss": -self.objective.bound(log_weights),
            "elbo": tf.reduce_mean(terms.log_weights(), axis=0),
            "reconstruction": tf.reduce_mean(terms.reconstruction, axis=0),
            "kl": tf.reduce_mean(terms.kl, axis=0),
            "effective_sample_size": effective_sample_size(log_weights),
        }
        for tracker in self._trackers:
            tracker.update_state(values[tracker.name], sample_weight=sample_weight)
        loss = values["loss"]
        if sample_weight is not None:
            loss *= tf.cast(sample_weight, loss.dtype)
        return tf.add_n([tf.reduce_mean(loss), *self.losses]), {m.name: m.result() for m in self._trackers}

    # ------------------------------------------------------------------------------------------ data at the door

    def fit(
        self, x=None, y=None, batch_size=None, *, validation_split=0.0, validation_data=None, shuffle=True,
        sample_weight=None, **kwargs,
    ):  # fmt: skip
        """As `keras.Model.fit`; arrays are shuffled with the model's seed, so that the same seed repeats the run."""
        self._admit(x)
        if validation_split and validation_data is None and intake.is_array(x):
            (x, y, sample_weight), validation_data = intake.split_validation((x, y, sample_weight), validation_split)
        if validation_data is not None:
            self._admit(validation_data)
        if shuffle and intake.is_array(x):
            seed = random.derive(*(int(n) & 0xFFFFFFFF for n in self.next_seed()))
            x, y, sample_weight = batches((x, y, sample_weight), batch_size or 32, seed), None, None
            validation_batch_size = kwargs.pop("validation_batch_size", None) or batch_size
            kwargs, batch_size = {**kwargs, "validation_batch_size": validation_batch_size}, None
        return super().fit(
            x, y, batch_size, validation_data=validation_data, shuffle=False, sample_weight=sample_weight, **kwargs
        )

    def evaluate(self, x=None, *args, **kwargs):
        """As `keras.Model.evaluate`."""
        if not kwargs.get("_use_cached_eval_dataset"):  # fit has looked at its validation data already
            self._admit(x)
        return super().evaluate(x, *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        """As `keras.Model.predict`: reconstructions, the means of p(x|z) for one z ~ q(z|x) each."""
        self._admit(x)
        return super().predict(x, *args, **kwargs)

    def _admit(self, data):
        """Raises a clear error for data that the model cannot take, and notes the dtype that data come in."""
        x = intake.first_x(data)
        if x is None:
            return
        if not self.built:
            self.build((None, *x.shape[1:]))
        intake.check(x, self.event_shape, self.preprocessing or self.decoder[-1])
        self.data_dtype = "float32" if x.dtype.kind == "f" else x.dtype.name

    def admit(self, x):
        """Admits a batch and makes it a tensor; one of a graph passes, since it has no values to look at yet."""
        if tf.is_tensor(x) and not hasattr(x, "numpy"):
            return x
        self._admit(np.asarray(x))
        return tf.convert_to_tensor(x, self.data_dtype)

    # ------------------------------------------------------------------------------------------ use

    def next_seed(self, seed=None):
        """Returns `seed` as a stateless seed, or for `None` the next of the model's own."""
        return random.next_seed(self.seed_generator) if seed is None else random.as_seed(seed)

    @functools.cached_property
    def likelihood_program(self):
        """The compiled function that `likelihood.estimate` runs."""
        return likelihood.program(self)

    def call(self, inputs, training=None):
        return self._reconstruct(inputs, tf.zeros(2, tf.int32))

    def encode(self, x):
        """Returns q(z_1|x), a `tfd.Distribution` of batch shape `[batch]`, for x `[batch, *event_shape]`."""
        return self.posterior(self.preprocess(self.admit(x), self.next_seed(None)))

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

    def sample(self, n, seed=None):
        """Draws n observations from the model: means of p(x|z_1) for z ~ p(z), `[n, *event_shape]`."""
        seed = self.next_seed(seed)
        if not tf.is_tensor(n):
            check_count(n, "n")
        z = self.prior().sample(n, seed=random.fold_in(seed, 0))
        for i, (layer, shape) in enumerate(zip(self.decoder, self._event_shapes[:0:-1], strict=True), start=1):
            p = emit(layer, z, len(shape))
            z = p.sample(seed=random.fold_in(seed, i)) if i < len(self.decoder) else p.mean()
        return z

    def reconstruct(self, x, seed=None):
        """Reconstructs x: means of p(x|z_1) for one z_1 ~ q(z_1|x) each, `[batch, *event_shape]`."""
        return self._reconstruct(self.admit(x), self.next_seed(seed))

    def _reconstruct(self, x, seed):
        x = self.preprocess(x, seed)
        z = self.posterior(x).sample(seed=random.fold_in(seed, 1))
        return emit(self.decoder[-1], z, len(self._event_shapes[1])).mean()

    # ------------------------------------------------------------------------------------------ saving

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        parts = ("prior", "objective", "preprocessing")
        return {
            **super().get_config(),
            "encoder": [serialize(layer) for layer in self.encoder],
            "decoder": [serialize(layer) for layer in self.decoder],
            **{name: serialize(getattr(self, name)) for name in parts},
            "seed": self.seed,
            "data_dtype": self.data_dtype,
        }

    @classmethod
    def from_config(cls, config):
        data_dtype = config.pop("data_dtype", None)
        names = ("encoder", "decoder", "prior", "objective", "preprocessing")
        model = cls(**{k: keras.saving.deserialize_keras_object(v) if k in names else v for k, v in config.items()})
        model.data_dtype = data_dtype
        return model

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def save_own_variables(self, store):
        # Keras does not save the state of seed generators; without it a reloaded model would repeat its draws.
        super().save_own_variables(store)
        store["seed_state"] = self.seed_generator.state.numpy()

    def load_own_variables(self, store):
        super().load_own_variables({name: store[name] for name in store.keys() - {"seed_state"}})
        self.seed_generator.state.assign(store["seed_state"])
