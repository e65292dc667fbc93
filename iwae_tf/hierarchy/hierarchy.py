"""The two networks over z_1, ..., z_L: sampling from q, and scoring under p and q."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf import random
from iwae_tf.data.observation_model import ObservationModel, in_phase
from iwae_tf.hierarchy import summary
from iwae_tf.hierarchy.bottom_up import BottomUp, build_layer, call_layer
from iwae_tf.hierarchy.ladder import Ladder
from iwae_tf.hierarchy.terms import Terms
from iwae_tf.layers.discrete import is_discrete
from iwae_tf.layers.missing import ignore_missing
from iwae_tf.layers.normal import as_normal
from iwae_tf.layers.observation import Observed, log_prob_of

#: A function from the number of a layer (0 for z_1) and the z drawn for it to the z that takes its place.
Intervention = Callable[[int, tf.Tensor], tf.Tensor]


class Hierarchy(ObservationModel):
    """A generative network p(z_L) ... p(x|z_1) and an inference network, by default q(z_1|x) ... q(z_L|z_{L-1}).

    Sampling and scoring are separate, so that a gradient estimator can stop or weight what passes between them. Raw
    data go through `preprocess` first; all other methods take x as the likelihood sees it. `IWAE`, the model that is
    trained, documents the arguments and errors.
    """

    def __init__(
        self,
        encoder: Sequence[keras.layers.Layer],
        decoder: Sequence[keras.layers.Layer],
        prior: keras.layers.Layer,
        skip: bool = False,
        ladder: bool = False,
        baseline: keras.layers.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.encoder, self.decoder, self.prior = list(encoder), list(decoder), prior
        self.skip, self.ladder = skip, ladder
        if not self.encoder or len(self.encoder) != len(self.decoder):
            raise ValueError(
                "Expected as many encoder as decoder layers, at least one. "
                f"Received: {len(self.encoder)} encoder and {len(self.decoder)} decoder layers"
            )
        self._adopt(self._networks(), "Expected a Keras layer that returns a tfd.Distribution.")
        self._inference = Ladder(self) if ladder else BottomUp(self)
        if not isinstance(baseline, (keras.layers.Layer, type(None))):
            raise TypeError(f"Expected baseline to be a Keras layer. Received: {baseline!r}")
        if baseline is not None and getattr(baseline, "seed", 0) is None:
            baseline.seed = random.derive(self.seed, len(self._networks()))
        self.baseline = baseline

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self._shapes()[0]

    @property
    def latent_shapes(self) -> list[tuple[int, ...]]:
        """Event shapes of z_1, ..., z_L."""
        return self._shapes()[1:]

    def _shapes(self) -> list[tuple[int, ...]]:
        if not self.built:
            raise ValueError(
                "Expected a model that is built: call it on data, or `build`, first. Received: an unbuilt one"
            )
        return self._event_shapes

    @property
    def observation_layer(self) -> keras.layers.Layer:
        return self.decoder[-1]

    @functools.cached_property
    def reads_missing(self) -> bool:
        with tf.init_scope():
            all_missing = tf.fill([1, *self.event_shape], float("nan"))
            _, z = self.infer(self.posterior(all_missing), (), tf.zeros(2, tf.int32))
            return bool(np.isfinite(z[0]).all())

    @functools.cached_property
    def is_discrete(self) -> bool:
        """Whether some latent variables are discrete: densities of z then have no gradient for it."""
        with tf.init_scope():
            x = tf.zeros([1, *self.event_shape], self.dtype_policy.variable_dtype)
            _, z = self.infer(self.posterior(x), (), tf.zeros(2, tf.int32))
            return any(map(is_discrete, self.generative(z)[1:]))

    def state(self) -> list[Any]:
        """Returns the variables that a call of q, p or the prior changes: moving averages and states of seeds."""
        parts = {id(part): part for layer in self._networks() for part in layer._flatten_layers()}
        return [
            variable
            for part in parts.values()
            for variable in (*part._non_trainable_variables, *(seed.state for seed in part._seed_generators))
            if variable is not getattr(part, "temperature", None)  # which no call changes
        ]

    @property
    def temperatures(self) -> list[keras.Variable]:
        """The temperatures of relaxed variables, scalars."""
        found = (getattr(layer, "temperature", None) for layer in self._networks())
        return [variable for variable in found if variable is not None]

    def _networks(self) -> tuple[keras.layers.Layer, ...]:
        return *self.encoder, *self.decoder, self.prior

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Makes all weights, and checks that the event shapes of neighbouring layers fit."""
        with tf.init_scope():
            shapes = [tuple(input_shape[1:]), *self._inference.build(tuple(input_shape[1:]))]  # of x, z_1, ..., z_L
            if hasattr(self.prior, "attach"):  # a prior made from the top layer of the encoder
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
                generated.append(build_layer(layer, (sum(above + skipped),) if skipped else above))
            if self.baseline is not None and not self.baseline.built:
                self.baseline.build((None, *shapes[0]))
        if shapes != generated[::-1]:
            raise ValueError(
                "Expected data, encoder, decoder and prior to agree on the event shapes of x, z_1, ..., z_L. "
                f"Received: {shapes} from the data and the encoder, {generated[::-1]} from the decoder and the prior"
            )
        self._event_shapes, self.built = shapes, True
        if self.incomplete:  # raises at once if the likelihood cannot leave out missing entries
            with tf.init_scope():
                self.generative([tf.zeros([1, *shape]) for shape in shapes[1:]])

    def summary(
        self,
        line_length: int | None = None,
        positions: list[float] | None = None,
        print_fn: Callable[[str], Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Prints a table of the stochastic layers and their distributions; see `hierarchy.summary.tabulate`.

        Args:
          line_length: as for `keras.Model.summary`. Its own table follows if any of its options is given.
          positions: likewise.
          print_fn: function of a text to call instead of `print`.
          **kwargs: as for `keras.Model.summary`.
        """
        (print_fn or print)(summary.to_text(self))
        if line_length or positions or kwargs:
            super().summary(line_length, positions, print_fn, **kwargs)

    def __repr__(self) -> str:
        shapes = f"event_shape={self.event_shape}, latent_shapes={self.latent_shapes}, " if self.built else ""
        return f"<{type(self).__name__} name={self.name}, {shapes}built={self.built}>"

    @in_phase
    def posterior(self, x: tf.Tensor, stop_weight_gradients: bool = False) -> Any:
        """Returns the part of q(z|x) that depends on x alone, which `infer` reads: any number of draws share it.

        This is q(z_1|x), or for a ladder the list of Gaussians that it merges on its way down. Where entries of an
        incomplete x are missing, the encoder sees 0.
        """
        return self._inference.posterior(self._fill_missing(x), stop_weight_gradients)

    def _fill_missing(self, x: tf.Tensor) -> tf.Tensor:
        return tf.where(tf.math.is_nan(x), tf.zeros_like(x), x) if self.incomplete else x

    @in_phase
    def predict_baseline(self, x: tf.Tensor) -> tf.Tensor:
        """Predicts how far the log weights of each observation are from those of others, `[batch]`."""
        prediction = self.baseline(self._fill_missing(x))  # type: ignore[misc]
        return tf.cast(tf.reshape(prediction, [-1]), self.dtype_policy.variable_dtype)

    @in_phase
    def infer(
        self, posterior: Any, num_samples: int | tuple, seed: tf.Tensor, intervene: Intervention | None = None
    ) -> tuple[list[tfd.Distribution], list[tf.Tensor]]:
        """Samples z_1, ..., z_L ~ q(z|x), layer by layer.

        Args:
          posterior: the result of `posterior`.
          num_samples: k, samples per observation, or `()` for one sample without a sample axis.
          seed: `int32[2]`.
          intervene: replaces the z of a layer before the next layer is drawn. `None` keeps them.

        Returns:
          The distributions of z_1, ..., z_L given the layers that they depend on, and the list of z, each
          `[num_samples, batch, *event]`.
        """
        first = next(iter(self._inference.order))

        def draw(i: int, q: tfd.Distribution) -> tf.Tensor:
            # The first draw has the sample axis.
            z = q.sample(num_samples if i == first else (), seed=random.fold_in(seed, i))
            return z if intervene is None else intervene(i, z)

        return self._infer_by(draw, posterior)

    def redraw(self, posterior: Any, z: list[tf.Tensor]) -> tuple[list[tfd.Distribution], list[tf.Tensor]]:
        """Returns what `infer` returned when it drew z, or for some of its samples, with their gradients as draws.

        Args:
          posterior: the result of `posterior`.
          z: list of z_1, ..., z_L, each `[m, batch, *event]`.

        Raises:
          NotImplementedError: if a posterior is not a diagonal Gaussian.
        """

        def draw(i: int, q: tfd.Distribution) -> tf.Tensor:
            normal = as_normal(q)
            return normal.loc + normal.scale * tf.stop_gradient((z[i] - normal.loc) / normal.scale)

        return self._infer_by(draw, posterior)

    def infer_from_noise(
        self, posterior: Any, noise: list[tf.Tensor]
    ) -> tuple[list[tfd.Distribution], list[tf.Tensor]]:
        """Returns what `infer` returns when it draws this standard normal noise.

        Args:
          posterior: the result of `posterior`.
          noise: for each layer `[k, batch, *event]`.

        Raises:
          NotImplementedError: if a posterior is not a diagonal Gaussian.
        """

        def draw(i: int, q: tfd.Distribution) -> tf.Tensor:
            normal = as_normal(q)
            return normal.loc + normal.scale * noise[i]

        return self._infer_by(draw, posterior)

    @in_phase
    def _infer_by(
        self, draw: Callable[[int, tfd.Distribution], tf.Tensor], posterior: Any
    ) -> tuple[list[tfd.Distribution], list[tf.Tensor]]:
        """Goes through the layers in the order of inference; `draw` gives z of layer i from its distribution."""
        posteriors: list[Any] = [None] * len(self.encoder)
        z: list[Any] = [None] * len(self.encoder)
        for i in self._inference.order:
            posteriors[i] = self._inference.conditional(i, posterior, z)
            z[i] = draw(i, posteriors[i])
        return posteriors, z

    @in_phase
    def posteriors(
        self, x: tf.Tensor, z: list[tf.Tensor], stop_weight_gradients: bool = False
    ) -> list[tfd.Distribution]:
        """Returns the distributions of `infer` given z, on request without gradients for the encoder's weights."""
        posterior = self.posterior(x, stop_weight_gradients)
        return [self._inference.conditional(i, posterior, z, stop_weight_gradients) for i in range(len(z))]

    @in_phase
    def generate(
        self, level: int, above: tf.Tensor, top: tf.Tensor | None, stop_weight_gradients: bool = False
    ) -> tfd.Distribution:
        """Returns one distribution of the generative network.

        Args:
          level: l for p(z_l|z_{l+1}), 0 for p(x|z_1).
          above: z_{l+1}, `[..., *event]`.
          top: z_L, which every layer but the top one reads when the model has skip connections.
          stop_weight_gradients: whether the layer's own weights get no gradient.
        """
        if self.skip and level < len(self.decoder) - 1:
            above = tf.concat([above, top], axis=-1)
        event_ndims = len(self.latent_shapes[level])
        return call_layer(self.decoder[-1 - level], above, event_ndims, stop_weight_gradients)

    @in_phase
    def generative(self, z: list[tf.Tensor]) -> list[tfd.Distribution]:
        """Returns the distributions p(x|z_1), p(z_1|z_2), ..., p(z_L)."""
        observation, *priors = (self.generate(level, above, z[-1]) for level, above in enumerate(z))
        if self.incomplete and not getattr(self.decoder[-1], "allows_missing", False):
            observation = ignore_missing(observation)
        return [observation, *priors, self.prior()]

    @in_phase
    def observe(self, x: tf.Tensor) -> tf.Tensor | Observed:
        layer = self.observation_layer
        return Observed(x, layer.observe(x)) if hasattr(layer, "observe") else x

    def score(
        self, x: tf.Tensor | Observed, z: list[tf.Tensor], posteriors: list[tfd.Distribution], analytic_kl: bool = False
    ) -> Terms:
        """Scores given z under p and q.

        Args:
          x: data, or a result of `observe`.
          z: list of z_1, ..., z_L, each `[k, batch, *event]`.
          posteriors: their distributions under q.
          analytic_kl: whether the top layer's part of the KL is its expectation.
        """
        observation, *priors = self.generative(z)
        log_q = [q.log_prob(z_l) for q, z_l in zip(posteriors, z, strict=True)]
        kl = [log_q_l - p.log_prob(z_l) for log_q_l, p, z_l in zip(log_q, priors, z, strict=True)]
        reconstruction = log_prob_of(observation, x)
        if analytic_kl:
            try:
                expected = posteriors[-1].kl_divergence(priors[-1])
            except NotImplementedError as error:
                raise ValueError(
                    "Expected a posterior and a prior whose KL has a closed form, since analytic_kl=True. "
                    f"Received: {type(posteriors[-1]).__name__} and {type(priors[-1]).__name__}"
                ) from error
            kl[-1] = tf.broadcast_to(expected, tf.shape(reconstruction))
        return Terms(reconstruction, kl, tf.add_n(log_q))

    def terms(
        self, x: tf.Tensor | Observed, posterior: Any, num_samples: int, seed: tf.Tensor, analytic_kl: bool = False
    ) -> Terms:
        """Samples z ~ q(z|x), `num_samples` for each observation, and scores it."""
        posteriors, z = self.infer(posterior, num_samples, seed)
        return self.score(x, z, posteriors, analytic_kl)

    @in_phase
    def descend(self, n: int | tf.Tensor, seed: tf.Tensor) -> tuple[tfd.Distribution, list[tf.Tensor]]:
        """Samples z_L, ..., z_1 ~ p(z), layer by layer.

        Args:
          n: number of chains, an integer or a scalar tensor.
          seed: `int32[2]`.

        Returns:
          p(x|z_1), and the list of z_1, ..., z_L, each `[n, *event]`.
        """
        z = [self.prior().sample(n, seed=random.fold_in(seed, 0))]
        for level in reversed(range(1, len(self.decoder))):
            p = self.generate(level, z[0], z[-1])
            z.insert(0, p.sample(seed=random.fold_in(seed, len(self.decoder) - level)))
        return self.generate(0, z[0], z[-1]), z

    def show(self, observation: tfd.Distribution, seed: tf.Tensor) -> tf.Tensor:
        """Returns what pictures and exports show of p(x|z_1): the mean, or a draw if the likelihood shows draws."""
        return observation.sample(seed=random.fold_in(seed, -1)) if self.shows_draws else observation.mean()

    def reconstruction(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns what `show` shows of p(x|z_1) for one draw z_1 ~ q(z_1|x) each, `[batch, *event_shape]`."""
        _, z = self.infer(self.posterior(x), (), seed)
        return self.show(self.generate(0, z[0], z[-1]), seed)

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "encoder": [serialize(layer) for layer in self.encoder],
            "decoder": [serialize(layer) for layer in self.decoder],
            "prior": serialize(self.prior),
            "skip": self.skip,
            "ladder": self.ladder,
            "baseline": serialize(self.baseline),
        }
