"""Priors: called without an input, they return a `tfd.Distribution` without batch axes."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf import random
from iwae_tf.checks import as_sizes, check_choice, check_count
from iwae_tf.layers import rules
from iwae_tf.layers.base import emit
from iwae_tf.layers.mixtures import Mixture
from iwae_tf.layers.normal import Normal
from iwae_tf.types import Sizes


@keras.saving.register_keras_serializable(package="iwae_tf")
class StandardNormal(keras.layers.Layer):
    """The prior N(0, I): called without an input, it returns a `tfd.Distribution` without batch axes.

    Args:
      event_shape: shape of one latent variable, an integer or a sequence of integers.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if `event_shape` holds anything but positive integers.

    Example:
      ```python
      p = layers.StandardNormal(2)()
      p.log_prob(tf.zeros([3, 2]))  # [3], nats
      ```
    """

    def __init__(self, event_shape: Sizes, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.event_shape = as_sizes(event_shape)
        self.built = True

    def call(self, inputs: None = None) -> tfd.Distribution:
        loc = tf.zeros(self.event_shape, self.dtype_policy.variable_dtype)
        return tfd.Independent(Normal(loc, tf.ones_like(loc)), len(self.event_shape))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "event_shape": self.event_shape}


class MixturePrior(keras.layers.Layer):
    """Base of the priors that are mixtures.

    Args:
      num_components: C.
      seed: integer seed of the initial weights. `None` takes a seed from the model.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if `num_components` is not a positive integer.
    """

    def __init__(self, num_components: int, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_components = check_count(num_components, "num_components")
        self.seed = seed

    def add_parameter(
        self,
        name: str,
        shape: tuple[int, ...],
        initializer: str | keras.initializers.Initializer | Callable[..., tf.Tensor],
    ) -> keras.Variable:
        """Adds a weight that is never cast: a lower precision is for matrix products, not for densities."""
        return self.add_weight(shape=shape, initializer=initializer, autocast=False, name=name)

    def make_initializer(self) -> keras.initializers.Initializer:
        """Returns a standard normal initializer, for weights that must differ between the components."""
        return keras.initializers.RandomNormal(stddev=1.0, seed=random.derive(self.seed, 1))

    def make_mixture(
        self,
        make_components: Callable[..., tfd.Distribution],
        parameters: Sequence[tf.Tensor],
        logits: tf.Tensor | None = None,
    ) -> Mixture:
        """Returns the mixture of `make_components(*parameters)`; the first axis of each tensor is the component."""
        logits = tf.zeros([self.num_components], parameters[0].dtype) if logits is None else logits
        return Mixture(
            tfd.Categorical(logits=logits),
            make_components(*parameters),
            choose=lambda n, seed: random.categorical(logits, seed, n),
            select=lambda components: make_components(*(tf.gather(parameter, components) for parameter in parameters)),
        )

    def responsibilities(self, z: tf.Tensor) -> tf.Tensor:
        """Computes the probability of each component given z: `[..., *event_shape]` -> `[..., num_components]`."""
        return self().posterior_marginal(z).probs_parameter()

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_components": self.num_components, "seed": self.seed}


@keras.saving.register_keras_serializable(package="iwae_tf")
class GaussianMixture(MixturePrior):
    """A prior of Gaussians with diagonal covariance and learned means and scales: one Gaussian for each cluster.

    The means start at standard normal numbers, the scales at 1. `responsibilities` returns the clusters of z.

    Not to be confused with `NormalMixture`, the posterior of several modes.

    Args:
      event_shape: shape of one latent variable, an integer or a sequence of integers.
      num_components: C.
      learned_weights: whether the weights of the components are learned; otherwise they are equal.
      seed: integer seed of the initial means. `None` takes a seed from the model.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if `event_shape` or `num_components` holds anything but positive integers.

    References:
      Dilokthanakul et al. 2016, Deep Unsupervised Clustering with Gaussian Mixture Variational Autoencoders,
      arXiv:1611.02648; Tomczak & Welling 2018, arXiv:1705.07120.

    Example:
      ```python
      prior = layers.GaussianMixture(2, num_components=3)
      prior.responsibilities(tf.zeros([5, 2]))  # [5, 3], each row sums to 1
      ```
    """

    def __init__(
        self,
        event_shape: Sizes,
        num_components: int,
        learned_weights: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_components, seed, **kwargs)
        self.event_shape = as_sizes(event_shape)
        self.learned_weights = learned_weights

    def build(self, input_shape: tuple[int | None, ...] | None = None) -> None:
        shape = (self.num_components, *self.event_shape)
        self.loc = self.add_parameter("loc", shape, self.make_initializer())
        self.log_scale = self.add_parameter("log_scale", shape, "zeros")
        if self.learned_weights:
            self.logits = self.add_parameter("logits", shape[:1], "zeros")

    def call(self, inputs: None = None) -> Mixture:
        def make_components(loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
            return tfd.Independent(Normal(loc, scale), len(self.event_shape))

        logits = tf.convert_to_tensor(self.logits) if self.learned_weights else None
        return self.make_mixture(make_components, [tf.convert_to_tensor(self.loc), tf.exp(self.log_scale)], logits)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "event_shape": self.event_shape, "learned_weights": self.learned_weights}


@keras.saving.register_keras_serializable(package="iwae_tf")
class VampPrior(MixturePrior):
    """The variational mixture of posteriors, (1/C) sum_c q(z_L|u_c), over learned pseudo-inputs u_c.

    q is the top layer of the model's encoder, and a pseudo-input is a point of its input space: x, as the likelihood
    sees it, in a model of one stochastic layer, and z_{L-1} in a deeper model. The prior needs the density of any z
    under q, which a flow without an inverse cannot give.

    The prior therefore shares the encoder's weights, and a bound is differentiated for them in both roles. If the
    inference network has its own objective (`Combined`, `PIWAE`), the shared weights follow that objective in both
    roles. In the wake phase of reweighted wake-sleep they follow sum_i w~_i (log q(z_i|x) + log p(z_i)), the second
    term as the parameters of any prior do; the sleep phase leaves the prior fixed.

    Args:
      num_components: C.
      activation: `"sigmoid"` keeps the pseudo-inputs in (0, 1), for x of pixels; `"linear"` does not bound them.
      initial_inputs: initial pseudo-inputs, an array `[num_components, *event]`, such as observations as the likelihood
        sees them; with the sigmoid they are clipped to [.01, .99]. `None` starts them (the sigmoid's logits) at
        standard normal numbers.
      seed: integer seed of the initial pseudo-inputs. `None` takes a seed from the model.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if `num_components` is not a positive integer, `activation` is unknown, or `initial_inputs` do not
        number `num_components`, are not finite or lie outside [0, 1] with the sigmoid; when the model is built, if
        their shape differs from its input; when called outside a model.
      TypeError: if `initial_inputs` are not numeric.

    References:
      Tomczak & Welling 2018, VAE with a VampPrior, arXiv:1705.07120.

    Example:
      ```python
      vamp = iwae_tf.IWAE(
          encoder=[layers.IndependentNormal(2, hidden=(16,))],
          decoder=[layers.IndependentBernoulli((8, 8, 1), hidden=(16,))],
          prior=layers.VampPrior(3, "sigmoid", initial_inputs=x[:3] / 255),
          preprocessing=layers.StochasticBinarization(),
      )
      vamp.prior.pseudo_inputs.shape  # [3, 8, 8, 1]
      ```
    """

    def __init__(
        self,
        num_components: int,
        activation: Literal["linear", "sigmoid"] = "linear",
        initial_inputs: npt.ArrayLike | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_components, seed, **kwargs)
        self.activation = check_choice(activation, "activation", ("linear", "sigmoid"))
        self.initial_inputs: np.ndarray | None = None
        if initial_inputs is not None:
            self.initial_inputs = np.asarray(initial_inputs)
            rules.check_numeric(self.initial_inputs)
            rules.check([rules.finite(self.initial_inputs)])
            if self.initial_inputs.shape[:1] != (self.num_components,):
                raise ValueError(
                    f"Expected initial_inputs of shape [{self.num_components}, ...]. "
                    f"Received: {self.initial_inputs.shape}"
                )
            if activation == "sigmoid":
                rules.check([rules.between(self.initial_inputs, "initial_inputs")])

    def attach(self, layer: keras.layers.Layer, event_shape: tuple[int, ...]) -> None:
        """Attaches the top layer of the encoder, whose input has `event_shape`; a model calls this when it is built."""
        initial = self.initial_inputs
        if initial is not None and initial.shape[1:] != event_shape:
            expected = ", ".join(map(str, ("n", *event_shape)))
            raise ValueError(f"Expected initial_inputs of shape [{expected}]. Received: shape {initial.shape}")
        self._input_event = event_shape
        # In a closure: the layer is the encoder's, and Keras would count its weights here too.
        self._posterior = lambda inputs: emit(layer, inputs, len(event_shape))

    def get_build_config(self) -> None:
        """Leaves the building to the model, which first attaches its encoder."""

    def build(self, input_shape: tuple[int | None, ...] | None = None) -> None:
        if not hasattr(self, "_posterior"):
            raise ValueError("Expected a VampPrior to be the prior of a model. Received: a call outside one")
        shape = (self.num_components, *self._input_event)
        self._raw_inputs = self.add_parameter("pseudo_inputs", shape, self._make_input_initializer())

    def _make_input_initializer(self) -> keras.initializers.Initializer | Callable[..., tf.Tensor]:
        if self.initial_inputs is None:
            return self.make_initializer()
        u = self.initial_inputs.astype(np.float64)
        if self.activation == "sigmoid":
            u = np.clip(u, 0.01, 0.99)
            u = np.log(u) - np.log1p(-u)
        return lambda shape, dtype=None: tf.constant(u, dtype, shape)

    @property
    def pseudo_inputs(self) -> tf.Tensor:
        """The pseudo-inputs, `[num_components, *event]`."""
        inputs = tf.convert_to_tensor(self._raw_inputs)
        return tf.sigmoid(inputs) if self.activation == "sigmoid" else inputs

    def call(self, inputs: None = None) -> Mixture:
        return self.make_mixture(self._posterior, [self.pseudo_inputs])

    def get_config(self) -> dict[str, Any]:
        initial = self.initial_inputs
        return {
            **super().get_config(),
            "activation": self.activation,
            "initial_inputs": None if initial is None else initial.tolist(),
        }
