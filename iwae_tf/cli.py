"""The command line, `iwae-tf`."""

from importlib import metadata
from typing import Annotated

import typer

from iwae_tf.commands import reproductions, runs, scoring
from iwae_tf.commands.base import app

__all__ = ["app", "reproductions", "runs", "scoring"]


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


if __name__ == "__main__":
    app()
