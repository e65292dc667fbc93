"""Short names of objectives: on the command line, in `runs.Config` and in the tuner."""

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from iwae_tf.checks import add_name, check_choice, check_count
from iwae_tf.objectives.base import Objective
from iwae_tf.objectives.ciwae import CIWAE
from iwae_tf.objectives.combined import PIWAE
from iwae_tf.objectives.elbo import ELBO
from iwae_tf.objectives.filtering import Filtering
from iwae_tf.objectives.importance_weighted import ImportanceWeighted
from iwae_tf.objectives.jackknife import Jackknife
from iwae_tf.objectives.miwae import MIWAE
from iwae_tf.objectives.renyi import Renyi
from iwae_tf.objectives.score_function import OVIS, REINFORCE, VIMCO
from iwae_tf.objectives.thermodynamic import Thermodynamic
from iwae_tf.objectives.wake_sleep import ReweightedWakeSleep
from iwae_tf.options import BackwardSamples

#: The registered names: functions from the number of samples per observation to an objective.
NAMES: dict[str, Callable[..., Objective]] = {}


def register(name: str, make: Callable[..., Objective]) -> None:
    """Gives an objective a short name, for `get`, the command line, `runs.Config` and the tuner.

    To load saved models, Keras must know the class too: see `Objective`.

    Args:
      name: the new name.
      make: function from the number of samples per observation to the objective, such as its class. If it has an
        argument `beta` or `backward_samples`, that is an option of `iwae-tf train` and `runs.Config` as well; `beta`
        also of the tuner.

    Raises:
      ValueError: if the name is registered already.
      TypeError: if `make` is not a function or a class.

    Example:
      ```python
      objectives.register("renyi-0.1", lambda num_samples: objectives.Renyi(num_samples, alpha=0.1))
      objectives.get("renyi-0.1", 8)  # Renyi(num_samples=8, alpha=0.1)
      runs.Config(objective="renyi-0.1")
      ```
    """
    add_name(NAMES, name, make, "a function from the number of samples to an objective")


def takes_beta(name: str) -> bool:
    """Returns whether the objective of this name has a `beta`: the weight of the KL in `ELBO`, of the ELBO in `CIWAE`.

    Example:
      ```python
      objectives.takes_beta("ciwae")  # True
      ```
    """
    return _takes(name, "beta")


def _takes(name: str, argument: str) -> bool:
    """Returns whether the function of this name has an argument."""
    return name in NAMES and argument in inspect.signature(NAMES[name]).parameters


def get(
    name: str,
    num_samples: int,
    beta: float | None = None,
    backward_samples: BackwardSamples = None,
    free_bits: float | None = None,
) -> Objective:
    """Makes the objective of this name.

    Args:
      name: one of `NAMES`.
      num_samples: samples per observation, for all groups together.
      beta: `beta` of the objective. `None` uses its default: 1 for the ELBO, 0.5 for CIWAE.
      backward_samples: number of samples to differentiate. `"auto"` is all of them for objectives without this
        argument, such as the ELBO.
      free_bits: `free_bits` of the ELBO.

    Raises:
      ValueError: if the name is not registered, or the objective does not have an argument that is given.

    Example:
      ```python
      objectives.get("miwae", 64)  # MIWAE(num_groups=8, num_samples=8, gradient='reparameterized')
      objectives.get("elbo", 1, beta=4.0)
      ```
    """
    make = NAMES[check_choice(name, "objective", sorted(NAMES))]
    options = {"beta": beta, "backward_samples": backward_samples, "free_bits": free_bits}
    if backward_samples == "auto" and not _takes(name, "backward_samples"):
        options["backward_samples"] = None
    options = {argument: value for argument, value in options.items() if value is not None}
    for argument, value in options.items():
        if not _takes(name, argument):
            names = ", ".join(sorted(other for other in NAMES if _takes(other, argument)))
            raise ValueError(
                f"Expected {argument} with one of {names} only. Received: {argument}={value!r} with {name!r}"
            )
    return make(num_samples, **options)


def _split_samples(make: Callable[..., Objective], **kwargs: Any) -> Callable[..., Objective]:
    """Splits k samples into M groups of K, where M is the largest divisor of k that is at most its square root."""

    def make_groups(num_samples: int, backward_samples: BackwardSamples = None) -> Objective:
        k = check_count(num_samples, "num_samples")
        groups = next(n for n in range(math.isqrt(k), 0, -1) if k % n == 0)
        return make(groups, k // groups, **kwargs, backward_samples=backward_samples)

    return make_groups


_DREG: Final = "doubly_reparameterized"

register("ciwae", partial(CIWAE, beta=0.5))
register("ciwae-dreg", partial(CIWAE, beta=0.5, gradient=_DREG))
register("dreg", partial(ImportanceWeighted, gradient=_DREG))
register("elbo", ELBO)
register("fivo", Filtering)
register("iwae", ImportanceWeighted)
register("iwae-sampled", lambda num_samples: ImportanceWeighted(num_samples, backward_samples=1))
register("jackknife", partial(Jackknife, order=1))
register("miwae", _split_samples(MIWAE))
register("miwae-dreg", _split_samples(MIWAE, gradient=_DREG))
register("nvil", partial(REINFORCE, baseline="learned"))
register("ovis", OVIS)
register("piwae", _split_samples(PIWAE))
register("piwae-dreg", _split_samples(PIWAE, gradient=_DREG))
register("reinforce", REINFORCE)
register("renyi", partial(Renyi, alpha=0.5))
register("rws", ReweightedWakeSleep)
register("rws-dreg", partial(ReweightedWakeSleep, gradient=_DREG))
register("stl", partial(ImportanceWeighted, gradient="path"))
register("tvo", Thermodynamic)
register("vimco", VIMCO)
register("vr-max", partial(Renyi, alpha=-math.inf))
register("wake-sleep", partial(ReweightedWakeSleep, sleep=1.0))
