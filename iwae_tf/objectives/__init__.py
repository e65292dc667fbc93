"""Objectives: log weights in, a bound and the form of its gradient out."""

from collections.abc import Callable
from functools import partial

from iwae_tf.objectives.base import Objective, check_count
from iwae_tf.objectives.elbo import ELBO
from iwae_tf.objectives.importance_weighted import ImportanceWeighted

__all__ = ["ELBO", "NAMES", "ImportanceWeighted", "Objective", "check_count", "get"]

#: Short names, as on the command line: functions of the number of samples.
NAMES: dict[str, Callable[[int], Objective]] = {
    "dreg": partial(ImportanceWeighted, gradient="doubly_reparameterized"),
    "elbo": ELBO,
    "iwae": ImportanceWeighted,
    "stl": partial(ImportanceWeighted, gradient="path"),
}


def get(name, num_samples):
    """Makes the objective with this short name.

    Args:
      name: one of `NAMES`.
      num_samples: samples per observation.

    Returns:
      An `Objective`.

    Raises:
      ValueError: if there is no such name; the message lists those there are.
    """
    if name not in NAMES:
        raise ValueError(f"Expected an objective among {', '.join(sorted(NAMES))}. Received: {name!r}")
    return NAMES[name](num_samples)
