"""Training of a run: a folder with a model and everything known about it."""

import keras

from iwae_tf import builders, callbacks, data, objectives
from iwae_tf.exporting import export
from iwae_tf.files import find_unfinished, remove, write_whole
from iwae_tf.layers import StochasticBinarization
from iwae_tf.runs.config import Config, write_config
from iwae_tf.runs.evaluation import report_test_data
from iwae_tf.training import checkpoints, replicas


def build(config, splits):
    """Makes and compiles the model of a `Config` for `data.Splits`."""
    options = {
        "posterior": config.posterior,
        "prior": config.prior,
        "likelihood": config.likelihood,
        "mean": splits.mean,
        "objective": objectives.get(config.objective, config.num_samples, config.beta),
        # Grey values for the likelihoods that are not of binary data.
        "preprocessing": StochasticBinarization("dynamic" if config.likelihood == "bernoulli" else "none"),
        "seed": config.seed,
        "ladder": config.ladder,
        "skip": config.skip,
    }
    if config.network == "conv":
        model = builders.conv(splits.event_shape, *config.latent_sizes, **options)
    else:
        model = builders.mlp(splits.event_shape, config.latent_sizes, config.hidden_sizes, **options)
    # Burda's epsilon is 1e-4 for a gradient summed over the batch; ours is a mean.
    optimizer = keras.optimizers.Adam(config.learning_rate, epsilon=1e-4 / config.batch_size)
    model.compile(optimizer, steps_per_execution=config.steps_per_execution or "auto")
    return model


def schedules(config):
    """Returns the number of epochs of a `Config`, and the callbacks that change something from epoch to epoch."""
    epochs = config.epochs
    changing: list[keras.callbacks.Callback] = []
    if config.schedule == "burda":
        stages = callbacks.BurdaSchedule(config.stages, config.learning_rate)
        epochs, changing = stages.epochs, [stages]
    if config.warm_up:
        changing.append(callbacks.WarmUp(config.warm_up))
    return epochs, changing


def fit(model, splits, config, watchers=(), verbose=0, initial_epoch=0):
    """Trains a model as a `Config` says, with callbacks that watch; returns the number of epochs."""
    epochs, changing = schedules(config)
    # The schedules first: the others log the learning rate and the weight of the KL that they set.
    chain = [*changing, *watchers]
    model.fit(
        splits.train, validation_data=splits.validation, initial_epoch=initial_epoch, epochs=epochs, callbacks=chain,
        verbose=verbose,
    )  # fmt: skip
    return epochs


def train(config, output, overwrite=False, verbose=1, resume=False, checkpoint_every=60.0, distribute=None):
    """Trains, evaluates and exports a model; the folder appears under its name only when all of it is there.

    Until then all is in a folder with `.part` at the end of its name. After an error, an interrupt or a kill it stays,
    and `resume` goes on from its last checkpoint: the model becomes what it would have been without a break.

    Args:
      config: a `Config`.
      output: the run folder.
      overwrite: whether an existing folder is replaced, once the new one is whole.
      verbose: 1 shows progress bars.
      resume: whether an unfinished run of the same `Config` is gone on with, if there is one.
      distribute: name of a strategy by which several devices or processes train, see `replicas.STRATEGIES`. All
        processes are given the same arguments, and share the folder.
      checkpoint_every: seconds between checkpoints in an epoch; there is one after every epoch too.

    Returns:
      The metrics, a dict; of a worker that is not the chief an empty one.

    Raises:
      ConnectionError: if another worker went away.
      FileExistsError: if `output` exists and `overwrite` is false.
      FileNotFoundError: if the data set is not at hand.
      KeyboardInterrupt: with a message that says how to go on, if one comes.
      ValueError: if the run to be resumed is of another `Config`.
    """
    strategy = replicas.make_strategy(distribute)
    if not replicas.is_chief(strategy):
        _fit(config, strategy, find_unfinished(output) if resume else None, verbose=0, write=False)
        return {}
    resume = resume and find_unfinished(output) is not None  # a kill may come before there is a folder
    with write_whole(output, overwrite, keep_failed=True, resume=resume) as folder:
        if resume and (found := Config.read(folder)) != config:
            raise ValueError(f"Expected the options of the unfinished run, {found}. Received: {config}")
        try:
            if not resume:
                with write_whole(folder) as part:
                    part.mkdir()
                    write_config(config, part)
            metrics = _fit_and_report(config, strategy, folder, verbose, checkpoint_every)
        except KeyboardInterrupt:
            if not folder.exists():
                raise
            kept = f"after {checkpoints.latest(folder)} epochs, which are kept in {folder}"
            raise KeyboardInterrupt(f"{kept}; resume (--resume) goes on from there") from None
        except Exception:
            if not (folder / "checkpoints").exists():  # nothing to go on from
                remove(folder)
            raise
    checkpoints.clear(output)
    return metrics


def _fit_and_report(config, strategy, folder, verbose, checkpoint_every):
    """Trains, and writes all that is known of the model."""
    model, splits, training = _fit(config, strategy, folder, verbose, checkpoint_every)
    model.save(folder / "model.keras")
    export(model, folder / "saved_model", config.test_samples, overwrite=True)
    return report_test_data(model, splits, config, folder, {"training": training}, verbose)


def _fit(config, strategy, folder, verbose, checkpoint_every=60.0, write=True):
    """Trains from the last checkpoint in the folder on; one of several workers writes what comes of it."""
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.precision)
    splits = data.load(config.dataset, config.batch_size, config.data_dir, config.seed)
    with strategy.scope():
        model = build(config, splits)
    keeper = checkpoints.Checkpoints(folder, checkpoint_every, write)
    done = keeper.restore(model) if folder else 0
    watchers = [] if replicas.is_several(strategy) else [callbacks.NonFiniteGuard()]
    if write:
        watchers += [
            keras.callbacks.CSVLogger(str(folder / "history.csv"), append=bool(done)),
            keras.callbacks.TensorBoard(str(folder / "tensorboard"), write_graph=False),
        ]
        if config.diagnose:
            watchers.append(callbacks.Diagnostics(folder / "tensorboard", splits.validation))
    # The checkpoint last: what it has counted, the others have written.
    epochs = fit(model, splits, config, [*watchers, keeper], verbose, initial_epoch=done)
    return model, splits, {"epochs": epochs, "seconds": keeper.seconds, "parameters": model.count_params()}
