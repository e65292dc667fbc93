"""Models in one call, and the names of posteriors, priors and likelihoods."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import keras
import numpy.typing as npt

from iwae_tf import layers
from iwae_tf.checks import add_name, as_sizes, check_choice
from iwae_tf.data import Table
from iwae_tf.model import IWAE
from iwae_tf.networks import MLP, ConvDecoder, ConvEncoder
from iwae_tf.types import Activation, Sizes

#: Makes a layer from an event shape and keywords.
Make: TypeAlias = Callable[..., keras.layers.Layer]

#: Posteriors by name: functions of an event shape and the keywords of `StochasticLayer`.
POSTERIORS: dict[str, Make] = {
    "normal": layers.IndependentNormal,
    "full": layers.MultivariateNormalTriL,
    "mixture": functools.partial(layers.NormalMixture, num_components=5),
    "iaf": layers.InverseAutoregressiveFlow,
    "planar": layers.PlanarFlow,
    "realnvp": layers.RealNVP,
    "bernoulli": layers.IndependentBernoulli,
    "categorical": functools.partial(layers.OneHotCategorical, num_classes=10),
    "relaxed-bernoulli": layers.RelaxedBernoulli,
    "relaxed-categorical": functools.partial(layers.RelaxedOneHotCategorical, num_classes=10),
}
#: Priors by name: functions of the size of z_L, and of whether q(z_L|.) reads values in [0, 1].
PRIORS: dict[str, Make] = {
    "normal": lambda size, unit: layers.StandardNormal(size),
    "mixture": lambda size, unit: layers.GaussianMixture(size, num_components=20),
    "vamp": lambda size, unit: layers.VampPrior(100, activation="sigmoid" if unit else "linear"),
    "maf": lambda size, unit: layers.AutoregressiveFlow(size),
    "realnvp": lambda size, unit: layers.AutoregressiveFlow(size, kind="realnvp"),
    "bernoulli": lambda size, unit: layers.BernoulliPrior(size),
    "categorical": lambda size, unit: layers.CategoricalPrior(size, num_classes=10),
    "relaxed-bernoulli": lambda size, unit: layers.BernoulliPrior(size, temperature=0.5),
    "relaxed-categorical": lambda size, unit: layers.CategoricalPrior(size, num_classes=10, temperature=0.5),
}
#: Names of the posteriors of discrete variables and their relaxations. Their prior has the same name, and the
#: conditionals between layers are of the same kind.
DISCRETE = ("bernoulli", "categorical", "relaxed-bernoulli", "relaxed-categorical")
#: Likelihoods of values in [0, 1] by name: functions of an event shape, the keywords of `StochasticLayer`, and `mean`.
LIKELIHOODS: dict[str, Make] = {
    "bernoulli": layers.IndependentBernoulli,
    "continuous-bernoulli": layers.ContinuousBernoulli,
    "normal": functools.partial(layers.IndependentNormal, scale="shared", min_scale=0.01),
    "logistic": layers.DiscretizedLogistic,
    "logistic-mixture": functools.partial(layers.DiscretizedLogistic, num_components=5),
    "pixelcnn": functools.partial(layers.PixelCNN, condition="last"),
    "pixelcnn-logistic": functools.partial(layers.PixelCNN, likelihood="logistic-mixture", condition="last"),
}
#: The likelihoods of binary data; the others take grey values.
BINARY_LIKELIHOODS = ("bernoulli", "pixelcnn")


def register(kind: Literal["posterior", "prior", "likelihood"], name: str, make: Make) -> None:
    """Gives a posterior, a prior or a likelihood a name, for `mlp`, `conv`, `runs.Config`, the command line and tuning.

    To load saved models, Keras must know the class of the layer too: see `layers.StochasticLayer`.

    Args:
      kind: `"posterior"`, `"prior"` or `"likelihood"`.
      name: the new name.
      make: function that makes the layer. For a posterior it takes an event shape and the keywords of
        `StochasticLayer`, as the layer's class does; for a likelihood the keyword `mean` as well; for a prior the size
        of z_L, and whether the encoder of z_L reads values in [0, 1].

    Raises:
      ValueError: if `kind` is unknown, or the name is registered already.
      TypeError: if `make` is not a function or a class.

    Example:
      ```python
      from iwae_tf import builders
      builders.register("posterior", "mixture-9", lambda size, **kw: layers.NormalMixture(size, num_components=9, **kw))
      builders.register("prior", "mixture-9", lambda size, unit: layers.GaussianMixture(size, num_components=9))
      iwae_tf.mlp((8, 8, 1), (5,), ((20,),), posterior="mixture-9", prior="mixture-9")
      runs.Config(posterior="mixture-9")
      ```
    """
    tables = {"posterior": POSTERIORS, "prior": PRIORS, "likelihood": LIKELIHOODS}
    table = tables[check_choice(kind, "kind", tables)]
    add_name(table, name, make, f"a function that makes a {kind}", f"the name of a {kind}")


def mlp(
    event_shape: Sizes,
    latent_sizes: Sizes = (50,),
    hidden_sizes: Sequence[Sizes] | None = None,
    activation: Activation = "tanh",
    mean: npt.ArrayLike | None = None,
    posterior: str | Make = "normal",
    prior: str | keras.layers.Layer | None = None,
    likelihood: str | Make = "bernoulli",
    **kwargs: Any,
) -> IWAE:
    """Makes an IWAE of multi-layer perceptrons, whose generative network mirrors the inference network.

    The defaults are the one-layer network of Burda, Grosse & Salakhutdinov 2015 (arXiv:1509.00519); their two-layer
    network is `latent_sizes=(100, 50)`.

    Args:
      event_shape: shape of one observation.
      latent_sizes: sizes of z_1, ..., z_L.
      hidden_sizes: for each z_l, the widths of the hidden layers between it and the layer below. `None` is (200, 200)
        for z_1 and (100, 100) for every further layer.
      activation: activation of the hidden layers.
      mean: training mean of the data in [0, 1], where the output bias starts; see `layers.ObservationLayer`.
      posterior: the layers of q: `"normal"`, `"full"`, `"mixture"`, `"iaf"`, `"planar"`, `"realnvp"` or another name
        that was registered; or a class of stochastic layer. For discrete z it is `"bernoulli"` or `"categorical"`, and
        for their relaxations `"relaxed-bernoulli"` or `"relaxed-categorical"`, with 10 classes for each of the
        variables, whose number is the latent size; the layers of p(z_l|z_{l+1}) are then of the same kind.
      prior: the prior of z_L: `"normal"`, `"mixture"`, `"vamp"`, `"maf"`, `"realnvp"`, a name of discrete z as for the
        posterior, or another name that was registered; or a layer. `None` is the posterior's name for discrete z, and
        otherwise `"normal"`.
      likelihood: the likelihood of x: `"bernoulli"`, or for grey values in [0, 1] `"continuous-bernoulli"`,
        `"normal"`, `"logistic"` or `"logistic-mixture"`; for images pixel by pixel `"pixelcnn"` or
        `"pixelcnn-logistic"` (grey or colour values); or another name that was registered; or a class of stochastic
        layer.
      **kwargs: `objective`, `preprocessing`, `seed` and the other arguments of `IWAE`.

    Returns:
      An `IWAE`.

    Raises:
      ValueError: if the two sequences of sizes differ in length or hold anything but positive integers, a name is
        unknown, or only one of posterior and prior is that of discrete variables.

    Example:
      ```python
      model = iwae_tf.mlp(
          (8, 8, 1), latent_sizes=(10, 5), hidden_sizes=((50, 50), (20,)), mean=splits.mean, seed=0,
          objective=objectives.ImportanceWeighted(5), preprocessing=layers.StochasticBinarization())
      model.log_weights(x, num_samples=3).shape  # [3, 20]
      ```
    """
    make = functools.partial(find_name(LIKELIHOODS, likelihood, "likelihood"), event_shape, **_mean_keyword(mean))
    if hidden_sizes is None:
        hidden_sizes = [(200, 200), *[(100, 100)] * (len(as_sizes(latent_sizes, "latent_sizes")) - 1)]
    return _mirror(make, None, latent_sizes, hidden_sizes, activation, posterior, prior, **kwargs)


def tabular(
    columns: Table | Iterable[layers.Column | Mapping[str, Any]] | Mapping[str, Any],
    latent_sizes: Sizes = (10,),
    hidden_sizes: Sequence[Sizes] | None = None,
    activation: Activation = "tanh",
    **kwargs: Any,
) -> IWAE:
    """Makes an IWAE of the rows of a table: perceptrons between `TableFeatures` and a `Heterogeneous` likelihood.

    Args:
      columns: a table of `data.from_dataframe`, or the columns of a `Heterogeneous` layer.
      latent_sizes: sizes of z_1, ..., z_L.
      hidden_sizes: for each z_l, the widths of the hidden layers between it and the layer below. `None` is (100, 100)
        for each.
      activation: activation of the hidden layers.
      **kwargs: `posterior` and `prior` as in `mlp`; `objective`, `seed` and the other arguments of `IWAE`.

    Returns:
      An `IWAE` that treats NaN as missing.

    Raises:
      ValueError: as in `mlp` and `Heterogeneous`.

    Example:
      ```python
      frame = pd.DataFrame({"age": [31.0, 52.0, np.nan, 47.0], "town": ["a", "b", "a", None]})
      table = data.from_dataframe(frame)
      model = iwae_tf.tabular(table, latent_sizes=(2,), hidden_sizes=((20,),))
      model.log_likelihood(table.encode(frame), num_samples=10).shape  # [4]
      ```
    """
    columns = columns.columns if isinstance(columns, Table) else columns
    likelihood = functools.partial(layers.Heterogeneous, columns)
    features = layers.TableFeatures(columns)
    if hidden_sizes is None:
        hidden_sizes = [(100, 100)] * len(as_sizes(latent_sizes, "latent_sizes"))
    return _mirror(likelihood, features, latent_sizes, hidden_sizes, activation, **kwargs)


def conv(
    event_shape: Sizes,
    latent_size: int = 50,
    filters: Sequence[int] = (16, 32),
    kernel_size: int = 3,
    activation: Activation = "gelu",
    mean: npt.ArrayLike | None = None,
    posterior: str | Make = "normal",
    prior: str | keras.layers.Layer | None = None,
    likelihood: str | Make = "bernoulli",
    **kwargs: Any,
) -> IWAE:
    """Makes an IWAE of images with one stochastic layer and convolutional networks that mirror each other.

    Args:
      event_shape: shape of one image, `(height, width, channels)`.
      latent_size: size of z.
      filters: feature maps of the convolutions, from the image up; each halves height and width.
      kernel_size: height and width of every kernel.
      activation: activation of every convolution.
      mean: training mean of the data in [0, 1], where the output bias starts.
      posterior: as in `mlp`.
      prior: as in `mlp`.
      likelihood: as in `mlp`.
      **kwargs: `objective`, `preprocessing`, `seed` and the other arguments of `IWAE`.

    Returns:
      An `IWAE`.

    Raises:
      ValueError: if `event_shape` is not the shape of an image, a size is not a positive integer, or a name is unknown.

    Example:
      ```python
      model = iwae_tf.conv((8, 8, 1), 5, filters=(4, 8), preprocessing=layers.StochasticBinarization())
      model.reconstruct(x).shape  # [20, 8, 8, 1]
      ```
    """
    common: dict[str, Any] = {"kernel_size": kernel_size, "activation": activation}
    encoder, decoder = ConvEncoder(filters, **common), ConvDecoder(event_shape, filters[::-1], **common)
    observation = find_name(LIKELIHOODS, likelihood, "likelihood")(event_shape, network=decoder, **_mean_keyword(mean))
    return IWAE(
        encoder=[find_name(POSTERIORS, posterior, "posterior")(latent_size, network=encoder)],
        decoder=[observation],
        prior=_make_prior(prior, posterior, latent_size, observation, 1),
        **kwargs,
    )


def _mirror(
    likelihood: Make,
    features: keras.layers.Layer | None,
    latent_sizes: Sizes,
    hidden_sizes: Sequence[Sizes],
    activation: Activation,
    posterior: str | Make = "normal",
    prior: str | keras.layers.Layer | None = None,
    **kwargs: Any,
) -> IWAE:
    """Makes an IWAE of perceptrons that mirror each other.

    `likelihood` makes the layer of p(x|z_1), and `features` comes before the perceptron of q(z_1|x).
    """
    latent_sizes = as_sizes(latent_sizes, "latent_sizes")
    if len(hidden_sizes) != len(latent_sizes):
        raise ValueError(
            "Expected hidden_sizes to hold one sequence of widths for each latent size. "
            f"Received: latent_sizes={latent_sizes!r}, hidden_sizes={hidden_sizes!r}"
        )
    make_posterior = find_name(POSTERIORS, posterior, "posterior")
    networks: list[dict[str, Any]] = [{"hidden": hidden, "activation": activation} for hidden in hidden_sizes]
    make_conditional = make_posterior if posterior in DISCRETE else layers.IndependentNormal
    decoder = [make_conditional(size, **network) for size, network in zip(latent_sizes[:-1], networks[1:], strict=True)]
    observation = likelihood(**networks[0])
    if features:
        networks[0] = {"network": MLP(hidden_sizes[0], activation, features), "activation": activation}
    return IWAE(
        encoder=[make_posterior(size, **network) for size, network in zip(latent_sizes, networks, strict=True)],
        decoder=[*reversed(decoder), observation],
        prior=_make_prior(prior, posterior, latent_sizes[-1], observation, len(latent_sizes)),
        **kwargs,
    )


def find_name(table: dict[str, Make], choice: str | Make, kind: str) -> Make:
    """Returns the function that is registered under a name, or a function as it is."""
    return table[check_choice(choice, kind, table)] if isinstance(choice, str) else choice


def _mean_keyword(mean: npt.ArrayLike | None) -> dict[str, npt.ArrayLike]:
    """Returns the mean as a keyword, if there is one: classes of users need not accept it."""
    return {} if mean is None else {"mean": mean}


def _make_prior(
    choice: str | keras.layers.Layer | None,
    posterior: str | Make,
    size: int,
    observation: keras.layers.Layer,
    num_layers: int,
) -> keras.layers.Layer:
    """Makes the prior that is registered under a name or fits the posterior, or returns a layer as it is."""
    if choice is None:
        choice = str(posterior) if posterior in DISCRETE else "normal"
    if not isinstance(choice, str):
        return choice
    if isinstance(posterior, str) and choice != posterior and (choice in DISCRETE or posterior in DISCRETE):
        raise ValueError(
            "Expected the prior of discrete variables to have the posterior's name. "
            f"Received: posterior={posterior!r}, prior={choice!r}"
        )
    unit = num_layers == 1 and getattr(observation, "support", None) == (0, 1)
    return find_name(PRIORS, choice, "prior")(size, unit)
