"""The command line. Only the commands that need TensorFlow import it, when they run."""

import dataclasses
import functools
import inspect
import os
import sys
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from iwae_tf.command_options import Command, make_parameters
from iwae_tf.options import NAMES, RunOptions, SearchOptions, SpaceOptions

app = typer.Typer(no_args_is_help=True)

#: The files of a run, as `train` lists them.
RUN_FILES = {
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


def _command(**settings: Any) -> Callable[[Callable], Callable]:
    """Registers a function as a command.

    A parameter that is a dict annotated with a dataclass becomes an option for every field of it; the function receives
    the options that are given. Expected errors are one line on stderr with exit code 1, Ctrl-C one with 130.
    """

    def register(function: Callable) -> Callable:
        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        parameters = {"context": context}
        groups: dict[str, list[str]] = {}
        for name, parameter in inspect.signature(function).parameters.items():
            dataclass = next(filter(dataclasses.is_dataclass, get_args(parameter.annotation)), None)
            if dataclass:
                options = {option.name: option for option in make_parameters(dataclass)}
                groups[name] = list(options)
                parameters.update(options)
            else:
                parameters[name] = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)

        @functools.wraps(function)
        def run(context: typer.Context, **arguments: Any) -> None:
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
            for group, names in groups.items():
                values = {name: arguments.pop(name) for name in names}
                arguments[group] = {
                    name: str(value) if isinstance(value, Path) else value
                    for name, value in values.items()
                    if _is_given(context, name)
                }
            if "context" in inspect.signature(function).parameters:
                arguments["context"] = context
            try:
                function(**arguments)
            except (FloatingPointError, ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
                typer.secho(f"Error: {' '.join(str(error).split())}", fg="red", err=True)
                raise typer.Exit(1) from error
            except KeyboardInterrupt as interrupt:
                typer.echo()  # below the progress bar
                typer.secho(f"Interrupted {interrupt}".rstrip(), fg="red", err=True)
                raise typer.Exit(130) from interrupt

        run.__dict__["__signature__"] = inspect.Signature(list(parameters.values()))
        run.__annotations__ = {name: parameter.annotation for name, parameter in parameters.items()}
        return app.command(cls=Command, context_settings=settings)(run)

    return register


def _is_given(context: typer.Context, name: str) -> bool:
    return getattr(context.get_parameter_source(name), "name", "") != "DEFAULT"


def _check_run_options(options: dict[str, Any]) -> None:
    """Checks the options of a run before TensorFlow is loaded, unless a user's program has done so.

    Such a program may have registered names, which `runs.Config` knows.
    """
    if "tensorflow" not in sys.modules:
        from iwae_tf.checks import check_run_options

        check_run_options(RunOptions(**options), NAMES)


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"iwae-tf {metadata.version('iwae-tf')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Importance-weighted autoencoders: train, evaluate, export and score."""


Run = Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")]


@_command()
def train(
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Run folder. Default: runs/DATASET.")] = None,
    options: Annotated[dict[str, Any], RunOptions],
    distribute: Annotated[
        str | None,
        typer.Option(help="mirrored: all devices of this machine; multi-worker: the processes that TF_CONFIG names."),
    ] = None,
    overwrite: Overwrite = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume an unfinished run, if there is one, with the options it started with."),
    ] = False,
    checkpoint_every: Annotated[
        float, typer.Option(help="Seconds between checkpoints within an epoch; every epoch ends with one too.")
    ] = 60.0,
) -> None:
    """Train a model, evaluate it on the test data and export it."""
    from iwae_tf import files

    output = output or Path("runs") / options.get("dataset", RunOptions.dataset)
    files.check_absent(output, overwrite, resume, resumable=True)
    if not resume:
        _check_run_options(options)
    from iwae_tf import runs

    unfinished = files.find_unfinished(output) if resume else None
    if resume and not unfinished:
        typer.secho(f"No unfinished run in {output}: starting a new run", fg="yellow", err=True)
    config = dataclasses.replace(runs.Config.read(unfinished) if unfinished else runs.Config(), **options)
    metrics = runs.train(
        config, output, overwrite, resume=resume, checkpoint_every=checkpoint_every, distribute=distribute
    )
    if not metrics:  # This worker is not the chief, which prints the results.
        return
    _print_metrics(metrics)
    for name, description in RUN_FILES.items():
        typer.echo(f"{description:>24}  {output / name}")


@_command()
def tune(
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder. Default: runs/tune-DATASET.")] = None,
    options: Annotated[dict[str, Any], SearchOptions],
    space: Annotated[dict[str, Any], SpaceOptions],
    overwrite: Overwrite = False,
) -> None:
    """Search for hyperparameters and export the best model; after an interrupt the same command resumes.

    A SPACE is one value (50), a list (1,5,50) or a range (1..50, 1e-4..1e-2).
    """
    from iwae_tf import files, tuning

    output = output or Path("runs") / f"tune-{options.get('dataset', SearchOptions.dataset)}"
    table = tuning.tune(tuning.Search(space, **options), output, overwrite)
    typer.echo(table.sort_values("score", ascending=False).to_string(index=False))
    if (output / "best" / "metrics.json").exists():
        typer.echo(f"\n{(output / 'finalists.csv').read_text()}")
        _print_metrics(files.read_json(output / "best" / "metrics.json"))
    for name in ("trials.csv", "trials.png", "finalists.csv", "tensorboard", "best"):
        typer.echo(output / name)


