"""Models of sequences in one call."""

from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf import layers, random
from iwae_tf.builders import LIKELIHOODS, Make, find_name
from iwae_tf.checks import as_sizes, check_choice, check_count
from iwae_tf.layers.normal import Normal
from iwae_tf.sequences.state_space import StateSpaceModel
from iwae_tf.types import Activation, Sizes


@keras.saving.register_keras_serializable(package="iwae_tf")
class LinearNormal(keras.layers.Layer):
    """N(matrix z, diag(scale)^2) of an input z.

    Args:
      matrix: `[m, n]`.
      scale: `[m]`.
      trainable: whether training changes the matrix; the scale stays.
      **kwargs: as for any `keras.layers.Layer`.
    """

    def __init__(self, matrix: npt.ArrayLike, scale: npt.ArrayLike, trainable: bool = False, **kwargs: Any) -> None:
        super().__init__(trainable=trainable, **kwargs)
        self.initial_matrix, self.scale = np.asarray(matrix, np.float64), np.asarray(scale, np.float64)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        initializer = keras.initializers.Constant(self.initial_matrix)
        self.matrix = self.add_weight(shape=self.initial_matrix.shape, initializer=initializer, name="matrix")

    def call(self, inputs: tf.Tensor) -> tfd.Distribution:
        loc = tf.linalg.matvec(tf.convert_to_tensor(self.matrix), inputs)
        return tfd.Independent(Normal(loc, tf.cast(self.scale, loc.dtype)), 1)

    def get_config(self) -> dict[str, Any]:
        own = {"matrix": self.initial_matrix.tolist(), "scale": self.scale.tolist(), "trainable": self.trainable}
        return {**super().get_config(), **own}


CELLS = {"lstm": keras.layers.LSTMCell, "gru": keras.layers.GRUCell}


def vrnn(
    event_shape: Sizes,
    latent_size: int = 32,
    hidden_size: int = 32,
    cell: Literal["lstm", "gru"] = "lstm",
    activation: Activation = "relu",
    mean: npt.ArrayLike | None = None,
    likelihood: str | Make = "bernoulli",
    residual: bool = True,
    **kwargs: Any,
) -> StateSpaceModel:
    """Makes a variational recurrent network, in the form of Maddison et al. 2017.

    Prior, proposal and emission are perceptrons of one hidden layer that read the state of the cell. The cell reads
    z_{t-1} and x_{t-1}, without the training mean.

    Args:
      event_shape: shape of one step.
      latent_size: size of z_t.
      hidden_size: units of the cell, and width of the hidden layers.
      cell: `"lstm"` or `"gru"`.
      activation: activation of the hidden layers.
      mean: mean of the steps of the training data, which the input lacks and where the output bias starts.
      likelihood: as in `iwae_tf.mlp`.
      residual: whether q is centred at the mean of p(z_t|h_t) plus the output of its network.
      **kwargs: `objective`, `seed` and the other arguments of `StateSpaceModel`.

    Raises:
      ValueError: if a size is not a positive integer, or a name is unknown.

    Example:
      ```python
      model = iwae_tf.sequences.vrnn((88,), latent_size=4, hidden_size=8, objective=objectives.Filtering(4), seed=0)
      model.log_likelihood(np.zeros([2, 10, 88]), num_samples=16).shape  # [2]
      ```
    """
    check_count(latent_size, "latent_size")
    units = check_count(hidden_size, "hidden_size")
    make_cell = CELLS[check_choice(cell, "cell", CELLS)]
    network: dict[str, Any] = {"hidden": (units,), "activation": activation}
    return StateSpaceModel(
        transition=layers.IndependentNormal(latent_size, scale="softplus", **network),
        proposal=layers.IndependentNormal(latent_size, scale="softplus", **network),
        emission=_make_emission(event_shape, likelihood, mean, network),
        cell=make_cell(
            units,
            kernel_initializer=keras.initializers.GlorotUniform(random.derive(kwargs.get("seed"), 10)),
            recurrent_initializer=keras.initializers.Orthogonal(seed=random.derive(kwargs.get("seed"), 11)),
        ),
        features=_center(mean),
        residual=residual,
        **kwargs,
    )


