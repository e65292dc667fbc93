"""Checks of arguments: each returns the value in its usual type, or raises an error that names the argument."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from iwae_tf.options import BackwardSamples, RunOptions

T = TypeVar("T")


def check_count(value: Any, name: str, minimum: int = 1) -> int:
    """Returns `value` as an `int`.

    Raises:
      ValueError: if `value` is not an integer, or is below `minimum`.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < minimum:
        expected = "a positive integer" if minimum == 1 else f"an integer of {minimum} or more"
        raise ValueError(f"{name} must be {expected}. Received: {name}={value!r}")
    return int(value)


def check_choice(value: T, name: str, choices: Iterable[T]) -> T:
    """Returns `value`.

    Raises:
      ValueError: if `value` is not one of `choices`; the message lists them.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}. Received: {value!r}")
    return value


def check_fraction(value: Any, name: str) -> float:
    """Returns `value` as a `float`.

    Raises:
      ValueError: if `value` is not a number in [0, 1].
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a number in [0, 1]. Received: {name}={value!r}")
    return float(value)


def check_backward_samples(value: BackwardSamples, num_particles: int) -> BackwardSamples:
    """Returns `value`.

    Raises:
      ValueError: if `value` is neither `None`, `"auto"` nor an integer from 1 to `num_particles`.
    """
    if value is None or (isinstance(value, str) and value == "auto"):
        return value
    if isinstance(value, str) or check_count(value, "backward_samples") > num_particles:
        expected = f"'auto', None or an integer up to the number of samples, {num_particles}"
        raise ValueError(f"backward_samples must be {expected}. Received: backward_samples={value!r}")
    return int(value)


def as_sizes(value: Any, name: str = "event_shape") -> tuple[int, ...]:
    """Returns an integer or a sequence of integers as a tuple.

    Raises:
      ValueError: if `value` holds anything but positive integers.
    """
    sizes = (value,) if isinstance(value, (int, np.integer)) else value
    try:
        return tuple(check_count(size, name) for size in sizes)
    except (TypeError, ValueError):
        expected = "a positive integer or a sequence of positive integers"
        raise ValueError(f"{name} must be {expected}. Received: {name}={value!r}") from None


def add_name(names: dict[str, Callable], name: str, make: Callable, expected: str, named: str = "a name") -> None:
    """Adds a function to a table of names.

    Args:
      names: the table.
      name: the new name.
      make: the function.
      expected: describes the function in the error message.
      named: describes the name in the error message.

    Raises:
      ValueError: if the table has the name.
      TypeError: if `make` is not callable.
    """
    if name in names:
        raise ValueError(f"Expected {named} that is not registered yet. Received: {name!r}")
    if not callable(make):
        raise TypeError(f"Expected {expected}. Received: {make!r}")
    names[name] = make


def check_run_options(options: RunOptions, choices: Mapping[str, Collection[str]]) -> None:
    """Raises an error unless the options of a run are valid, as far as can be told without making the objective.

    Args:
      options: the options.
      choices: for each option that is a name, the names to choose from.

    Raises:
      ValueError: if a name is unknown, or a number is out of its range.
    """
    for name, names in choices.items():
        if getattr(options, name, None) is not None:
            check_choice(getattr(options, name), name, names)
    for name in ("num_samples", "epochs", "stages", "batch_size", "test_samples", "pixel_layers", "pixel_filters"):
        check_count(getattr(options, name), name)
    for name in ("steps_per_execution", "limit", "first_samples", "diagnose_every", "patience"):
        if getattr(options, name) is not None:
            check_count(getattr(options, name), name)
    if check_count(options.pixel_kernel, "pixel_kernel", minimum=3) % 2 == 0:
        raise ValueError(f"Expected pixel_kernel to be odd. Received: {options.pixel_kernel}")
    if options.warm_up:
        check_count(options.warm_up, "warm_up")
    if options.event_shape is not None:
        as_sizes(options.event_shape)
    check_count(options.first_epochs, "first_epochs", minimum=0)
    _check_combinations(options)
    if options.ema is not None:
        check_fraction(options.ema, "ema")
    if not 0 < options.learning_rate < float("inf"):
        raise ValueError(f"Expected learning_rate to be a positive number. Received: {options.learning_rate}")
    if not 1 <= len(options.latent_sizes) <= 7:
        raise ValueError(f"Expected 1 to 7 latent sizes, one per stochastic layer. Received: {options.latent_sizes}")
    if options.network != "mlp" and len(options.latent_sizes) > 1:
        raise ValueError(f"Expected one latent size with network {options.network!r}. Received: {options.latent_sizes}")


def _check_combinations(options: RunOptions) -> None:
    """Raises a `ValueError` if an option lacks another that it needs, or if there is a file beside a data set."""
    if bool(options.first_epochs) != (options.first_samples is not None):
        given = f"first_samples={options.first_samples}, first_epochs={options.first_epochs}"
        raise ValueError(f"Expected first_samples with first_epochs, or neither. Received: {given}")
    if options.patience and (options.first_epochs or options.ema is not None):
        given = f"first_epochs={options.first_epochs}, ema={options.ema}"
        raise ValueError(f"Expected patience without first_epochs and ema. Received: {given}")
    if options.diagnose_every and not options.diagnose:
        raise ValueError(f"Expected diagnose with diagnose_every. Received: diagnose_every={options.diagnose_every}")
    if options.data is not None and options.dataset != type(options).dataset:
        raise ValueError(f"Expected data or a dataset, not both. Received: {options.data!r} and {options.dataset!r}")
    for name in ("columns", "id_column", "target", "event_shape", "limit"):
        if getattr(options, name) is not None and options.data is None:
            raise ValueError(f"Expected data, a file (--data), with {name}. Received: none")
