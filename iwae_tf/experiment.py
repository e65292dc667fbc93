"""One run: a folder with a trained model and all that is known of it."""

import dataclasses
import json
import platform
import zipfile
from importlib import metadata
from pathlib import Path

import keras

from iwae_tf import builders, callbacks, checkpoints, data, evaluation, objectives, plots, replicas
from iwae_tf.exporting import export
from iwae_tf.files import read_json, remove, unfinished, written_whole
from iwae_tf.layers import StochasticBinarization
from iwae_tf.objectives.base import check_choice

SCHEDULES = ("constant", "burda")
NETWORKS = ("mlp", "conv")
PRECISIONS = ("float32", "float64", "mixed_bfloat16", "mixed_float16")


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything needed to repeat a run; for the meaning of each see `iwae-tf train --help`.

    Raises:
      ValueError: if a value is not among those there are.
    """

    dataset: str = "digits"
    data_dir: str | None = None
    objective: str = "iwae"
    num_samples: int = 50
    beta: float | None = None
    warm_up: int = 0
    network: str = "mlp"
    posterior: str = "normal"
    prior: str = "normal"
    likelihood: str = "bernoulli"
    ladder: bool = False
    skip: bool = False
    latent_sizes: tuple[int, ...] = (50,)
    hidden_sizes: tuple[tuple[int, ...], ...] = ((200, 200),)
    schedule: str = "constant"
    epochs: int = 50
    stages: int = 8
    learning_rate: float = 1e-3
    batch_size: int = 20
    seed: int = 0
    steps_per_execution: int | None = None
    precision: str = "float32"
    test_samples: int = 5000
    diagnose: bool = False

    def __post_init__(self):
        for name, known in (
            ("dataset", data.NAMES),
            ("objective", sorted(objectives.NAMES)),
            ("network", NETWORKS),
            ("posterior", builders.POSTERIORS),
            ("prior", builders.PRIORS),
            ("likelihood", builders.LIKELIHOODS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
        ):
            check_choice(getattr(self, name), name, known)
        for name in ("num_samples", "epochs", "stages", "batch_size", "steps_per_execution", "test_samples"):
            if name != "steps_per_execution" or self.steps_per_execution is not None:
                objectives.check_count(getattr(self, name), name)
        if self.warm_up:
            objectives.check_count(self.warm_up, "warm_up")
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"Expected learning_rate to be a positive number. Received: {self.learning_rate}")
        if self.beta is not None:
            objectives.get(self.objective, self.num_samples, self.beta)
        if not 1 <= len(self.latent_sizes) <= 7:
            raise ValueError(f"Expected 1 to 7 latent sizes, one per stochastic layer. Received: {self.latent_sizes}")
        if self.network == "conv" and len(self.latent_sizes) > 1:
            raise ValueError(f"Expected one latent size with network 'conv'. Received: {self.latent_sizes}")

    def __repr__(self):
        values = ((field, getattr(self, field.name)) for field in dataclasses.fields(self))
        return f"Config({', '.join(f'{field.name}={v!r}' for field, v in values if v != field.default)})"

    @classmethod
    def read(cls, run):
        """Reads the configuration of a run folder."""
        path = Path(run) / "config.json"
        if not path.is_file():
            raise FileNotFoundError(f"Expected the folder of a run, with config.json in it. Received: {run}")
        held = read_json(path)
        try:
            options = dict(held["options"])
            options["latent_sizes"] = tuple(options["latent_sizes"])
            options["hidden_sizes"] = tuple(map(tuple, options["hidden_sizes"]))
            return cls(**options)
        except (KeyError, TypeError) as error:
            raise ValueError(f"Expected the options of a run in {path}. Received: {error!r}") from error


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
        _fit(config, strategy, unfinished(output) if resume else None, verbose=0, write=False)
        return {}
    resume = resume and unfinished(output) is not None  # a kill may come before there is a folder
    with written_whole(output, overwrite, keep_failed=True, resume=resume) as folder:
        if resume and (found := Config.read(folder)) != config:
            raise ValueError(f"Expected the options of the unfinished run, {found}. Received: {config}")
        try:
            if not resume:
                with written_whole(folder) as part:
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
    return _report(model, splits, config, folder, {"training": training}, verbose)


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


def evaluate(run, test_samples=None, data_dir=None, verbose=1):
    """Evaluates the model of a run anew on its test data, and rewrites what the run folder says of it.

    Args:
      run: a run folder.
      test_samples: samples per observation; `None` takes the run's own.
      data_dir: folder of prepared TFDS data; `None` takes the run's own.
      verbose: 1 shows a progress bar.

    Returns:
      The metrics, a dict.

    Raises:
      FileNotFoundError: if `run` is no run folder, or its data set is not at hand.
    """
    config = Config.read(run)
    config = dataclasses.replace(
        config, test_samples=test_samples or config.test_samples, data_dir=data_dir or config.data_dir
    )
    splits = data.load(config.dataset, config.batch_size, config.data_dir, config.seed)
    folder = Path(run)
    metrics = read_json(folder / "metrics.json")
    return _report(load_model(run), splits, config, folder, metrics, verbose)


def load_model(run):
    """Loads the Keras model of a run folder, in Keras' safe mode: nothing in it is run.

    Raises:
      FileNotFoundError: if there is none.
      ValueError: if it is damaged, asks for code to be run, or would write outside of its archive.
    """
    path = Path(run) / "model.keras"
    if not path.is_file():
        raise FileNotFoundError(f"Expected the folder of a run, with model.keras in it. Received: {run}")
    try:
        with zipfile.ZipFile(path) as archive:
            outside = [name for name in archive.namelist() if name.startswith("/") or ".." in Path(name).parts]
        if outside:
            raise ValueError(f"a path that leaves the archive, {outside[0]!r}")
        return keras.saving.load_model(path)
    except Exception as error:  # of any kind, by what is damaged
        raise ValueError(f"Expected a model of Keras in {path}. Received: {error}") from error


def _report(model, splits, config, folder, metrics, verbose):
    """Evaluates on the test data, and writes tables, pictures and metrics to the folder."""
    table = evaluation.log_likelihood(model, splits.test, config.test_samples, config.seed, verbose)
    units = evaluation.active_units(model, splits.test, seed=config.seed)
    active = units.groupby("layer").active.sum()
    metrics = {
        **metrics,
        "test": {**evaluation.summarize(table), "num_samples": config.test_samples},
        "active_units": {f"layer_{layer}": int(count) for layer, count in active.items()},
    }
    x = next(iter(splits.test.unbatch().batch(20)))
    for name, write in {
        "test_log_likelihood.csv": lambda path: table.to_csv(path, index_label="observation"),
        "active_units.csv": lambda path: units.to_csv(path, index=False),
        "samples.png": lambda path: plots.samples(model, seed=config.seed).savefig(path, format="png"),
        "reconstructions.png": lambda path: plots.reconstructions(model, x, config.seed).savefig(path, format="png"),
        "metrics.json": lambda path: path.write_text(json.dumps(metrics, indent=2) + "\n"),
    }.items():
        with written_whole(folder / name, overwrite=True) as part:
            write(part)
    return metrics


def write_config(config, folder):
    """Writes config.json: the options, and the versions they were run with."""
    packages = ("iwae-tf", "keras", "numpy", "tensorflow", "tensorflow-datasets", "tensorflow-probability")
    content = {
        "options": dataclasses.asdict(config),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}},
    }
    (folder / "config.json").write_text(json.dumps(content, indent=2) + "\n")
