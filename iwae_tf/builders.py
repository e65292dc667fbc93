"""Models in one call."""

import functools

from iwae_tf import layers
from iwae_tf.checks import as_sizes, check_choice
from iwae_tf.model import IWAE
from iwae_tf.networks import MLP, ConvDecoder, ConvEncoder

#: What the names of posteriors stand for: functions of an event shape and the keywords of `StochasticLayer`.
POSTERIORS = {
    "normal": layers.IndependentNormal,
    "full": layers.MultivariateNormalTriL,
    "mixture": functools.partial(layers.NormalMixture, num_components=5),
    "iaf": layers.InverseAutoregressiveFlow,
    "planar": layers.PlanarFlow,
    "realnvp": layers.RealNVP,
}
#: The same of priors: functions of the event shape, and of whether the encoder reads z_L off values in [0, 1].
PRIORS = {
    "normal": lambda size, unit: layers.StandardNormal(size),
    "mixture": lambda size, unit: layers.GaussianMixture(size, num_components=20),
    "vamp": lambda size, unit: layers.VampPrior(100, activation="sigmoid" if unit else "linear"),
    "maf": lambda size, unit: layers.AutoregressiveFlow(size),
    "realnvp": lambda size, unit: layers.AutoregressiveFlow(size, kind="realnvp"),
}
#: The same of likelihoods of values in [0, 1]: functions of an event shape, of `mean` and of these keywords.
LIKELIHOODS = {
    "bernoulli": layers.IndependentBernoulli,
    "continuous-bernoulli": layers.ContinuousBernoulli,
    "normal": functools.partial(layers.IndependentNormal, scale="shared", min_scale=0.01),
    "logistic": layers.DiscretizedLogistic,
    "logistic-mixture": functools.partial(layers.DiscretizedLogistic, num_components=5),
}


def mlp(
    event_shape, latent_sizes=(50,), hidden_sizes=((200, 200),), activation="tanh", mean=None, posterior="normal",
    prior="normal", likelihood="bernoulli", **kwargs,
):  # fmt: skip
    """Makes an IWAE of multi-layer perceptrons, the generative network the mirror of the inference network.

    The defaults are the one-layer network of Burda, Grosse & Salakhutdinov 2015 (arXiv:1509.00519); their two-layer
    network is `latent_sizes=(100, 50), hidden_sizes=((200, 200), (100, 100))`.

    Args:
      event_shape: shape of one observation.
      latent_sizes: sizes of z_1, ..., z_L.
      hidden_sizes: for each of them, the widths of the hidden layers between it and what lies below it.
      activation: that of the hidden layers.
      mean: training mean of the data in [0, 1], at which the output bias starts; see `layers.ObservationLayer`.
      posterior: the layers of q: `"normal"`, `"full"`, `"mixture"`, `"iaf"`, `"planar"` or `"realnvp"`, or a class of
        stochastic layer.
      prior: that of z_L: `"normal"`, `"mixture"`, `"vamp"`, `"maf"` or `"realnvp"`, or a layer.
      likelihood: of x: `"bernoulli"`, or of grey values in [0, 1] `"continuous-bernoulli"`, `"normal"`, `"logistic"` or
        `"logistic-mixture"`, or a class of stochastic layer.
      **kwargs: `objective`, `preprocessing`, `seed` and the other arguments of `IWAE`.

    Returns:
      An `IWAE`.

    Raises:
      ValueError: if the two sequences of sizes differ in length or hold anything but positive integers, or a name is
        none of these.
    """
    generated = functools.partial(_chosen(LIKELIHOODS, likelihood, "likelihood"), event_shape, **_start(mean))
    parts = {"posterior": posterior, "prior": prior, "activation": activation}
    return _mirrored(generated, None, latent_sizes, hidden_sizes, **parts, **kwargs)