def deep_markov(
    event_shape: Sizes,
    latent_size: int = 32,
    hidden_size: int = 32,
    activation: Activation = "relu",
    mean: npt.ArrayLike | None = None,
    likelihood: str | Make = "bernoulli",
    residual: bool = True,
    **kwargs: Any,
) -> StateSpaceModel:
    """Makes a deep Markov model: p(z_t|z_{t-1}) and p(x_t|z_t) are perceptrons, without a recurrent network.

    Args:
      event_shape: shape of one step.
      latent_size: size of z_t.
      hidden_size: width of the hidden layers.
      activation: activation of the hidden layers.
      mean: as in `vrnn`.
      likelihood: as in `iwae_tf.mlp`.
      residual: as in `vrnn`.
      **kwargs: `objective`, `seed` and the other arguments of `StateSpaceModel`.

    Raises:
      ValueError: if a size is not a positive integer, or a name is unknown.

    References:
      Krishnan, Shalit & Sontag 2017, Structured Inference Networks for Nonlinear State Space Models, arXiv:1609.09869.

    Example:
      ```python
      iwae_tf.sequences.deep_markov((6,), latent_size=2, hidden_size=8).objective  # Filtering(4)
      ```
    """
    network: dict[str, Any] = {"hidden": (check_count(hidden_size, "hidden_size"),), "activation": activation}
    return StateSpaceModel(
        transition=layers.IndependentNormal(latent_size, scale="softplus", **network),
        proposal=layers.IndependentNormal(latent_size, scale="softplus", **network),
        emission=_make_emission(event_shape, likelihood, mean, network),
        initial=layers.StandardNormal(check_count(latent_size, "latent_size")),
        features=_center(mean),
        residual=residual,
        **kwargs,
    )


def linear_gaussian(
    transition_matrix: npt.ArrayLike,
    emission_matrix: npt.ArrayLike,
    transition_scale: npt.ArrayLike = 1.0,
    emission_scale: npt.ArrayLike = 1.0,
    trainable: bool = False,
    proposal: Literal["optimal", "bootstrap"] | keras.layers.Layer = "optimal",
    **kwargs: Any,
) -> StateSpaceModel:
    """Makes a linear-Gaussian state-space model, whose likelihood a Kalman filter gives exactly.

    z_1 ~ N(0, I), z_t ~ N(A z_{t-1}, diag(s)^2), x_t ~ N(C z_t, diag(r)^2).

    Args:
      transition_matrix: A, `[n, n]`.
      emission_matrix: C, `[m, n]`.
      transition_scale: s, a number or `[n]`.
      emission_scale: r, a number or `[m]`.
      trainable: whether training changes A and C; the scales stay.
      proposal: `"optimal"`: p(z_t|x_t, z_{t-1}) at the matrices given, for which n = m = 1 or C^T C is diagonal;
        `"bootstrap"`: p(z_t|z_{t-1}); or a layer.
      **kwargs: `objective`, `seed` and the other arguments of `StateSpaceModel`.

    Raises:
      ValueError: if the shapes do not fit, or an optimal proposal is not a diagonal Gaussian.

    Example:
      ```python
      model = iwae_tf.sequences.linear_gaussian([[0.9]], [[1.0]], emission_scale=0.3)
      model.log_likelihood(np.zeros([2, 10, 1]), num_samples=16).shape  # [2]
      ```
    """
    a, c = np.asarray(transition_matrix, np.float64), np.asarray(emission_matrix, np.float64)
    if a.ndim != 2 or a.shape[0] != a.shape[1] or c.ndim != 2 or c.shape[1] != len(a):
        raise ValueError(f"Expected matrices [n, n] and [m, n]. Received: shapes {a.shape} and {c.shape}")
    n, m = len(a), len(c)
    s, r = np.broadcast_to(transition_scale, [n]), np.broadcast_to(emission_scale, [m])
    chosen: keras.layers.Layer | None = None if isinstance(proposal, str) else proposal
    if proposal == "optimal":
        # The precision of z_t given z_{t-1} and x_t, the same for z_1 if the transition scale is 1.
        precision = np.diag(s**-2.0) + c.T @ np.diag(r**-2.0) @ c
        if not np.allclose(precision, np.diag(np.diag(precision))) or not np.allclose(s, 1):
            raise ValueError(
                "Expected orthogonal columns of C, all in units of the emission scale, and transition_scale=1 with "
                "proposal='optimal', whose covariance is diagonal. Received: others"
            )
        variance = 1 / np.diag(precision)
        chosen = LinearNormal(np.hstack([c.T @ np.diag(r**-2.0), a]) * variance[:, np.newaxis], variance**0.5)
    model = StateSpaceModel(
        transition=LinearNormal(a, s, trainable),
        emission=LinearNormal(c, r, trainable),
        proposal=chosen,
        initial=layers.StandardNormal(n),
        **kwargs,
    )
    model.build((None, None, m))
    return model


def _make_emission(
    event_shape: Sizes, likelihood: str | Make, mean: npt.ArrayLike | None, network: dict[str, Any]
) -> keras.layers.Layer:
    mean_keyword = {} if mean is None else {"mean": mean}
    return find_name(LIKELIHOODS, likelihood, "likelihood")(as_sizes(event_shape), **mean_keyword, **network)


def _center(mean: npt.ArrayLike | None) -> keras.layers.Layer | None:
    """Makes a layer that subtracts the mean."""
    return None if mean is None else keras.layers.Rescaling(1.0, (-np.asarray(mean, np.float32)).tolist())
