"""The command line. TensorFlow is imported only by the commands that need it."""

import functools
import os
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help="Importance-weighted autoencoders: train, evaluate, export and score.", no_args_is_help=True)


def _command(function):
    """Registers a command whose expected errors are one line on stderr and exit code 1."""

    @app.command()
    @functools.wraps(function)
    def run(*args, **kwargs):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        try:
            function(*args, **kwargs)
        except (OSError, TypeError, ValueError) as error:
            typer.secho(f"Error: {error}", fg="red", err=True)
            raise typer.Exit(1) from error

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


Run = Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of prepared TFDS data. Default: TFDS's own.")]


@_command
def train(
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
    overwrite: Overwrite = False,
):
    """Train a model, evaluate it on test data and export it."""
    from iwae_tf import experiment

    options = {
        name: value for name, value in locals().items() if name not in ("output", "overwrite", "k", "experiment")
    }
    options["data_dir"] = data_dir and str(data_dir)
    config = experiment.Config(num_samples=k, **options)
    output = output or Path("runs") / dataset
    metrics = experiment.train(config, output, overwrite)
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
    from iwae_tf import experiment, reporting

    folder = data_dir and str(data_dir)
    # First, since it says at once if there is a report already.
    page = reporting.report(run, folder, overwrite) if everything else None
    _show(experiment.evaluate(run, test_samples, folder))
    if page:
        typer.echo(page)


@_command
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, two or more.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")] = Path("runs/comparison"),
    overwrite: Overwrite = False,
):
    """Compare runs: a table of what they differ in and how they did, and their histories."""
    from iwae_tf import reporting

    typer.echo(reporting.compare(runs, output, overwrite).to_string())


@_command
def export(
    run: Run,
    destination: Annotated[Path, typer.Argument(help="Folder to write.", show_default=False)],
    num_samples: Annotated[int, typer.Option(help="Samples per observation of its log_likelihood.")] = 5000,
    overwrite: Overwrite = False,
):
    """Export the model of a run as a SavedModel."""
    from iwae_tf import experiment, exporting

    typer.echo(exporting.export(experiment.load_model(run), destination, num_samples, overwrite=overwrite))


@_command
def score(
    saved_model: Annotated[Path, typer.Argument(help="Folder of a SavedModel.", show_default=False)],
    source: Annotated[Path, typer.Argument(metavar="INPUT", help=".npy, .npz, .csv or .parquet.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help=".csv or .parquet to write.", show_default=False)],
    batch_size: Annotated[int, typer.Option(help="Rows scored at once.")] = 100,
    overwrite: Overwrite = False,
):
    """Score the rows of a file by a SavedModel."""
    from iwae_tf import scoring

    table = scoring.score(saved_model, source, output, batch_size, overwrite, verbose=1)
    typer.echo(f"{len(table)} rows, mean log-likelihood {table.log_likelihood.mean():.3f} nats: {output}")


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
