"""Training of a run: a folder with a model and all its results."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import pandas as pd
import tensorflow as tf
from keras.src.utils import io_utils

from iwae_tf import callbacks, data
from iwae_tf.callbacks.hparams import write_hparams
from iwae_tf.exporting import export
from iwae_tf.files import find_in_run, find_unfinished, remove, write_json, write_whole
from iwae_tf.model import IWAE
from iwae_tf.runs.building import build
from iwae_tf.runs.config import INCIDENTAL, Config, write_config
from iwae_tf.runs.evaluation import load_model, report_test_data
from iwae_tf.runs.loading import RunData, load
from iwae_tf.training import checkpoints, replicas
from iwae_tf.training.early_stopping import WEIGHTS, BestEpoch

#: The results on the test data that HParams shows.
TEST_RESULTS = ("log_likelihood", "standard_error", "effective_sample_size", "unreliable")


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
    elif config.schedule == "cosine":
        chain.append(callbacks.CosineSchedule(epochs, config.learning_rate))
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
    for first, last, num_samples in _list_phases(config, epochs):
        # A training that is resumed at its end still has to end: its last part is not skipped.
        if initial_epoch >= last and last < epochs:
            continue
        if config.first_epochs:
            model.objective = config.make_objective(num_samples)
        # The schedules come first, because the observers log the learning rate and the weight of the KL.
        model.fit(
            splits.train, validation_data=splits.validation, initial_epoch=max(initial_epoch, first), epochs=last,
            callbacks=[*chain, *observers], verbose=verbose,
        )  # fmt: skip
        for logger in (observer for observer in observers if isinstance(observer, keras.callbacks.CSVLogger)):
            logger.append = True
    return epochs


def _list_phases(config: Config, epochs: int) -> list[tuple[int, int, int | None]]:
    """Returns the first epoch, the end and the number of samples of the parts of a training."""
    first = min(config.first_epochs, epochs)
    return [(0, first, config.first_samples), (first, epochs, config.num_samples)]


def train(
    config: Config,
    output: str | os.PathLike,
    overwrite: bool = False,
    verbose: int = 1,
    resume: bool = False,
    checkpoint_every: float = 60.0,
    distribute: str | None = None,
    evaluate: bool = True,
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
      evaluate: whether to evaluate and export the model too. `runs.evaluate` and `exporting.export` can do so later.

    Returns:
      The metrics: `test`, `active_units` and `training`, each a dict; `training` alone without evaluation. A worker
      other than the chief gets an empty dict.

    Raises:
      ConnectionError: if another worker stops answering.
      FileExistsError: if `output` exists and `overwrite` is false.
      FileNotFoundError: if the data set or the file is not available, or `config.start_from` is not a run folder.
      KeyboardInterrupt: after an interrupt; its message says how to resume.
      ValueError: if the unfinished run has another configuration, the run to start from has another model, or the file
        cannot be modelled; see `loading.load`.

    Example:
      ```python
      config = runs.Config(latent_sizes=(5,), hidden_sizes=((20,),), num_samples=5, epochs=1, test_samples=10)
      metrics = runs.train(config, "runs/small", verbose=0)
      metrics["test"]["log_likelihood"]  # in nats
      ```
    """
    if config.start_from:
        find_in_run(config.start_from, "model.keras")
    strategy = replicas.make_strategy(distribute)
    if config.patience and replicas.is_several(strategy):
        raise ValueError(f"Expected no patience with several replicas. Received: patience={config.patience}")
    if not replicas.is_chief(strategy):
        _fit(load(config), strategy, find_unfinished(output) if resume else None, verbose=0, write=False)
        return {}
    resume = resume and find_unfinished(output) is not None  # A kill may come before there is a folder.
    with write_whole(output, overwrite, keep_failed=True, resume=resume) as folder:
        run_data = load(config)
        config = run_data.config
        if resume and (unfinished := Config.read(folder)) != config:
            raise ValueError(f"Expected the options of the unfinished run, {unfinished}. Received: {config}")
        try:
            if not resume:
                with write_whole(folder) as new:
                    new.mkdir()
                    write_config(config, new)
            if verbose:
                io_utils.print_msg(run_data.description)
            model, training = _fit(run_data, strategy, folder, verbose, checkpoint_every)
            if evaluate:
                metrics = write_results(model, run_data, folder, training, verbose)
            else:
                model.save(folder / "model.keras")
                metrics = {"training": training}
                write_json(folder / "metrics.json", metrics)
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
    remove(Path(output) / WEIGHTS)
    return metrics