def tabular(columns, latent_sizes=(10,), hidden_sizes=((100, 100),), activation="tanh", **kwargs):
    """Makes an IWAE of the rows of a table: perceptrons between `TableFeatures` and a `Heterogeneous` likelihood.

    Args:
      columns: a table of `data.from_dataframe`, or columns as `Heterogeneous` takes them.
      latent_sizes: sizes of z_1, ..., z_L.
      hidden_sizes: for each of them, the widths of the hidden layers between it and what lies below it.
      activation: that of the hidden layers.
      **kwargs: `posterior` and `prior` as in `mlp`; `objective`, `seed` and the other arguments of `IWAE`.

    Returns:
      An `IWAE`, which takes NaN as missing.

    Raises:
      ValueError: as in `mlp` and `Heterogeneous`.
    """
    columns = getattr(columns, "columns", columns)
    likelihood = functools.partial(layers.Heterogeneous, columns)
    reader = layers.TableFeatures(columns)
    return _mirrored(likelihood, reader, latent_sizes, hidden_sizes, activation=activation, **kwargs)


def conv(
    event_shape, latent_size=50, filters=(16, 32), kernel_size=3, activation="gelu", mean=None, posterior="normal",
    prior="normal", likelihood="bernoulli", **kwargs,
):  # fmt: skip
    """Makes an IWAE of images with one stochastic layer and convolutional networks, one the mirror of the other.

    Args:
      event_shape: shape of one image, `(height, width, channels)`.
      latent_size: size of z.
      filters: feature maps of the convolutions, from the image up; each halves height and width.
      kernel_size: height and width of every kernel.
      activation: that of every convolution.
      mean: training mean of the data in [0, 1], at which the output bias starts.
      posterior: as in `mlp`.
      prior: as in `mlp`.
      likelihood: as in `mlp`.
      **kwargs: `objective`, `preprocessing`, `seed` and the other arguments of `IWAE`.

    Returns:
      An `IWAE`.

    Raises:
      ValueError: if `event_shape` is not that of an image, a size is no positive integer, or a name is none there is.
    """
    common = {"kernel_size": kernel_size, "activation": activation}
    encoder, decoder = ConvEncoder(filters, **common), ConvDecoder(event_shape, filters[::-1], **common)
    observation = _chosen(LIKELIHOODS, likelihood, "likelihood")(event_shape, network=decoder, **_start(mean))
    return IWAE(
        encoder=[_chosen(POSTERIORS, posterior, "posterior")(latent_size, network=encoder)],
        decoder=[observation],
        prior=_prior(prior, latent_size, observation, 1),
        **kwargs,
    )


def _mirrored(
    likelihood, reader, latent_sizes, hidden_sizes, activation, posterior="normal", prior="normal", **kwargs
):  # fmt: skip
    """Makes an IWAE of perceptrons; `likelihood` makes the layer of p(x|z_1), and `reader` reads x for q(z_1|x)."""
    latent_sizes = as_sizes(latent_sizes, "latent_sizes")
    if len(hidden_sizes) != len(latent_sizes):
        raise ValueError(
            "Expected hidden_sizes to hold one sequence of widths for each latent size. "
            f"Received: latent_sizes={latent_sizes!r}, hidden_sizes={hidden_sizes!r}"
        )
    up = _chosen(POSTERIORS, posterior, "posterior")
    networks = [{"hidden": hidden, "activation": activation} for hidden in hidden_sizes]
    down = [
        layers.IndependentNormal(size, **network) for size, network in zip(latent_sizes[:-1], networks[1:], strict=True)
    ]
    observation = likelihood(**networks[0])
    if reader:
        networks[0] = {"network": MLP(hidden_sizes[0], activation, reader), "activation": activation}
    return IWAE(
        encoder=[up(size, **network) for size, network in zip(latent_sizes, networks, strict=True)],
        decoder=[*reversed(down), observation],
        prior=_prior(prior, latent_sizes[-1], observation, len(latent_sizes)),
        **kwargs,
    )


def _chosen(table, choice, what):
    """Returns what a name stands for, or what is no name."""
    return table[check_choice(choice, what, table)] if isinstance(choice, str) else choice


def _start(mean):
    """Returns the mean as a keyword, or none: a class of a user's own need not have it."""
    return {} if mean is None else {"mean": mean}


def _prior(choice, size, observation, num_layers):
    """Makes the prior of a name, or returns the layer."""
    made = _chosen(PRIORS, choice, "prior")
    unit = num_layers == 1 and getattr(observation, "support", None) == (0, 1)
    return made(size, unit) if isinstance(choice, str) else made
