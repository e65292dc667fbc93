"""The commands that train, search, evaluate and compare runs."""

import dataclasses
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from iwae_tf.commands.base import Overwrite, Run, command
from iwae_tf.notices import load_tensorflow
from iwae_tf.options import NAMES, DataOptions, RunOptions, SearchOptions, SpaceOptions
from iwae_tf.recipes import RECIPES, find_recipe

#: The files of a run, as `train` lists them.
RUN_FILES = {
    "README.md": "model card",
    "model.keras": "Keras model",
    "saved_model": "SavedModel, for scoring",
    "metrics.json": "metrics",
    "config.json": "configuration",
    "history.csv": "history",
    "test_log_likelihood.csv": "test log-likelihoods",
    "active_units.csv": "activity of the units",
    "bounds.csv": "bounds per step",
    "effective_sample_size.csv": "ESS over time",
    "effective_sample_size.png": "ESS over time",
    "samples.png": "samples",
    "samples.csv": "samples",
    "reconstructions.png": "reconstructions",
    "tensorboard": "TensorBoard logs",
}


def _check_run_options(options: dict[str, Any]) -> None:
    """Checks the options of a run before TensorFlow is loaded, unless a user's program has done so.

    Such a program may have registered names, which `runs.Config` knows.
    """
    if "tensorflow" not in sys.modules:
        from iwae_tf.checks import check_run_options

        check_run_options(RunOptions(**options), NAMES)


def _resolve_data(options: dict[str, Any]) -> str:
    """Makes the path of a file in the options absolute, and returns the name of the data."""
    from iwae_tf import files

    if "data" not in options:
        return options.get("dataset", DataOptions.dataset)
    files.check_exists(options["data"])
    options["data"] = str(Path(options["data"]).resolve())
    return Path(options["data"]).stem


@command()
def train(
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run folder. Default: runs/DATASET or runs/FILE.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help=f"Tested options: {', '.join(RECIPES)}. Options given with it take precedence."),
    ] = None,
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

    if recipe is not None:
        options = {**find_recipe(recipe).options, **options}
    if "start_from" in options:
        options["start_from"] = str(files.find_in_run(options["start_from"], "model.keras").parent.resolve())
    name = _resolve_data(options)
    output = output or Path("runs") / name
    files.check_absent(output, overwrite, resume, resumable=True)
    if not resume:
        _check_run_options(options)
    load_tensorflow()
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
        if (output / name).exists():
            typer.echo(f"{description:>24}  {output / name}")


@command()
def tune(
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder. Default: runs/tune-DATASET or runs/tune-FILE.")
    ] = None,
    options: Annotated[dict[str, Any], SearchOptions],
    space: Annotated[dict[str, Any], SpaceOptions],
    overwrite: Overwrite = False,
) -> None:
    """Search for hyperparameters and export the best model; after an interrupt the same command resumes.

    A SPACE is one value (50), a list (1,5,50) or a range (1..50, 1e-4..1e-2).
    """
    name = _resolve_data(options)
    output = output or Path("runs") / f"tune-{name}"
    if space.get("network", SpaceOptions.network) != "mlp":
        space.setdefault("depth", 1)
    load_tensorflow()
    from iwae_tf import files, tuning

    table = tuning.tune(tuning.Search(space, **options), output, overwrite)
    typer.echo(table.sort_values("score", ascending=False).to_string(index=False))
    if (output / "best" / "metrics.json").exists():
        typer.echo(f"\n{(output / 'finalists.csv').read_text()}")
        _print_metrics(files.read_json(output / "best" / "metrics.json"))
    for name in ("trials.csv", "trials.png", "finalists.csv", "tensorboard", "best"):
        typer.echo(output / name)


@command()
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
    if everything:
        files.check_absent(run / "evaluation", overwrite)
    load_tensorflow()
    from iwae_tf import runs

    _print_metrics(runs.evaluate(run, test_samples, data_dir, refine=refine))
    if everything:
        typer.echo(runs.report(run, data_dir, overwrite))


@command()
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
    load_tensorflow()
    from iwae_tf.runs.comparison import average_seeds, compare, shorten

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        table = compare(runs, output, overwrite)
    for warning in filter(lambda warning: warning.category is UserWarning, caught):
        typer.secho(f"Warning: {warning.message}", fg="yellow", err=True)
    typer.echo(shorten(table).to_string())
    seeds = average_seeds(table)
    if len(seeds) < len(table):
        typer.echo(f"\nover the seeds, \u00b1 the standard deviation\n{shorten(seeds).to_string(index=False)}")


@command()
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
    load_tensorflow()
    from iwae_tf import exporting, runs

    typer.echo(exporting.export(runs.load_model(run), destination, num_samples, overwrite=overwrite))


@command()
def impute(
    run: Run,
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help=".csv or .parquet, or a folder of such files.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help=".csv or .parquet to write.", show_default=False)],
    num_samples: Annotated[int, typer.Option("--num-samples", "-k", help="Importance samples per row.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the samples.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Fill in the missing values of a table with the model of a run."""
    from iwae_tf import files

    files.find_in_run(run, "model.keras")
    files.check_exists(source)
    files.check_absent(output, overwrite)
    load_tensorflow()
    from iwae_tf import runs

    count = runs.impute(run, source, output, num_samples, seed, overwrite)
    typer.echo(f"{count} missing values filled in: {output}")


def _print_metrics(metrics: dict[str, Any]) -> None:
    """Prints the metrics of the test data."""
    test = metrics["test"]
    active = "".join(f", {name}: {count}" for name, count in metrics["active_units"].items())
    units = f"active units {active[2:]}\n" if active else ""
    amortized = ""
    if "amortized" in test:
        of_q = test["amortized"]
        amortized = f"q(z|x) before refinement: {of_q['log_likelihood']:.3f}, {of_q['effective_sample_size']:.1f}\n"
    typer.echo(
        f"\ntest log-likelihood {test['log_likelihood']:.3f} +- {test['standard_error']:.3f} nats "
        f"({test['num_samples']} samples, {test['num_observations']} observations; sampling error "
        f"{test['sampling_error']:.3f})\neffective sample size {test['effective_sample_size']:.1f}\n"
        f"{amortized}{test['verdict']}\n{units}"
    )
