"""The two networks over z_1, ..., z_L: sampling from q, scoring under p and q, and nothing of training."""

import contextlib
import functools
import inspect
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from iwae_tf import random
from iwae_tf.checks import check_count
from iwae_tf.hierarchy import summary
from iwae_tf.hierarchy.bottom_up import BottomUp, draw_from, emitted_shape
from iwae_tf.hierarchy.ladder import Ladder
from iwae_tf.layers import rules
from iwae_tf.layers.missing import leave_out_missing
from iwae_tf.layers.observation import is_all_of
from iwae_tf.log_weights import batch_mean


class Terms(NamedTuple):
    """The parts of log w, each `[k, batch]`, in nats."""

    reconstruction: tf.Tensor  # log p(x|z_1)
    kl_of_layers: list[tf.Tensor]  # log q(z_l|z_{l-1}) - log p(z_l|z_{l+1}), for l = 1, ..., L
    log_posterior: tf.Tensor  # log q(z|x)

    @property
    def kl(self):
        """Returns log q(z|x) - log p(z), whose mean under q is KL(q || p)."""
        return tf.add_n(self.kl_of_layers)

    def log_weights(self, kl_weight=1.0, free_bits=0.0):
        """Returns log w, log q - log p in it multiplied by `kl_weight`.

        With `free_bits` the part of a layer whose mean, over samples and batch, is less counts as that many nats, and
        gives no gradient.
        """
        kl = self.kl_of_layers
        if free_bits:
            kl = [tf.where(batch_mean(part) > free_bits, part, free_bits) for part in kl]
        return self.reconstruction - kl_weight * tf.add_n(kl)


def in_phase(method):
    """Makes a method call layers as outside of training, unless an enclosing `Hierarchy.phase` says otherwise.

    Without a phase, Keras' augmentation layers assume that they are in training.
    """

    @functools.wraps(method)
    @tf.autograph.experimental.do_not_convert
    def run(self, *args, **kwargs):
        with self.phase(None):
            return method(self, *args, **kwargs)

    return run


