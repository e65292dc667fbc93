"""The command line. TensorFlow is imported only by the commands that need it."""

import dataclasses
import functools
import os
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True)


def _show_version(asked: bool):
    if asked:
        typer.echo(f"iwae-tf {metadata.version('iwae-tf')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
):
    """Importance-weighted autoencoders: train, evaluate, export and score."""


def _command(function, **settings):
    """Registers a command; expected errors are one line on stderr and exit code 1, Ctrl-C is one line and 130."""

    @app.command(context_settings=settings)
    @functools.wraps(function)
    def run(*args, **kwargs):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        try:
            function(*args, **kwargs)
        except (FloatingPointError, ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
            typer.secho(f"Error: {' '.join(str(error).split())}", fg="red", err=True)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as interrupt:
            typer.echo()  # below the progress bar
            typer.secho(f"Interrupted {interrupt}".rstrip(), fg="red", err=True)
            raise typer.Exit(130) from interrupt

    return run


def _sizes(text: str, separator: str = ",") -> tuple[int, ...]:
    """Parses `100,50`."""
    try:
        return tuple(int(n) for n in text.split(separator))
    except ValueError:
        raise typer.BadParameter(f"expected integers separated by '{separator}', received {text!r}") from None


def _nested_sizes(text: str) -> tuple[tuple[int, ...], ...]:
    """Parses `200x200,100x100`."""
    return tuple(_sizes(part, "x") for part in text.split(","))


def _space(kind):
    """Makes a parser of `1`, one value; `1,5,50`, a list to choose from; and, of numbers, `1..50`, a range."""

    def parse(text: str):
        try:
            if ".." in text and kind is not str:
                low, high = map(kind, text.split(".."))
                return low, high
            values = [kind(part) for part in text.split(",")]
            return values if len(values) > 1 else values[0]
        except ValueError:
            raise typer.BadParameter(
                f"expected {kind.__name__} values such as A, A,B,C or (of numbers) A..B, received {text!r}"
            ) from None

    return parse


def _searched(kind, help_text, *names):
    """Makes the option of a hyperparameter: what is not given is left to `IWAEHyperModel`."""
    return typer.Option(*names, parser=_space(kind), metavar="SPACE", help=help_text)


Run = Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of prepared TFDS data. Default: TFDS's own.")]


@_command
def train(
    context: typer.Context,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Run folder. Default: runs/DATASET.")] = None,
    dataset: Annotated[str, typer.Option(help="digits, mnist, fashion_mnist, binarized_mnist or omniglot.")] = "digits",
    data_dir: DataDir = None,
    objective: Annotated[
        str,
        typer.Option(
            help="elbo, iwae, stl, dreg, iwae-sampled, miwae, miwae-dreg, piwae, piwae-dreg, ciwae, ciwae-dreg, renyi, "
            "vr-max, rws, rws-dreg, wake-sleep or jackknife: see docs/objectives.md."
        ),
    ] = "iwae",
    k: Annotated[int, typer.Option("-k", "--num-samples", help="Importance samples per observation.")] = 50,
    beta: Annotated[
        float | None, typer.Option(help="Weight of the KL in elbo, of the ELBO in ciwae. Default: 1 and 0.5.")
    ] = None,
    warm_up: Annotated[int, typer.Option(help="Epochs over which the weight of the KL rises from 0 to 1.")] = 0,
    network: Annotated[str, typer.Option(help="mlp, or conv for images: one stochastic layer.")] = "mlp",
    posterior: Annotated[str, typer.Option(help="normal, full, mixture, iaf, planar or realnvp.")] = "normal",
    prior: Annotated[str, typer.Option(help="normal, mixture, vamp, maf or realnvp.")] = "normal",
    likelihood: Annotated[
        str, typer.Option(help="bernoulli, continuous-bernoulli, normal, logistic or logistic-mixture.")
    ] = "bernoulli",
    ladder: Annotated[bool, typer.Option("--ladder", help="Inference from the top down, merged with p.")] = False,
    skip: Annotated[bool, typer.Option("--skip", help="All layers of p see z_L.")] = False,
    latent_sizes: Annotated[
        Any, typer.Option(parser=_sizes, metavar="N,N", help="Sizes of z_1, z_2, ...: 1 to 7 of them.")
    ] = "50",
    hidden_sizes: Annotated[
        Any, typer.Option(parser=_nested_sizes, metavar="NxN,NxN", help="Hidden widths for each of them.")
    ] = "200x200",
    schedule: Annotated[
        str, typer.Option(help="constant, or burda: stages of 3^i epochs at 10^(-i/7) of the learning rate.")
    ] = "constant",
    epochs: Annotated[int, typer.Option(help="Epochs of the constant schedule.")] = 50,
    stages: Annotated[int, typer.Option(help="Stages of the burda schedule; 8 make 3280 epochs, 4 make 40.")] = 8,
    learning_rate: Annotated[float, typer.Option(help="Learning rate of Adam.")] = 1e-3,
    batch_size: Annotated[int, typer.Option(help="Observations per step.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of weights, order and draws.")] = 0,
    steps_per_execution: Annotated[
        int | None, typer.Option(help="Steps per call of the compiled program. Default: up to 100, dividing the epoch.")
    ] = None,
    precision: Annotated[str, typer.Option(help="float32, float64, mixed_bfloat16 or mixed_float16.")] = "float32",
    test_samples: Annotated[int, typer.Option(help="Samples per observation of the test log-likelihood.")] = 5000,
    diagnose: Annotated[
        bool, typer.Option("--diagnose", help="Write diagnostics to TensorBoard, for some 3 % of the time.")
    ] = False,
    distribute: Annotated[
        str | None,
        typer.Option(help="mirrored: all devices of this machine; multi-worker: the processes that TF_CONFIG names."),
    ] = None,
    overwrite: Overwrite = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with an unfinished run, if there is one, by the options it was started with."
        ),
    ] = False,
    checkpoint_every: Annotated[
        float, typer.Option(help="Seconds between checkpoints in a long epoch; there is one after every epoch too.")
    ] = 60.0,
):
    """Train a model, evaluate it on test data and export it."""
    options = {
        "num_samples" if name == "k" else name: str(value) if isinstance(value, Path) else value
        for name, value in locals().items()
        if name not in ("context", "output", "overwrite", "resume", "checkpoint_every", "distribute")
        and not (resume and getattr(context.get_parameter_source(name), "name", "") == "DEFAULT")
    }
    from iwae_tf import files, runs

    output = output or Path("runs") / dataset
    left = files.find_unfinished(output) if resume else None
    if resume and not left:
        typer.secho(f"Nothing unfinished in {output}: a new run starts", fg="yellow", err=True)
    started = runs.Config.read(left) if left else runs.Config()
    config = dataclasses.replace(started, **options)
    metrics = runs.train(
        config, output, overwrite, resume=resume, checkpoint_every=checkpoint_every, distribute=distribute
    )
    if not metrics:  # of a worker that is not the chief, which says the rest
        return
    _show(metrics)
    contents = {
        "model.keras": "Keras model",
        "saved_model": "SavedModel, for scoring",
        "metrics.json": "metrics",
        "config.json": "configuration",
        "history.csv": "history",
        "test_log_likelihood.csv": "test log-likelihoods",
        "active_units.csv": "activity of the units",
        "samples.png": "samples",
        "reconstructions.png": "reconstructions",
        "tensorboard": "TensorBoard logs",
    }
    for name, what in contents.items():
        typer.echo(f"{what:>24}  {output / name}")


