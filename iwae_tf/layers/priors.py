"""Priors: called without an input, they return a `tfd.Distribution` with no batch axes."""

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf import random
from iwae_tf.checks import as_sizes, check_choice, check_count
from iwae_tf.layers import rules
from iwae_tf.layers.base import emit
from iwae_tf.layers.mixtures import Mixture
from iwae_tf.layers.normal import Normal


@keras.saving.register_keras_serializable(package="iwae_tf")
class StandardNormal(keras.layers.Layer):
    """The prior N(0, I): called without an input, it returns a `tfd.Distribution` with no batch axes.

    Args:
      event_shape: shape of one latent variable, an integer or a tuple of integers.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if `event_shape` holds anything but positive integers.
    """

    def __init__(self, event_shape, **kwargs):
        super().__init__(**kwargs)
        self.event_shape = as_sizes(event_shape)
        self.built = True

    def call(self, inputs=None):
        loc = tf.zeros(self.event_shape, self.dtype_policy.variable_dtype)
        return tfd.Independent(Normal(loc, tf.ones_like(loc)), len(self.event_shape))

    def get_config(self):
        return {**super().get_config(), "event_shape": self.event_shape}


class MixturePrior(keras.layers.Layer):
    """Base of the priors that are mixtures.

    Args:
      num_components: C.
      seed: integer seed of the initial weights. `None` takes the model's.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if `num_components` is no positive integer.
    """

    def __init__(self, num_components, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.num_components = check_count(num_components, "num_components")
        self.seed = seed

    def add_parameter(self, name, shape, initializer):
        """Adds weights that keep their precision: a lower one is for matrix products, not for densities."""
        return self.add_weight(shape=shape, initializer=initializer, autocast=False, name=name)

    def starts_apart(self):
        """Returns the initializer of what must differ between the components: standard normal."""
        return keras.initializers.RandomNormal(stddev=1.0, seed=random.derive(self.seed, 1))

    def mixture(self, components, parameters, logits=None):
        """Returns the mixture of `components(*parameters)`, whose tensors have the components along the first axis."""
        logits = tf.zeros([self.num_components], parameters[0].dtype) if logits is None else logits
        return Mixture(
            tfd.Categorical(logits=logits),
            components(*parameters),
            choose=lambda n, seed: random.categorical(logits, seed, n),
            select=lambda chosen: components(*(tf.gather(parameter, chosen) for parameter in parameters)),
        )

    def responsibilities(self, z):
        """Computes the probability of each component given z: `[..., *event_shape]` -> `[..., num_components]`."""
        return self().posterior_marginal(z).probs_parameter()

    def get_config(self):
        return {**super().get_config(), "num_components": self.num_components, "seed": self.seed}


@keras.saving.register_keras_serializable(package="iwae_tf")
class GaussianMixture(MixturePrior):
    """A prior of Gaussians with diagonal covariance, whose means and scales are learned: one for each cluster.

    The means start at standard normal numbers, the scales at 1. `responsibilities` gives the clusters of z.

    Args:
      event_shape: shape of one latent variable, an integer or a tuple of integers.
      num_components: C.
      learned_weights: whether the weights of the components are learned; otherwise they are equal.
      seed: integer seed of the initial means. `None` takes the model's.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if `event_shape` or `num_components` holds anything but positive integers.

    References:
      Dilokthanakul et al. 2016, Deep Unsupervised Clustering with Gaussian Mixture Variational Autoencoders,
      arXiv:1611.02648; Tomczak & Welling 2018, arXiv:1705.07120.
    """

    def __init__(self, event_shape, num_components, learned_weights=False, seed=None, **kwargs):
        super().__init__(num_components, seed, **kwargs)
        self.event_shape = as_sizes(event_shape)
        self.learned_weights = learned_weights

    def build(self, input_shape=None):
        shape = (self.num_components, *self.event_shape)
        self.loc = self.add_parameter("loc", shape, self.starts_apart())
        self.log_scale = self.add_parameter("log_scale", shape, "zeros")
        if self.learned_weights:
            self.logits = self.add_parameter("logits", shape[:1], "zeros")

    def call(self, inputs=None):
        def components(loc, scale):
            return tfd.Independent(Normal(loc, scale), len(self.event_shape))

        logits = tf.convert_to_tensor(self.logits) if self.learned_weights else None
        return self.mixture(components, [tf.convert_to_tensor(self.loc), tf.exp(self.log_scale)], logits)

    def get_config(self):
        return {**super().get_config(), "event_shape": self.event_shape, "learned_weights": self.learned_weights}


@keras.saving.register_keras_serializable(package="iwae_tf")
class VampPrior(MixturePrior):
    """The variational mixture of posteriors, (1/C) sum_c q(z_L|u_c), over learned pseudo-inputs u_c.

    q is the top layer of the model's encoder, and the pseudo-inputs are of the space of its input: of x, as the
    likelihood sees it, for a model of one stochastic layer, of z_{L-1} for a deeper one. The density of the posterior
    of any z is asked for, which a flow without an inverse does not give.

    The weights of the encoder are then in the prior as well, and a bound is differentiated for them in both roles.
    Where the inference network follows an objective of its own (`Combined`, `PIWAE`), they follow that one in both. In
    the wake phase of reweighted wake-sleep they follow sum_i w~_i (log q(z_i|x) + log p(z_i)), the second part as the
    parameters of any prior do; the sleep phase takes the prior as given.

    Args:
      num_components: C.
      activation: `"sigmoid"` keeps the pseudo-inputs in (0, 1), as for x of pixels; `"linear"` lets them be anything.
      initial_inputs: array `[num_components, *event]` in which the pseudo-inputs start, such as observations as the
        likelihood sees them; for the sigmoid clipped to [.01, .99]. `None` starts them, or the logits for the sigmoid,
        at standard normal numbers.
      seed: integer seed of the initial pseudo-inputs. `None` takes the model's.
      **kwargs: as for any `keras.layers.Layer`.

    Raises:
      ValueError: if `num_components` is no positive integer, `activation` is neither, or `initial_inputs` are not as
        many, not finite or outside [0, 1] with the sigmoid; when the model is built, if they are of another shape than
        its input; when called outside a model.
      TypeError: if `initial_inputs` are no numbers.

    References:
      Tomczak & Welling 2018, VAE with a VampPrior, arXiv:1705.07120.
    """

    def __init__(self, num_components, activation="linear", initial_inputs=None, seed=None, **kwargs):
        super().__init__(num_components, seed, **kwargs)
        check_choice(activation, "activation", ("linear", "sigmoid"))
        if initial_inputs is not None:
            initial_inputs = np.asarray(initial_inputs)
            rules.check_numeric(initial_inputs)
            rules.check([rules.finite(initial_inputs)])
            if initial_inputs.shape[:1] != (self.num_components,):
                raise ValueError(
                    f"Expected initial_inputs of shape [{self.num_components}, ...]. Received: {initial_inputs.shape}"
                )
            if activation == "sigmoid":
                rules.check([rules.between(initial_inputs, "initial_inputs")])
        self.activation, self.initial_inputs = activation, initial_inputs

    def attach(self, layer, event_shape):
        """Takes the top layer of the encoder and the shape of its input; the model calls it when it is built."""
        initial = self.initial_inputs
        if initial is not None and initial.shape[1:] != event_shape:
            expected = ", ".join(map(str, ("n", *event_shape)))
            raise ValueError(f"Expected initial_inputs of shape [{expected}]. Received: shape {initial.shape}")
        self._input_event = event_shape
        # In a closure, for the layer is the encoder's, and Keras would count its weights here too.
        self._posterior = lambda inputs: emit(layer, inputs, len(event_shape))

    def get_build_config(self):
        """Leaves the building to the model, which attaches its encoder first."""

    def build(self, input_shape=None):
        if not hasattr(self, "_posterior"):
            raise ValueError("Expected a VampPrior to be the prior of a model. Received: a call outside one")
        shape = (self.num_components, *self._input_event)
        self._raw_inputs = self.add_parameter("pseudo_inputs", shape, self._initializer())

    def _initializer(self):
        if self.initial_inputs is None:
            return self.starts_apart()
        u = self.initial_inputs.astype(np.float64)
        if self.activation == "sigmoid":
            u = np.clip(u, 0.01, 0.99)
            u = np.log(u) - np.log1p(-u)
        return lambda shape, dtype=None: tf.constant(u, dtype, shape)

    @property
    def pseudo_inputs(self):
        """The pseudo-inputs, `[num_components, *event]`."""
        inputs = tf.convert_to_tensor(self._raw_inputs)
        return tf.sigmoid(inputs) if self.activation == "sigmoid" else inputs

    def call(self, inputs=None):
        return self.mixture(self._posterior, [self.pseudo_inputs])

    def get_config(self):
        initial = self.initial_inputs
        return {
            **super().get_config(),
            "activation": self.activation,
            "initial_inputs": None if initial is None else initial.tolist(),
        }