class Hierarchy(keras.Model):
    """A generative network p(z_L) ... p(x|z_1) and an inference network, such as q(z_1|x) ... q(z_L|z_{L-1}).

    Sampling a chain and scoring it are kept apart, so that an estimator can stop or weight what passes between them.
    Data go through `preprocess` first; all other methods take x as the likelihood sees it. For the arguments and
    errors see `IWAE`, which trains it.
    """

    def __init__(
        self, encoder, decoder, prior, preprocessing=None, seed=None, incomplete=False, skip=False, ladder=False,
        **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.autocast = False  # a low-precision policy is for matrix products, not for the data
        self.encoder, self.decoder = list(encoder), list(decoder)
        self.prior = prior
        self.preprocessing = preprocessing
        seed = None if seed is None else int(seed)
        self.seed, self.incomplete, self.skip, self.ladder = seed, incomplete, skip, ladder
        if not self.encoder or len(self.encoder) != len(self.decoder):
            raise ValueError(
                "Expected as many encoder as decoder layers, at least one. "
                f"Received: {len(self.encoder)} encoder and {len(self.decoder)} decoder layers"
            )
        for i, layer in enumerate(self._networks()):
            if not isinstance(layer, keras.layers.Layer):
                raise TypeError(f"Expected a Keras layer that returns a tfd.Distribution. Received: {layer!r}")
            if getattr(layer, "seed", 0) is None:
                layer.seed = random.derive(seed, i)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self._inference = Ladder(self) if ladder else BottomUp(self)

    def next_seed(self, seed=None):
        """Returns `seed` as a stateless seed, or for `None` the next of the model's own."""
        return random.next_seed(self.seed_generator) if seed is None else random.as_seed(seed)

    @property
    def admits_missing(self):
        """Whether entries of x may be NaN, which stands for missing."""
        return self.incomplete or getattr(self.decoder[-1], "admits_missing", False)

    @functools.cached_property
    def reads_missing(self):
        """Whether the encoder returns finite numbers for an observation that is missing altogether."""
        with tf.init_scope():
            nothing = tf.fill([1, *self.event_shape], float("nan"))
            _, z = self.infer(self.posterior(nothing), (), tf.zeros(2, tf.int32))
            return bool(np.isfinite(z[0]).all())

    @property
    def event_shape(self):
        """Shape of one observation."""
        return self._shapes()[0]

    @property
    def latent_shapes(self):
        """Event shapes of z_1, ..., z_L."""
        return self._shapes()[1:]

    def _shapes(self):
        if not self.built:
            raise ValueError(
                "Expected a model that is built: call it on data, or `build`, first. Received: an unbuilt one"
            )
        return self._event_shapes

    def state(self):
        """Returns the variables that a call of q, p or the prior changes: moving averages and seeds of noise."""
        parts = {id(part): part for layer in self._networks() for part in layer._flatten_layers()}
        return [
            variable
            for part in parts.values()
            for variable in (*part._non_trainable_variables, *(seed.state for seed in part._seed_generators))
        ]

    def _networks(self):
        return *self.encoder, *self.decoder, self.prior

    @contextlib.contextmanager
    def phase(self, training):
        """Calls layers within the context as in training or as outside of it, as `call(training=)` would.

        Args:
          training: a bool. `None` keeps the phase of an enclosing context; without one it is `False`.
        """
        context = self._get_call_context()
        outer = getattr(context, "training", None)
        context.training = bool(outer) if training is None else training
        try:
            yield
        finally:
            context.training = outer
            if outer is None:  # otherwise the context belongs to an enclosing phase
                self._maybe_reset_call_context()

    def build(self, input_shape):
        """Makes all weights, and checks that what each layer emits is what its neighbours expect."""
        with tf.init_scope():
            shapes = [tuple(input_shape[1:]), *self._inference.build(tuple(input_shape[1:]))]  # of x, z_1, ..., z_L
            if hasattr(self.prior, "attach"):  # a prior that is made of the top layer of the encoder
                if self.ladder and len(self.encoder) > 1:
                    raise ValueError(
                        "Expected another prior with ladder=True, where the top layer of the encoder reads no z_{L-1}. "
                        f"Received: {self.prior!r}"
                    )
                self.prior.attach(self.encoder[-1], shapes[-2])
            generated = [tuple(self.prior().event_shape)]  # of z_L, ..., z_1, x
            if self.skip and any(len(shape) != 1 for shape in shapes[1:]):
                raise ValueError(f"Expected latent variables of one axis with skip=True. Received: {shapes[1:]}")
            for layer, above in zip(self.decoder, reversed(shapes[1:]), strict=True):
                skipped = shapes[-1] if self.skip and len(generated) > 1 else ()
                generated.append(emitted_shape(layer, (sum(above + skipped),) if skipped else above))
        if shapes != generated[::-1]:
            raise ValueError(
                "Expected data, encoder, decoder and prior to agree on the event shapes of x, z_1, ..., z_L. "
                f"Received: {shapes} from the data and the encoder, {generated[::-1]} from the decoder and the prior"
            )
        self._event_shapes, self.built = shapes, True
        if self.incomplete:  # or the error of a likelihood that cannot be would come with the data only
            with tf.init_scope():
                self.generative([tf.zeros([1, *shape]) for shape in shapes[1:]])

    def summary(self, line_length=None, positions=None, print_fn=None, **kwargs):
        """Prints a table of the stochastic layers and their distributions, see `summary.table`.

        Args:
          line_length: as for `keras.Model.summary`, whose own table follows if any of its options is given.
          positions: likewise.
          print_fn: function of a text to call instead of `print`.
          **kwargs: as for `keras.Model.summary`.
        """
        (print_fn or print)(summary.text(self))
        if line_length or positions or kwargs:
            super().summary(line_length, positions, print_fn, **kwargs)

    def __repr__(self):
        known = f"event_shape={self.event_shape}, latent_shapes={self.latent_shapes}, " if self.built else ""
        return f"<{type(self).__name__} name={self.name}, {known}built={self.built}>"

    @in_phase
    def posterior(self, x, hold=False):
        """Returns what of q(z|x) depends on x alone, for x as the likelihood sees it.

        That is q(z_1|x), or for a ladder the list of Gaussians that it merges on its way down. Of an incomplete x the
        encoder sees 0 where there is nothing.
        """
        if self.incomplete:
            x = tf.where(tf.math.is_nan(x), tf.zeros_like(x), x)
        return self._inference.posterior(x, hold)

    @in_phase
    def infer(self, posterior, num_samples, seed, change=None):
        """Samples z_1, ..., z_L ~ q(z|x), layer by layer.

        Args:
          posterior: what `posterior` returns, taken so that any number of draws share one encoding of x.
          num_samples: samples per observation, or `()` for one without a sample axis.
          seed: `int32[2]`.
          change: a function of l - 1 and the sampled z_l to what takes its place. `None` takes it as it is.

        Returns:
          The distributions of z_1, ..., z_L given what they depend on, and the list of z, each
          `[num_samples, batch, *event]`.
        """
        posteriors, z = [None] * len(self.encoder), [None] * len(self.encoder)
        for i in self._inference.order:
            posteriors[i] = self._inference.conditional(i, posterior, z)
            drawn = posteriors[i].sample(num_samples, seed=random.fold_in(seed, i))
            z[i] = drawn if change is None else change(i, drawn)
            num_samples = ()  # which the first draw has brought in
        return posteriors, z

    @in_phase
    def posteriors(self, x, z, hold=False):
        """Returns the distributions of `infer` given z; with `hold` no gradient reaches their own weights."""
        posterior = self.posterior(x, hold)
        return [self._inference.conditional(i, posterior, z, hold) for i in range(len(z))]

    @in_phase
    def generate(self, level, above, top, hold=False):
        """Returns one distribution of the generative network.

        Args:
          level: l for p(z_l|z_{l+1}), 0 for p(x|z_1).
          above: z_{l+1}, `[..., *event]`.
          top: z_L, which with skip connections all layers see but the top one.
          hold: whether the layer's own weights get no gradient.
        """
        if self.skip and level < len(self.decoder) - 1:
            above = tf.concat([above, top], axis=-1)
        return draw_from(self.decoder[-1 - level], above, len(self.latent_shapes[level]), hold)

    @in_phase
    def generative(self, z):
        """Returns the distributions p(x|z_1), p(z_1|z_2), ..., p(z_L)."""
        observation, *priors = (self.generate(level, above, z[-1]) for level, above in enumerate(z))
        if self.incomplete and not getattr(self.decoder[-1], "admits_missing", False):
            observation = leave_out_missing(observation)
        return [observation, *priors, self.prior()]

    def score(self, x, z, posteriors, analytic_kl=False):
        """Scores given z under p and q; `analytic_kl` takes the expectation of the top layer's part."""
        observation, *priors = self.generative(z)
        log_q = [q.log_prob(z_l) for q, z_l in zip(posteriors, z, strict=True)]
        kl = [log_q_l - p.log_prob(z_l) for log_q_l, p, z_l in zip(log_q, priors, z, strict=True)]
        reconstruction = observation.log_prob(x)
        if analytic_kl:
            try:
                expected = posteriors[-1].kl_divergence(priors[-1])
            except NotImplementedError as error:
                raise ValueError(
                    "Expected a posterior and a prior whose KL has a closed form, which analytic_kl=True asks for. "
                    f"Received: {type(posteriors[-1]).__name__} and {type(priors[-1]).__name__}"
                ) from error
            kl[-1] = tf.broadcast_to(expected, tf.shape(reconstruction))
        return Terms(reconstruction, kl, tf.add_n(log_q))

    def terms(self, x, posterior, num_samples, seed, analytic_kl=False):
        """Samples z ~ q(z|x) and scores it; x as the likelihood sees it. Returns `Terms`."""
        posteriors, z = self.infer(posterior, num_samples, seed)
        return self.score(x, z, posteriors, analytic_kl)

    def rules(self, x):
        """Yields the rules that data must satisfy before the preprocessing; see `layers.rules`."""
        if self.admits_missing and not self.reads_missing:
            yield rules.finite(x)
        yield from self._rules_of(self.preprocessing or self.decoder[-1], x)

    def _rules_of(self, layer, x):
        values = layer.rules(x) if hasattr(layer, "rules") else [rules.finite(x)]
        return rules.admit_missing(values) if self.admits_missing else values

    def asserted(self, x):
        """Returns data that have not been checked yet, once assertions on all of their rows have passed."""
        return rules.asserted(x, self.rules(x))

    def preprocess_checked(self, x, seed):
        """Preprocesses data and asserts that the result is valid, unless it cannot be otherwise."""
        x = self.preprocess(x, seed)
        return rules.asserted(x, self._rules_of(self.decoder[-1], x)) if self.doubts_preprocessing else x

    @property
    def doubts_preprocessing(self):
        """Whether valid data may become invalid by the preprocessing, so that they are to be checked after it too."""
        support = getattr(self.preprocessing, "support", None)
        return self.preprocessing is not None and not (support and is_all_of(self.decoder[-1], support))

    @in_phase
    def preprocess(self, x, seed):
        """Returns x as the likelihood sees it in a call with this seed (`int32[2]`); what is missing stays so."""
        x = tf.convert_to_tensor(x)
        if not (x.dtype.is_floating and self.admits_missing):
            return self._preprocessed(x, seed)
        missing = tf.math.is_nan(x)
        processed = self._preprocessed(tf.where(missing, tf.zeros_like(x), x), seed)
        return tf.where(missing, tf.constant(float("nan"), processed.dtype), processed)

    def _preprocessed(self, x, seed):
        dtype = self.dtype_policy.variable_dtype
        if self.preprocessing is None:
            return tf.cast(x, dtype)
        if "seed" in inspect.signature(self.preprocessing.call).parameters:
            return self.preprocessing(x, seed=random.fold_in(seed, 0))
        return tf.cast(self.preprocessing(x), dtype)

    @in_phase
    def descend(self, n, seed):
        """Samples z_L, ..., z_1 ~ p(z), layer by layer.

        Args:
          n: number of chains, an integer or a scalar tensor.
          seed: `int32[2]`.

        Returns:
          The distribution p(x|z_1) and the list of z_1, ..., z_L, each `[n, *event]`.
        """
        z = [self.prior().sample(n, seed=random.fold_in(seed, 0))]
        for level in reversed(range(1, len(self.decoder))):
            p = self.generate(level, z[0], z[-1])
            z.insert(0, p.sample(seed=random.fold_in(seed, len(self.decoder) - level)))
        return self.generate(0, z[0], z[-1]), z

    def sample(self, n, seed=None):
        """Draws n observations from the model: means of p(x|z_1) for z ~ p(z), `[n, *event_shape]`."""
        if not tf.is_tensor(n):
            check_count(n, "n")
        return self.descend(n, self.next_seed(seed))[0].mean()

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "encoder": [serialize(layer) for layer in self.encoder],
            "decoder": [serialize(layer) for layer in self.decoder],
            "prior": serialize(self.prior),
            "preprocessing": serialize(self.preprocessing),
            "seed": self.seed,
            "incomplete": self.incomplete,
            "skip": self.skip,
            "ladder": self.ladder,
        }

    def save_own_variables(self, store):
        # Keras does not save the state of seed generators; without it a reloaded model would repeat its draws.
        super().save_own_variables(store)
        store["seed_state"] = self.seed_generator.state.numpy()

    def load_own_variables(self, store):
        super().load_own_variables({name: store[name] for name in store.keys() - {"seed_state"}})
        self.seed_generator.state.assign(store["seed_state"])
