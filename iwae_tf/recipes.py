"""Recipes: options of runs that reach a good likelihood in a given time, free of TensorFlow."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from iwae_tf.checks import check_choice


class Recipe(NamedTuple):
    """Options of a training that is known to work.

    Attributes:
      summary: what it trains, and for how long on two cores.
      options: options of `runs.Config`, by name.
    """

    summary: str
    options: Mapping[str, Any]


#: The recipes by name. docs/recipes.md says what they reach, and what each of their parts is worth.
RECIPES: dict[str, Recipe] = {}


def find(name: str) -> Recipe:
    """Returns the recipe of this name.

    Raises:
      ValueError: if there is none; the message lists the names.
    """
    check_choice(name, "recipe", RECIPES)
    return RECIPES[name]
