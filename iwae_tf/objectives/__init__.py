"""Objectives: log weights in, a bound and the form of its gradient out."""

import inspect
import math
from collections.abc import Callable
from functools import partial

from iwae_tf.checks import check_count
from iwae_tf.objectives.base import Objective
from iwae_tf.objectives.elbo import ELBO
from iwae_tf.objectives.importance_weighted import ImportanceWeighted
from iwae_tf.objectives.jackknife import Jackknife
from iwae_tf.objectives.multiply import CIWAE, MIWAE, PIWAE, Combined
from iwae_tf.objectives.renyi import Renyi
from iwae_tf.objectives.wake_sleep import ReweightedWakeSleep

__all__ = [
    "CIWAE",
    "ELBO",
    "MIWAE",
    "NAMES",
    "PIWAE",
    "Combined",
    "ImportanceWeighted",
    "Jackknife",
    "Objective",
    "Renyi",
    "ReweightedWakeSleep",
    "get",
    "takes_beta",
]


def _grouped(make, **kwargs):
    """Makes M groups of K samples of k = M K: M is the largest divisor of k that is not above its square root."""

    def of(num_samples):
        k = check_count(num_samples, "num_samples")
        groups = next(n for n in range(math.isqrt(k), 0, -1) if k % n == 0)
        return make(groups, k // groups, **kwargs)

    return of


_DOUBLY = {"gradient": "doubly_reparameterized"}

#: Short names, as on the command line: functions of the number of samples.
NAMES: dict[str, Callable[..., Objective]] = {
    "ciwae": partial(CIWAE, beta=0.5),
    "ciwae-dreg": partial(CIWAE, beta=0.5, **_DOUBLY),
    "dreg": partial(ImportanceWeighted, **_DOUBLY),
    "elbo": ELBO,
    "iwae": ImportanceWeighted,
    "iwae-sampled": partial(ImportanceWeighted, backward_samples=1),
    "jackknife": partial(Jackknife, order=1),
    "miwae": _grouped(MIWAE),
    "miwae-dreg": _grouped(MIWAE, **_DOUBLY),
    "piwae": _grouped(PIWAE),
    "piwae-dreg": _grouped(PIWAE, **_DOUBLY),
    "renyi": partial(Renyi, alpha=0.5),
    "rws": ReweightedWakeSleep,
    "rws-dreg": partial(ReweightedWakeSleep, **_DOUBLY),
    "stl": partial(ImportanceWeighted, gradient="path"),
    "vr-max": partial(Renyi, alpha=-math.inf),
    "wake-sleep": partial(ReweightedWakeSleep, sleep=1.0),
}


def takes_beta(name):
    """Returns whether the objective with this short name has a `beta`: of the KL in the ELBO, of the ELBO in CIWAE."""
    return name in NAMES and "beta" in inspect.signature(NAMES[name]).parameters


def get(name, num_samples, beta=None):
    """Makes the objective with this short name.

    Args:
      name: one of `NAMES`.
      num_samples: samples per observation.
      beta: that of an objective which has one; `None` is 1 for the ELBO, 0.5 for CIWAE.

    Returns:
      An `Objective`.

    Raises:
      ValueError: if there is no such name, which the message then lists, or `beta` is given and the objective has none.
    """
    if name not in NAMES:
        raise ValueError(f"Expected an objective among {', '.join(sorted(NAMES))}. Received: {name!r}")
    if beta is None:
        return NAMES[name](num_samples)
    if not takes_beta(name):
        having = ", ".join(sorted(filter(takes_beta, NAMES)))
        raise ValueError(f"Expected beta with one of {having} only. Received: beta={beta!r} with {name!r}")
    return NAMES[name](num_samples, beta=beta)
