"""Commands made from functions. Only the commands that need TensorFlow import it, when they run."""

import dataclasses
import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from iwae_tf.commands.options import Command, make_parameters

app = typer.Typer(no_args_is_help=True)

Run = Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")]
SavedModel = Annotated[Path, typer.Argument(help="Folder of a SavedModel.", show_default=False)]


def command(**settings: Any) -> Callable[[Callable], Callable]:
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
