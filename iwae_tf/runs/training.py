"""Training of a run: a folder with a model and all its results."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy.typing as npt
import tensorflow as tf

from iwae_tf import builders, callbacks, data
from iwae_tf.exporting import export
from iwae_tf.files import find_unfinished, remove, write_whole
from iwae_tf.layers import StochasticBinarization
from iwae_tf.model import IWAE
from iwae_tf.runs.config import Config, write_config
from iwae_tf.runs.evaluation import report_test_data
from iwae_tf.training import checkpoints, replicas


class DataDescription(Protocol):
    """Describes a data set to `build`: `data.Splits`, for example."""

    @property
    def event_shape(self) -> tuple[int, ...]: ...

    @property
    def mean(self) -> npt.ArrayLike | None: ...


def build(config: Config, splits: DataDescription) -> IWAE:
    """Makes and compiles the model of a configuration.

    Args:
      config: the configuration.
      splits: the data set; only its `event_shape` and `mean` are used.

    Returns:
      A compiled `IWAE`.

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
        "likelihood": config.likelihood,
        "mean": splits.mean,
        "objective": config.make_objective(),
        # Every likelihood but Bernoulli takes grey values.
        "preprocessing": StochasticBinarization("dynamic" if config.likelihood == "bernoulli" else "none"),
        "seed": config.seed,
        "ladder": config.ladder,
        "skip": config.skip,
    }
    if config.network == "conv":
        model = builders.conv(splits.event_shape, config.latent_sizes[0], **options)
    else:
        model = builders.mlp(splits.event_shape, config.latent_sizes, config.hidden_sizes, **options)
    # Burda's epsilon is 1e-4 for a gradient summed over the batch; ours is averaged.
    optimizer = keras.optimizers.Adam(config.learning_rate, epsilon=1e-4 / config.batch_size)
    model.compile(optimizer, steps_per_execution=config.steps_per_execution or "auto")
    return model


def schedules(config: Config) -> tuple[int, list[keras.callbacks.Callback]]:
    """Returns the number of epochs of a configuration, and the callbacks that change the training from epoch to epoch.

    Example:
      ```python
      epochs, chain = runs.schedules(runs.Config(schedule="burda", stages=4, warm_up=10))
      epochs  # 40
      chain  # [BurdaSchedule, WarmUp]
      ```
    """
    epochs = config.epochs
    chain: list[keras.callbacks.Callback] = []
    if config.schedule == "burda":
        burda = callbacks.BurdaSchedule(config.stages, config.learning_rate)
        epochs = burda.epochs
        chain.append(burda)
    if config.warm_up:
        chain.append(callbacks.WarmUp(config.warm_up))
    return epochs, chain


def fit(
    model: IWAE,
    splits: data.Splits,
    config: Config,
    observers: Sequence[keras.callbacks.Callback] = (),
    verbose: int = 0,
    initial_epoch: int = 0,
) -> int:
    """Trains a model as a configuration says.

    Args:
      model: the model that `build` made.
      splits: the data set.
      config: the configuration.
      observers: callbacks that observe the training; they come after the `schedules`.
      verbose: 1 shows progress bars.
      initial_epoch: number of epochs that the model has been trained for.

    Returns:
      The number of epochs.

    Example:
      ```python
      config = runs.Config(latent_sizes=(5,), hidden_sizes=((20,),), num_samples=5, epochs=1)
      runs.fit(runs.build(config, splits), splits, config)  # 1
      ```
    """
    epochs, chain = schedules(config)
    # The schedules come first, because the observers log the learning rate and the weight of the KL.
    model.fit(
        splits.train, validation_data=splits.validation, initial_epoch=initial_epoch, epochs=epochs,
        callbacks=[*chain, *observers], verbose=verbose,
    )  # fmt: skip
    return epochs