@_command()
def evaluate(
    run: Run,
    test_samples: Annotated[int | None, typer.Option(help="Importance samples. Default: as many as the run.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of prepared TFDS data. Default: the run's.")] = None,
    refine: Annotated[
        int, typer.Option(help="Steps that refine q(z|x) for each observation before it is scored, such as 50.")
    ] = 0,
    everything: Annotated[
        bool, typer.Option("--all", help="Write every table and picture, and a report with all, to RUN/evaluation.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Evaluate the model of a run anew on its test data."""
    from iwae_tf import files

    files.find_in_run(run, "config.json")
    from iwae_tf import runs

    # The report comes first, because it fails at once if there is one already.
    page = runs.report(run, data_dir, overwrite) if everything else None
    _print_metrics(runs.evaluate(run, test_samples, data_dir, refine=refine))
    if page:
        typer.echo(page)


@_command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, two or more.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")] = Path("runs/comparison"),
    overwrite: Overwrite = False,
) -> None:
    """Compare runs: a table of the options that differ and the results, and a plot of their histories."""
    from iwae_tf import files

    for run in runs:
        files.find_in_run(run, "config.json")
    files.check_absent(output, overwrite)
    from iwae_tf.runs.comparison import compare

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        table = compare(runs, output, overwrite)
    for warning in filter(lambda warning: warning.category is UserWarning, caught):
        typer.secho(f"Warning: {warning.message}", fg="yellow", err=True)
    typer.echo(table.to_string())


@_command()
def export(
    run: Run,
    destination: Annotated[Path, typer.Argument(help="Folder to write.", show_default=False)],
    num_samples: Annotated[int, typer.Option(help="Importance samples of the log_likelihood endpoint.")] = 5000,
    overwrite: Overwrite = False,
) -> None:
    """Export the model of a run as a SavedModel."""
    from iwae_tf import files

    files.find_in_run(run, "model.keras")
    files.check_absent(destination, overwrite)
    from iwae_tf import exporting, runs

    typer.echo(exporting.export(runs.load_model(run), destination, num_samples, overwrite=overwrite))


@_command()
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
        typer.Option(help="Whether the first line of a .csv is a header. Default: decided by its first lines."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Score the rows of a file with a SavedModel; after an interrupt the same command resumes."""
    from iwae_tf import scoring

    try:
        summary = scoring.score(saved_model, source, output, batch_size, overwrite, verbose=1, header=header)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("after some rows, whose scores are kept; the same command resumes") from None
    if summary.resumed_at:
        typer.echo(f"resumed at row {summary.resumed_at}")
    if summary.rejected:
        typer.echo(f"{summary.rejected} of {summary.rows} rows rejected: {summary.rejected_path}")
    scored = summary.rows - summary.rejected
    typer.echo(f"{scored} rows, mean log-likelihood {summary.mean_log_likelihood:.3f} nats: {output}")


@_command(ignore_unknown_options=True, allow_extra_args=True)
def score_beam(
    context: typer.Context,
    saved_model: Annotated[str, typer.Argument(help="Folder of a SavedModel.", show_default=False)],
    pattern: Annotated[
        str, typer.Argument(metavar="INPUT", help="Such as 'data/*.parquet' or '*.tfrecord'.", show_default=False)
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="Folder to write.", show_default=False)],
    batch_size: Annotated[int, typer.Option(help="Rows scored at once.")] = 100,
    overwrite: Overwrite = False,
) -> None:
    """Score the rows of many files on Apache Beam; all other options go to Beam, such as --runner."""
    from iwae_tf.scoring import beam

    scored, rejected = beam.score(saved_model, pattern, output, batch_size, overwrite, context.args)
    typer.echo(f"{scored} rows scored, {rejected} rejected: {output}")


def _print_metrics(metrics: dict[str, Any]) -> None:
    """Prints the metrics of the test data."""
    test = metrics["test"]
    amortized = ""
    if "amortized" in test:
        of_q = test["amortized"]
        amortized = f"q(z|x) before refinement: {of_q['log_likelihood']:.3f}, {of_q['effective_sample_size']:.1f}\n"
    typer.echo(
        f"\ntest log-likelihood {test['log_likelihood']:.3f} +- {test['standard_error']:.3f} nats "
        f"({test['num_samples']} samples, {test['num_observations']} observations; sampling error of one "
        f"{test['sampling_error']:.3f})\neffective sample size {test['effective_sample_size']:.1f}\n"
        f"{amortized}{test['verdict']}\n"
        f"active units {', '.join(f'{name}: {count}' for name, count in metrics['active_units'].items())}\n"
    )


if __name__ == "__main__":
    app()
