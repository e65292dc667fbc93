"""The model of a configuration."""

import functools
from typing import Any, Protocol

import keras
import numpy.typing as npt

from iwae_tf import builders
from iwae_tf.layers import Grey, StochasticBinarization
from iwae_tf.model import IWAE
from iwae_tf.runs.config import Config
from iwae_tf.sequences import NETWORKS, StateSpaceModel


class DataDescription(Protocol):
    """Describes a data set to `build`: `data.Splits`, for example. Data of a table have `columns` too."""

    @property
    def event_shape(self) -> tuple[int, ...]: ...

    @property
    def mean(self) -> npt.ArrayLike | None: ...


def build(config: Config, splits: DataDescription) -> IWAE | StateSpaceModel:
    """Makes and compiles the model of a configuration.

    Args:
      config: the configuration.
      splits: the data set; only its `event_shape` and `mean` are used, or its `columns` for a table.

    Returns:
      A compiled `IWAE`, or a `StateSpaceModel` of the networks of sequences.

    Raises:
      ValueError: if the likelihood is `"table"` and the data have no columns, or the network does not fit the data.

    Example:
      ```python
      config = runs.Config(objective="dreg", num_samples=5, latent_sizes=(10,), hidden_sizes=((50,),))
      model = runs.build(config, splits)
      model.evaluate(x, verbose=0, return_dict=True)["elbo"]  # in nats
      ```
    """
    make = _build_of_sequences if config.network in NETWORKS else _build_of_observations
    model = make(config, splits)
    # Burda's epsilon is 1e-4 for a gradient summed over the batch; ours is averaged.
    epsilon = {"epsilon": 1e-4 / config.batch_size} if config.schedule == "burda" else {}
    average = {} if config.ema is None else {"use_ema": True, "ema_momentum": config.ema}
    optimizer = keras.optimizers.Adam(config.learning_rate, **epsilon, **average)
    model.compile(optimizer, steps_per_execution=config.steps_per_execution or "auto")
    return model


def _build_of_sequences(config: Config, splits: DataDescription) -> StateSpaceModel:
    """Makes the model of a configuration of sequences."""
    if splits.event_shape[0] is not None:
        raise ValueError(f"Expected sequences with network {config.network!r}. Received: shape {splits.event_shape}")
    for name in ("posterior", "prior", "ladder", "skip", "diagnose"):
        if getattr(config, name) != getattr(Config, name):
            raise ValueError(f"Expected no {name} with network {config.network!r}. Received: {getattr(config, name)!r}")
    (latent_size,) = config.latent_sizes
    widths = {width for sizes in config.hidden_sizes or ((latent_size,),) for width in sizes}
    if len(widths) > 1:
        raise ValueError(f"Expected one hidden width with network {config.network!r}. Received: {config.hidden_sizes}")
    return NETWORKS[config.network](
        splits.event_shape[1:], latent_size, widths.pop(), mean=splits.mean,
        likelihood=config.likelihood or "bernoulli", objective=config.make_objective(), seed=config.seed,
    )  # fmt: skip


def _build_of_observations(config: Config, splits: DataDescription) -> IWAE:
    """Makes the model of a configuration of single observations."""
    if splits.event_shape[0] is None:
        raise ValueError(f"Expected network {' or '.join(NETWORKS)} with sequences. Received: {config.network!r}")
    options: dict[str, Any] = {
        "posterior": config.posterior,
        "prior": config.prior,
        "objective": config.make_objective(),
        "seed": config.seed,
        "ladder": config.ladder,
        "skip": config.skip,
    }
    likelihood = config.likelihood or "bernoulli"
    if likelihood != "table":
        preprocessing = StochasticBinarization() if likelihood in builders.BINARY_LIKELIHOODS else Grey()
        options |= {"likelihood": _find_likelihood(config), "mean": splits.mean, "preprocessing": preprocessing}
    if likelihood == "table":
        columns = getattr(splits, "columns", ())
        if not columns or config.network == "conv":
            raise ValueError(f"Expected a table of columns, and network 'mlp'. Received: {config}")
        return builders.tabular(columns, config.latent_sizes, config.hidden_sizes, **options)
    if config.network == "conv":
        filters: dict[str, Any] = {} if config.hidden_sizes is None else {"filters": config.hidden_sizes[0]}
        return builders.conv(splits.event_shape, config.latent_sizes[0], **filters, **options)
    return builders.mlp(splits.event_shape, config.latent_sizes, config.hidden_sizes, **options)


def _find_likelihood(config: Config) -> builders.Make:
    """Returns the function that makes the likelihood of a configuration."""
    make = builders.LIKELIHOODS[config.likelihood or "bernoulli"]
    if not str(config.likelihood).startswith("pixelcnn"):
        return make
    sizes = {"num_layers": config.pixel_layers, "filters": config.pixel_filters, "kernel_size": config.pixel_kernel}
    return functools.partial(make, **sizes)
