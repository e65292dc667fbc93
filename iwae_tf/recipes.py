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


# Few samples first: an epoch with 5 takes a quarter of one with 50. The cosine ends both parts as one.
_FAST = {
    "objective": "iwae", "num_samples": 50, "backward_samples": "auto", "first_samples": 5, "batch_size": 100,
    "schedule": "cosine", "learning_rate": 2e-3,
}  # fmt: skip
_ONE_LAYER = {"latent_sizes": (50,), "hidden_sizes": ((200, 200),)}
_TWO_LAYERS = {"latent_sizes": (100, 50), "hidden_sizes": ((200, 200), (100, 100))}

#: The recipes by name. docs/recipes.md says what they reach, and what each of their parts is worth.
RECIPES: dict[str, Recipe] = {
    "mnist_iwae_1l_1h": Recipe(
        "An IWAE of MNIST with Burda's network of one stochastic layer, in an hour",
        {"dataset": "mnist", **_ONE_LAYER, **_FAST, "first_epochs": 420, "epochs": 540},
    ),
    "mnist_iwae_1l": Recipe(
        "An IWAE of MNIST with Burda's network of one stochastic layer, in three hours",
        {"dataset": "mnist", **_ONE_LAYER, **_FAST, "first_epochs": 1100, "epochs": 1500},
    ),
    "mnist_iwae_2l": Recipe(
        "An IWAE of MNIST with Burda's network of two stochastic layers, in three hours",
        {"dataset": "mnist", **_TWO_LAYERS, **_FAST, "first_epochs": 900, "epochs": 1200},
    ),
    "mnist_iwae_2l_1h": Recipe(
        "An IWAE of MNIST with Burda's network of two stochastic layers, in an hour",
        {"dataset": "mnist", **_TWO_LAYERS, **_FAST, "first_epochs": 500, "epochs": 630},
    ),
    "omniglot_iwae": Recipe(
        "An IWAE of Omniglot with Burda's network of one stochastic layer, in an hour",
        {"dataset": "omniglot", **_ONE_LAYER, **_FAST, "first_epochs": 1300, "epochs": 1700},
    ),
}


def find_recipe(name: str) -> Recipe:
    """Returns the recipe of this name.

    Raises:
      ValueError: if there is none; the message lists the names.
    """
    check_choice(name, "recipe", RECIPES)
    return RECIPES[name]