@_command
def tune(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder. Default: runs/tune-DATASET.")] = None,
    dataset: Annotated[str, typer.Option(help="As for train.")] = "digits",
    data_dir: DataDir = None,
    tuner: Annotated[str, typer.Option(help="random, bayesian or hyperband.")] = "random",
    max_trials: Annotated[
        int | None, typer.Option(help="Trials at most. Default: 20; with hyperband as many as one pass takes.")
    ] = None,
    epochs: Annotated[int, typer.Option(help="Epochs of a trial; with hyperband of the longest.")] = 30,
    num_samples: Annotated[Any, _searched(int, "Importance samples. Default: 1..50.", "-k", "--num-samples")] = None,
    depth: Annotated[Any, _searched(int, "Stochastic layers. Default: 1..3.")] = None,
    learning_rate: Annotated[Any, _searched(float, "Learning rate of Adam. Default: 1e-4..1e-2.")] = None,
    latent_size: Annotated[Any, _searched(int, "Size of z_1, halved from layer to layer. Default: 50.")] = None,
    hidden_size: Annotated[Any, _searched(int, "Width of the hidden layers next to x, halved. Default: 200.")] = None,
    objective: Annotated[Any, _searched(str, "Short names, as for train. Default: iwae.")] = None,
    beta: Annotated[Any, _searched(float, "Beta of the objectives that have one, as for train.")] = None,
    posterior: Annotated[Any, _searched(str, "As for train. Default: normal.")] = None,
    prior: Annotated[Any, _searched(str, "As for train. Default: normal.")] = None,
    likelihood: Annotated[str | None, typer.Option(help="As for train. Default: bernoulli.")] = None,
    warm_up: Annotated[int | None, typer.Option(help="As for train. Default: 0.")] = None,
    val_samples: Annotated[int, typer.Option(help="Samples of the log-likelihood that trials are compared by.")] = 1000,
    val_observations: Annotated[int, typer.Option(help="Validation observations that it is the mean of.")] = 100,
    batch_size: Annotated[int, typer.Option(help="Observations per step.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of models, data and the choice of trials.")] = 0,
    test_samples: Annotated[int, typer.Option(help="Samples per observation of the test log-likelihood.")] = 5000,
    overwrite: Overwrite = False,
):
    """Search for hyperparameters, train the best model and export it; the same command goes on after an interrupt.

    A SPACE is one value (50), a list (1,5,50) or a range (1..50, 1e-4..1e-2).
    """
    arguments = {name: value for name, value in locals().items() if value is not None}
    from iwae_tf import files, tuning

    names = ("num_samples", "depth", "learning_rate", "latent_size", "hidden_size", "objective", "beta", "posterior",
             "prior", "likelihood", "warm_up", "val_samples", "val_observations")  # fmt: skip
    space = {name: arguments[name] for name in names if name in arguments}
    output = output or Path("runs") / f"tune-{dataset}"
    folder = str(data_dir) if data_dir else None
    search = tuning.Search(space, tuner, max_trials, epochs, dataset, folder, batch_size, seed, test_samples)
    table = tuning.tune(search, output, overwrite)
    typer.echo(table.sort_values("score", ascending=False).to_string(index=False))
    if (output / "best" / "metrics.json").exists():
        _show(files.read_json(output / "best" / "metrics.json"))
    for name in ("trials.csv", "trials.png", "tensorboard", "best"):
        typer.echo(output / name)


