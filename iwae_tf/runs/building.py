"""The model of a configuration."""

from typing import Any, Protocol

import keras
import numpy.typing as npt

from iwae_tf import builders
from iwae_tf.layers import Grey, StochasticBinarization
from iwae_tf.model import IWAE
from iwae_tf.runs.config import Config


class DataDescription(Protocol):
    """Describes a data set to `build`: `data.Splits`, for example. Data of a table have `columns` too."""

    @property
    def event_shape(self) -> tuple[int, ...]: ...

    @property
    def mean(self) -> npt.ArrayLike | None: ...


def build(config: Config, splits: DataDescription) -> IWAE:
    """Makes and compiles the model of a configuration.

    Args:
      config: the configuration.
      splits: the data set; only its `event_shape` and `mean` are used, or its `columns` for a table.

    Returns:
      A compiled `IWAE`.

    Raises:
      ValueError: if the likelihood is `"table"` and the data have no columns.

    Example:
      ```python
      config = runs.Config(objective="dreg", num_samples=5, latent_sizes=(10,), hidden_sizes=((50,),))
      model = runs.build(config, splits)
      model.evaluate(x, verbose=0, return_dict=True)["elbo"]  # in nats
      ```
    """
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
        # Every likelihood but Bernoulli takes grey values.
        preprocessing = StochasticBinarization() if likelihood == "bernoulli" else Grey()
        options |= {"likelihood": likelihood, "mean": splits.mean, "preprocessing": preprocessing}
    if likelihood == "table":
        columns = getattr(splits, "columns", ())
        if not columns or config.network == "conv":
            raise ValueError(f"Expected a table of columns, and network 'mlp'. Received: {config}")
        model = builders.tabular(columns, config.latent_sizes, config.hidden_sizes, **options)
    elif config.network == "conv":
        model = builders.conv(splits.event_shape, config.latent_sizes[0], **options)
    else:
        model = builders.mlp(splits.event_shape, config.latent_sizes, config.hidden_sizes, **options)
    # Burda's epsilon is 1e-4 for a gradient summed over the batch; ours is averaged.
    epsilon = {"epsilon": 1e-4 / config.batch_size} if config.schedule == "burda" else {}
    average = {} if config.ema is None else {"use_ema": True, "ema_momentum": config.ema}
    optimizer = keras.optimizers.Adam(config.learning_rate, **epsilon, **average)
    model.compile(optimizer, steps_per_execution=config.steps_per_execution or "auto")
    return model
