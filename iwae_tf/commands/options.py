"""Options of commands made from the fields of dataclasses."""

import dataclasses
import inspect
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
import typer.core

from iwae_tf.options import NAMES, BackwardSamples, FloatSpace, IntSpace, NameSpace


def _parse_sizes(text: str, separator: str = ",") -> tuple[int, ...]:
    """Parses `100,50`."""
    try:
        return tuple(int(n) for n in text.split(separator))
    except ValueError:
        raise typer.BadParameter(f"expected integers separated by '{separator}', received {text!r}") from None


def _parse_nested_sizes(text: str) -> tuple[tuple[int, ...], ...]:
    """Parses `200x200,100x100`."""
    return tuple(_parse_sizes(sizes, "x") for sizes in text.split(","))


def _parse_space(kind: type) -> Callable[[str], Any]:
    """Makes a parser of a value, `1`; of a list, `1,5,50`; and of a range of numbers, `1..50`."""

    def parse(text: str) -> Any:
        try:
            if ".." in text and kind is not str:
                low, high = map(kind, text.split(".."))
                return low, high
            values = [kind(value) for value in text.split(",")]
            return values if len(values) > 1 else values[0]
        except ValueError:
            raise typer.BadParameter(
                f"expected {kind.__name__} values such as A, A,B,C or (of numbers) A..B, received {text!r}"
            ) from None

    return parse


def _parse_backward_samples(text: str) -> int | str | None:
    """Parses `auto`, `all` or a number."""
    try:
        return None if text == "all" else text if text == "auto" else int(text)
    except ValueError:
        raise typer.BadParameter(f"expected auto, all or an integer, received {text!r}") from None


def _format_space(space: Any) -> str:
    return "..".join(f"{end:g}" for end in space) if isinstance(space, tuple) else str(space)


def parse_names(text: str) -> tuple[str, ...]:
    """Parses `age,town`."""
    return tuple(name.strip() for name in text.split(","))


#: For types that Typer does not know: parser, name in the help, and text of a default.
_TYPES: dict[Any, tuple[Callable, str, Callable]] = {
    tuple[int, ...]: (_parse_sizes, "N,N", lambda sizes: ",".join(map(str, sizes))),
    tuple[int, ...] | None: (_parse_sizes, "N,N", str),
    tuple[str, ...] | None: (parse_names, "NAME,NAME", str),
    tuple[tuple[int, ...], ...] | None: (_parse_nested_sizes, "NxN,NxN", str),
    BackwardSamples: (_parse_backward_samples, "N|auto|all", str),
    IntSpace: (_parse_space(int), "SPACE", _format_space),
    FloatSpace: (_parse_space(float), "SPACE", _format_space),
    FloatSpace | None: (_parse_space(float), "SPACE", _format_space),
    NameSpace: (_parse_space(str), "SPACE", _format_space),
    NameSpace | None: (_parse_space(str), "SPACE", _format_space),
}


def _make_parameter(name: str, annotation: Any, default: Any, group: str | None) -> inspect.Parameter:
    """Makes the parameter of a command for a field of a dataclass, whose type is annotated with the help."""
    kind, help_text, *_ = get_args(annotation)
    flags = ["-k"] if name == "num_samples" else []
    settings: dict[str, Any] = {"help": help_text, "rich_help_panel": group}
    if kind in _TYPES:
        settings["parser"], settings["metavar"], to_text = _TYPES[kind]
        kind, default = Any, default if default is None else to_text(default)
    if name in ("data", "data_dir", "start_from"):
        kind = Path | None
    option = typer.Option(*flags, f"--{name.replace('_', '-')}", **settings)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])


def make_parameters(dataclass: Any) -> list[inspect.Parameter]:
    """Makes a parameter for every field of a dataclass that has a help."""
    hints = get_type_hints(dataclass, include_extras=True)
    parameters, group = [], None
    for field in dataclasses.fields(dataclass):
        if get_origin(hints[field.name]) is Annotated:
            group = next(iter(get_args(hints[field.name])[2:]), group)
            parameters.append(_make_parameter(field.name, hints[field.name], field.default, group))
    return parameters


def _names(option: str) -> str:
    """Returns the names that an option chooses from, as a list in words."""
    names: Collection[str] = NAMES[option]
    if option != "tuner" and "tensorflow" in sys.modules:  # A user's program may have registered names.
        from iwae_tf.runs.config import choices

        names = choices()[option]
    *others, last = names
    return f"{', '.join(others)} or {last}"


class Command(typer.core.TyperCommand):
    """A command whose help lists the names that are registered when it is shown."""

    def get_params(self, ctx: Any) -> list:
        parameters = super().get_params(ctx)
        for parameter in parameters:
            if isinstance(parameter, typer.core.TyperOption) and "{names}" in (parameter.help or ""):
                parameter.help = (parameter.help or "").format(names=_names(parameter.name or ""))
        return parameters
