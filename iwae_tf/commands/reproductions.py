"""The command that reproduces the tables and figures of papers."""

import csv
from pathlib import Path
from typing import Annotated

import typer

from iwae_tf.commands.base import command
from iwae_tf.notices import load_tensorflow

BUDGETS = ("quick", "hour", "paper")


def _print_state(folder: Path) -> None:
    """Prints how many claims the reproduction in a folder has reproduced, if it is there."""
    path = folder / "claims.csv"
    if path.exists():
        with path.open(newline="") as file:
            verdicts = [row["verdict"] for row in csv.DictReader(file)]
        typer.echo(f"    {folder}: {verdicts.count('yes')} of {len(verdicts)} claims reproduced")


@command()
def reproduce(
    name: Annotated[str | None, typer.Argument(help="What to reproduce. Default: list everything.")] = None,
    budget: Annotated[
        str,
        typer.Option(
            help="quick: minutes, digits; hour: about an hour of two cores, MNIST; paper: the published protocol."
        ),
    ] = "quick",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of all reproductions, which share runs.")
    ] = Path("runs/reproductions"),
    data_dir: Annotated[Path | None, typer.Option(help="Folder of prepared TFDS data. Default: TFDS's own.")] = None,
) -> None:
    """Reproduce a table and a figure of a paper; after an interrupt the same command resumes."""
    from iwae_tf.checks import check_choice
    from iwae_tf.reproductions import catalog

    if name is None:
        for entry in catalog.NAMES.values():
            typer.echo(f"{entry.name}\n    {entry.shows}\n    {entry.source}")
            for finished in BUDGETS:
                _print_state(output / f"{entry.name}-{finished}")
        typer.echo("\niwae-tf reproduce NAME --budget quick|hour|paper")
        return
    catalog.find(name)
    check_choice(budget, "budget", BUDGETS)
    load_tensorflow()
    from iwae_tf import reproductions

    reproductions.reproduce(name, budget, output, data_dir, isolate=True)
    folder = output / f"{name}-{budget}"
    typer.echo(f"\n{(folder / 'page.md').read_text()}")
    for file in ("table.csv", "figure.png", "page.md"):
        typer.echo(folder / file)