def train(
    config: Config,
    output: str | os.PathLike,
    overwrite: bool = False,
    verbose: int = 1,
    resume: bool = False,
    checkpoint_every: float = 60.0,
    distribute: str | None = None,
) -> dict[str, Any]:
    """Trains, evaluates and exports a model; the folder gets its name only when it is complete.

    Until then its name ends in `.part`. After an error, an interrupt or a kill it stays, and `resume` continues from
    its last checkpoint: the model becomes what it would have been without the break.

    Args:
      config: the configuration.
      output: the run folder.
      overwrite: whether to replace an existing folder, once the new one is complete.
      verbose: 1 shows progress bars.
      resume: whether to resume an unfinished run with the same `config`, if there is one.
      checkpoint_every: seconds between checkpoints within an epoch; every epoch ends with one too.
      distribute: name of a strategy for several devices or processes, see `replicas.STRATEGIES`. All processes get the
        same arguments and share the folder.

    Returns:
      The metrics: `test`, `active_units` and `training`, each a dict. A worker other than the chief gets an empty dict.

    Raises:
      ConnectionError: if another worker stops answering.
      FileExistsError: if `output` exists and `overwrite` is false.
      FileNotFoundError: if the data set is not available.
      KeyboardInterrupt: after an interrupt; its message says how to resume.
      ValueError: if the unfinished run has another configuration.

    Example:
      ```python
      config = runs.Config(latent_sizes=(5,), hidden_sizes=((20,),), num_samples=5, epochs=1, test_samples=10)
      metrics = runs.train(config, "runs/small", verbose=0)
      metrics["test"]["log_likelihood"]  # in nats
      ```
    """
    strategy = replicas.make_strategy(distribute)
    if not replicas.is_chief(strategy):
        _fit(config, strategy, find_unfinished(output) if resume else None, verbose=0, write=False)
        return {}
    resume = resume and find_unfinished(output) is not None  # A kill may come before there is a folder.
    with write_whole(output, overwrite, keep_failed=True, resume=resume) as folder:
        if resume and (unfinished := Config.read(folder)) != config:
            raise ValueError(f"Expected the options of the unfinished run, {unfinished}. Received: {config}")
        try:
            if not resume:
                with write_whole(folder) as new:
                    new.mkdir()
                    write_config(config, new)
            metrics = _fit_and_report(config, strategy, folder, verbose, checkpoint_every)
        except KeyboardInterrupt:
            if not folder.exists():
                raise
            done = f"after {checkpoints.count_epochs(folder)} epochs, kept in {folder}"
            raise KeyboardInterrupt(f"{done}; resume (--resume) continues from there") from None
        except Exception:
            if not (folder / "checkpoints").exists():  # There is nothing to resume from.
                remove(folder)
            raise
    checkpoints.clear(output)
    return metrics


def _fit_and_report(
    config: Config, strategy: tf.distribute.Strategy, folder: Path, verbose: int, checkpoint_every: float
) -> dict[str, Any]:
    """Trains a model, and writes it and its results to the folder."""
    model, splits, training = _fit(config, strategy, folder, verbose, checkpoint_every)
    return write_results(model, splits, config, folder, training, verbose)


def write_results(
    model: IWAE, splits: data.Splits, config: Config, folder: Path, training: dict[str, Any], verbose: int
) -> dict[str, Any]:
    """Writes a trained model, its export and its results on the test data to the folder of a run.

    Args:
      model: the trained model.
      splits: the data set.
      config: the configuration of the run.
      folder: an existing folder.
      training: the metrics of the training: `epochs`, `seconds` and `parameters`.
      verbose: 1 shows a progress bar.

    Returns:
      The metrics, as `train` returns them.
    """
    model.save(folder / "model.keras")
    export(model, folder / "saved_model", config.test_samples, overwrite=True)
    return report_test_data(model, splits, config, folder, {"training": training}, verbose)


def _fit(
    config: Config,
    strategy: tf.distribute.Strategy,
    folder: Path | None,
    verbose: int,
    checkpoint_every: float = 60.0,
    write: bool = True,
) -> tuple[IWAE, data.Splits, dict[str, Any]]:
    """Trains a model from the last checkpoint in the folder on; only the worker with `write` writes to the folder."""
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.precision)
    splits = data.load(config.dataset, config.batch_size, config.data_dir, config.seed)
    with strategy.scope():
        model = build(config, splits)
    checkpointer = checkpoints.Checkpoints(folder, checkpoint_every, write)
    done = checkpointer.restore(model) if folder else 0
    observers: list[keras.callbacks.Callback] = []
    if not replicas.is_several(strategy):
        observers.append(callbacks.NonFiniteGuard())
    if write and folder:
        observers += [
            keras.callbacks.CSVLogger(str(folder / "history.csv"), append=bool(done)),
            keras.callbacks.TensorBoard(str(folder / "tensorboard"), write_graph=False),
        ]
        if config.diagnose:
            observers.append(callbacks.Diagnostics(folder / "tensorboard", splits.validation))
    # The checkpoint comes last: the others have written the epochs that it counts.
    epochs = fit(model, splits, config, [*observers, checkpointer], verbose, initial_epoch=done)
    return model, splits, {"epochs": epochs, "seconds": checkpointer.seconds, "parameters": model.count_params()}