@_command
def evaluate(
    run: Run,
    test_samples: Annotated[int | None, typer.Option(help="Samples per observation. Default: the run's.")] = None,
    data_dir: DataDir = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Write every table and picture, and a report of them, to RUN/evaluation.")
    ] = False,
    overwrite: Overwrite = False,
):
    """Evaluate the model of a run on its test data anew."""
    from iwae_tf import runs
    from iwae_tf.runs import reporting

    folder = data_dir and str(data_dir)
    # First, since it says at once if there is a report already.
    page = reporting.report(run, folder, overwrite) if everything else None
    _show(runs.evaluate(run, test_samples, folder))
    if page:
        typer.echo(page)


@_command
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, two or more.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")] = Path("runs/comparison"),
    overwrite: Overwrite = False,
):
    """Compare runs: a table of what they differ in and how they did, and their histories."""
    from iwae_tf.runs import reporting

    typer.echo(reporting.compare(runs, output, overwrite).to_string())


@_command
def export(
    run: Run,
    destination: Annotated[Path, typer.Argument(help="Folder to write.", show_default=False)],
    num_samples: Annotated[int, typer.Option(help="Samples per observation of its log_likelihood.")] = 5000,
    overwrite: Overwrite = False,
):
    """Export the model of a run as a SavedModel."""
    from iwae_tf import exporting, runs

    typer.echo(exporting.export(runs.load_model(run), destination, num_samples, overwrite=overwrite))


@_command
def score(
    saved_model: Annotated[Path, typer.Argument(help="Folder of a SavedModel.", show_default=False)],
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help=".npy, .npz, .csv, .parquet, .tfrecord, or a folder of such files or of images.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help=".csv or .parquet to write.", show_default=False)],
    batch_size: Annotated[int, typer.Option(help="Rows scored at once.")] = 100,
    header: Annotated[
        bool | None,
        typer.Option(help="Whether the first line of a .csv is a header. Default: decided by what it holds."),
    ] = None,
    overwrite: Overwrite = False,
):
    """Score the rows of a file by a SavedModel; after an interrupt the same command goes on where it was."""
    from iwae_tf import scoring

    try:
        summary = scoring.score(saved_model, source, output, batch_size, overwrite, verbose=1, header=header)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("with the scores so far kept; the same command goes on from there") from None
    if summary.resumed_at:
        typer.echo(f"went on at row {summary.resumed_at}")
    if summary.rejected:
        typer.echo(f"{summary.rejected} of {summary.rows} rows rejected: {summary.rejected_path}")
    scored = summary.rows - summary.rejected
    typer.echo(f"{scored} rows, mean log-likelihood {summary.mean_log_likelihood:.3f} nats: {output}")


@functools.partial(_command, ignore_unknown_options=True, allow_extra_args=True)
def score_beam(
    context: typer.Context,
    saved_model: Annotated[str, typer.Argument(help="Folder of a SavedModel.", show_default=False)],
    pattern: Annotated[
        str, typer.Argument(metavar="INPUT", help="Such as 'data/*.parquet' or '*.tfrecord'.", show_default=False)
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="Folder to write.", show_default=False)],
    batch_size: Annotated[int, typer.Option(help="Rows scored at once.")] = 100,
    overwrite: Overwrite = False,
):
    """Score the rows of many files on Apache Beam; all other options are Beam's, such as --runner."""
    from iwae_tf.scoring import beam

    scored, rejected = beam.score(saved_model, pattern, output, batch_size, overwrite, context.args)
    typer.echo(f"{scored} rows scored, {rejected} rejected: {output}")


def _show(metrics: dict):
    """Prints the metrics of the test data."""
    test = metrics["test"]
    typer.echo(
        f"\ntest log-likelihood {test['log_likelihood']:.3f} +- {test['standard_error']:.3f} nats "
        f"({test['num_samples']} samples, {test['num_observations']} observations; sampling error of one "
        f"{test['sampling_error']:.3f})\neffective sample size {test['effective_sample_size']:.1f}\n"
        f"{test['verdict']}\n"
        f"active units {', '.join(f'{name}: {count}' for name, count in metrics['active_units'].items())}\n"
    )


if __name__ == "__main__":
    app()
