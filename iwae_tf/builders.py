"""Models in one call."""

import functools

from iwae_tf.layers import Heterogeneous, IndependentBernoulli, IndependentNormal, StandardNormal, TableFeatures
from iwae_tf.layers.base import as_sizes
from iwae_tf.model import IWAE


def mlp(event_shape, latent_sizes=(50,), hidden_sizes=((200, 200),), activation="tanh", mean=None, **kwargs):
    """Makes an IWAE of multi-layer perceptrons, the generative network the mirror of the inference network.

    The defaults are the one-layer network of Burda, Grosse & Salakhutdinov 2015 (arXiv:1509.00519); their two-layer
    network is `latent_sizes=(100, 50), hidden_sizes=((200, 200), (100, 100))`.

    Args:
      event_shape: shape of one observation; its likelihood is Bernoulli.
      latent_sizes: sizes of z_1, ..., z_L.
      hidden_sizes: for each of them, the widths of the hidden layers between it and what lies below it.
      activation: that of the hidden layers.
      mean: training mean of the data in [0, 1], at whose logit the output bias starts; see `IndependentBernoulli`.
      **kwargs: `objective`, `preprocessing`, `seed` and the other arguments of `IWAE`.

    Returns:
      An `IWAE`.

    Raises:
      ValueError: if the two sequences of sizes differ in length or hold anything but positive integers.
    """
    likelihood = functools.partial(IndependentBernoulli, event_shape, mean=mean)
    return _mirrored(likelihood, None, latent_sizes, hidden_sizes, activation, **kwargs)


def tabular(columns, latent_sizes=(10,), hidden_sizes=((100, 100),), activation="tanh", **kwargs):
    """Makes an IWAE of the rows of a table: perceptrons between `TableFeatures` and a `Heterogeneous` likelihood.

    Args:
      columns: a table of `data.from_dataframe`, or columns as `Heterogeneous` takes them.
      latent_sizes: sizes of z_1, ..., z_L.
      hidden_sizes: for each of them, the widths of the hidden layers between it and what lies below it.
      activation: that of the hidden layers.
      **kwargs: `objective`, `seed` and the other arguments of `IWAE`.

    Returns:
      An `IWAE`, which takes NaN as missing.

    Raises:
      ValueError: as in `mlp` and `Heterogeneous`.
    """
    columns = getattr(columns, "columns", columns)
    likelihood = functools.partial(Heterogeneous, columns)
    return _mirrored(likelihood, TableFeatures(columns), latent_sizes, hidden_sizes, activation, **kwargs)


def _mirrored(likelihood, network, latent_sizes, hidden_sizes, activation, **kwargs):
    """Makes an IWAE of perceptrons; `likelihood` makes the layer of p(x|z_1), and `network` reads x for q(z_1|x)."""
    latent_sizes = as_sizes(latent_sizes, "latent_sizes")
    if len(hidden_sizes) != len(latent_sizes):
        raise ValueError(
            "Expected hidden_sizes to hold one sequence of widths for each latent size. "
            f"Received: latent_sizes={latent_sizes!r}, hidden_sizes={hidden_sizes!r}"
        )
    up, *between = [
        functools.partial(IndependentNormal, size, hidden=hidden, activation=activation)
        for size, hidden in zip(latent_sizes, hidden_sizes, strict=True)
    ]
    down = [
        IndependentNormal(size, hidden=hidden, activation=activation)
        for size, hidden in zip(latent_sizes[:-1], hidden_sizes[1:], strict=True)
    ]
    return IWAE(
        encoder=[up(network=network), *(layer() for layer in between)],
        decoder=[*reversed(down), likelihood(hidden=hidden_sizes[0], activation=activation)],
        prior=StandardNormal(latent_sizes[-1]),
        **kwargs,
    )