def write_results(
    model: IWAE, run_data: RunData, folder: Path, training: dict[str, Any], verbose: int
) -> dict[str, Any]:
    """Writes a trained model, its export and its results on the test data to the folder of a run.

    Args:
      model: the trained model.
      run_data: the data and the configuration of the run.
      folder: an existing folder.
      training: the metrics of the training: `epochs`, `seconds` and `parameters`.
      verbose: 1 shows a progress bar.

    Returns:
      The metrics, as `train` returns them.
    """
    config = run_data.config
    model.save(folder / "model.keras")
    export(
        model, folder / "saved_model", config.test_samples, overwrite=True,
        id_column=config.id_column, ignored_columns=run_data.ignored_columns,
    )  # fmt: skip
    metrics = report_test_data(model, run_data, folder, {"training": training}, verbose)
    _write_hparams(config, folder, metrics)
    return metrics


def _write_hparams(config: Config, folder: Path, metrics: dict[str, Any]) -> None:
    """Shows the run in TensorBoard's HParams plugin, under its name and with its results."""
    hparams = {name: value for name, value in dataclasses.asdict(config).items() if name not in INCIDENTAL}
    results = {f"test_{name}": metrics["test"][name] for name in TEST_RESULTS if name in metrics["test"]}
    if metrics["active_units"]:
        results["active_units"] = sum(metrics["active_units"].values())
    results["seconds"] = metrics["training"]["seconds"]
    with tf.summary.create_file_writer(str(folder / "tensorboard")).as_default(step=0):
        write_hparams(str(folder).removesuffix(".part"), hparams, [*results, "validation/epoch_elbo"])
        for name, value in results.items():
            tf.summary.scalar(name, float(value))


def _copy_weights(run: str, model: IWAE) -> None:
    """Gives a model the weights of a run."""
    weights = load_model(run).get_weights()
    shapes, expected = [w.shape for w in weights], [tuple(v.shape) for v in model.weights]
    if shapes != expected:
        raise ValueError(f"Expected a run of the same networks in {run}, weights {expected}. Received: {shapes}")
    model.set_weights(weights)


def _fit(
    run_data: RunData,
    strategy: tf.distribute.Strategy,
    folder: Path | None,
    verbose: int,
    checkpoint_every: float = 60.0,
    write: bool = True,
) -> tuple[IWAE, dict[str, Any]]:
    """Trains a model from the last checkpoint in the folder on; only the worker with `write` writes to the folder."""
    config, splits = run_data.config, run_data.splits
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.precision)
    with strategy.scope():
        model = build(config, run_data)
        if config.start_from:
            _copy_weights(config.start_from, model)
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
        if config.patience:
            history = folder / "history.csv"
            losses = pd.read_csv(history).val_loss if done else ()
            best = BestEpoch(folder, config.patience, losses)
            observers.append(best)
            if best.has_ended:  # The interrupt came after the last epoch.
                done = schedules(config)[0]
        if config.diagnose:
            # The run writes its own hyperparameters, once its results are there.
            observers.append(
                callbacks.Diagnostics(
                    folder / "tensorboard", splits.validation, config.diagnose_every or "auto",
                    labels=splits.validation_labels, hparams={},
                )
            )  # fmt: skip
    # The checkpoint comes last: the others have written the epochs that it counts.
    fit(model, splits, config, [*observers, checkpointer], verbose, initial_epoch=done)
    return model, {"epochs": checkpointer.epochs, "seconds": checkpointer.seconds, "parameters": model.count_params()}
