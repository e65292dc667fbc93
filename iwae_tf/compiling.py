"""Compiled functions, by XLA where it can be had."""

import functools
import re
import warnings
from typing import Any

import tensorflow as tf


def function(python_function, **options):
    """Makes a `tf.function` of a function that is made anew for every model.

    TensorFlow counts together how often all functions of one definition are traced, and would warn of the fifth model.
    What is partial has no definition, and a count of its own.
    """
    counted: Any = functools.partial(python_function)
    counted.__name__ = python_function.__name__
    return tf.function(counted, autograph=False, **options)


def with_fallback(model, make):
    """Makes a function that XLA compiles if the model asks for it, and that runs without after one warning if it must.

    Args:
      model: a `keras.Model`, whose `jit_compile` is switched off where an operation does not compile.
      make: a function from whether XLA is to compile, to the function.

    Returns:
      A function of the same arguments.
    """
    program = make(model.jit_compile)
    compiled = model.jit_compile

    def run(*args, **kwargs):
        nonlocal program, compiled
        try:
            return program(*args, **kwargs)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            if not compiled or not any(text in error.message for text in ("XLA", "tf2xla", "compil")):
                raise
            # Nothing has run yet: the compiler refuses a program as a whole.
            if model.jit_compile:
                warnings.warn(f"XLA cannot compile {model.name}, which runs without it: {error}", stacklevel=2)
            model.jit_compile = compiled = False
            program = make(False)
            return program(*args, **kwargs)

    return run


def compiled(model, python_function, *of):
    """Compiles a function that is made anew for every use: once for each set of shapes, by XLA where it can be.

    The model keeps the program for the next use, since compiling takes seconds and what XLA has compiled stays in
    memory. TensorFlow warns of functions that are traced often, as for batches of many sizes; it does not of
    concrete ones.

    Args:
      model: as in `with_fallback`; of one that has `programs`, a dict that `compile` empties.
      python_function: a function of tensors.
      *of: hashable, all that the function depends on but the model and its arguments.

    Returns:
      A function of the same arguments.
    """

    def make(jit_compile):
        traced = function(python_function, jit_compile=jit_compile)
        return lambda *args: traced.get_concrete_function(*args)(*args)

    key = (python_function.__module__, python_function.__qualname__, *of)
    if key not in model.programs:
        model.programs[key] = with_fallback(model, make)
    return model.programs[key]


def reason(error: tf.errors.OpError) -> str:
    """Returns what a failed assertion says without TensorFlow's traceback, or else the whole message."""
    assertion = re.search(r"assertion failed: \[(.*)\]", error.message)
    return assertion.group(1).replace("] [", " ").replace("\\'", "'") if assertion else error.message
