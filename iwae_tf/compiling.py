"""Compiled functions, by XLA where it can be used."""

import functools
import re
import warnings
from collections.abc import Callable, Hashable
from typing import Any

import keras
import tensorflow as tf


def has_fast_convolutions() -> bool:
    """Returns whether XLA's convolutions are worth it.

    On a CPU TensorFlow's own are up to twice as fast; see docs/benchmarks.md.
    """
    return bool(tf.config.list_logical_devices("GPU"))


def function(python_function: Callable, **options: Any) -> Any:
    """Makes a `tf.function` of a Python function that is made anew for every model.

    TensorFlow counts how often all functions of one definition are traced, and would warn of the fifth model. It counts
    each `functools.partial` object separately.
    """
    partial: Any = functools.partial(python_function)
    partial.__name__ = python_function.__name__
    return tf.function(partial, autograph=False, **options)


def with_fallback(model: keras.Model, make: Callable[[bool], Callable]) -> Callable:
    """Makes a function that XLA compiles if the model asks for it; if XLA cannot, warns once and runs without it.

    Args:
      model: the model whose `jit_compile` is switched off where an operation does not compile.
      make: makes the function, given whether XLA compiles it.

    Returns:
      A function of the same arguments.
    """
    program = make(model.jit_compile)
    uses_xla = model.jit_compile

    def run(*args: Any, **kwargs: Any) -> Any:
        nonlocal program, uses_xla
        try:
            return program(*args, **kwargs)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            if not uses_xla or not any(text in error.message for text in ("XLA", "tf2xla", "compil")):
                raise
            # Nothing has run yet: the compiler refuses a program as a whole.
            if model.jit_compile:
                warnings.warn(f"XLA cannot compile {model.name}, which runs without it: {error}", stacklevel=2)
            model.jit_compile = uses_xla = False
            program = make(False)
            return program(*args, **kwargs)

    return run


def cached(model: Any, make: Callable[[], Callable], *key: Hashable) -> Callable:
    """Returns the program that the model keeps under this key; makes it at the first use.

    The model keeps its programs, since compiling takes seconds and what XLA has compiled stays in memory.

    Args:
      model: a model with `programs`, a dict that `compile` empties.
      make: makes the program.
      *key: identifies the program among the model's.
    """
    if key not in model.programs:
        model.programs[key] = make()
    return model.programs[key]


def cached_program(model: Any, python_function: Callable, *key: Hashable) -> Callable:
    """Compiles a function that is made anew for every use: once for each set of shapes, by XLA where it can be used.

    It is traced to concrete functions, since TensorFlow warns of other functions that are traced often, for example
    with batches of many sizes.

    Args:
      model: as in `cached`.
      python_function: a function of tensors.
      *key: everything that the function depends on besides the model and its arguments.

    Returns:
      A function of the same arguments.
    """

    def make(jit_compile: bool) -> Callable:
        traced = function(python_function, jit_compile=jit_compile)
        return lambda *args: traced.get_concrete_function(*args)(*args)

    name = python_function.__module__, python_function.__qualname__
    return cached(model, lambda: with_fallback(model, make), *name, *key)


def reason(error: tf.errors.OpError) -> str:
    """Returns the message of a failed assertion without TensorFlow's traceback, or otherwise the whole message."""
    assertion = re.search(r"assertion failed: \[(.*)\]", error.message)
    return assertion.group(1).replace("] [", " ").replace("\\'", "'") if assertion else error.message
