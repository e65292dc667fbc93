"""The shape of the tail of importance weights, which tells whether an estimate can be trusted."""

import functools
import tempfile
import warnings
from types import ModuleType
from unittest import mock

import numpy as np
import numpy.typing as npt


@functools.cache
def import_arviz() -> ModuleType:
    """Imports ArviZ without its daily warning, which it records in a folder of the user.

    The record would fail where the home is read-only, and sometimes where two processes write it at once.
    """
    import platformdirs

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # ArviZ is being refactored
        with mock.patch.object(platformdirs, "user_cache_dir", lambda *_: folder):
            import arviz
    return arviz


def estimate_pareto_k(largest_log_weights: npt.ArrayLike, num_samples: int) -> np.ndarray:
    """Estimates the shape k of the generalised Pareto tail of the importance weights, by ArviZ's PSIS.

    Below 0.7 the estimate converges at a practical rate. From 0.7 on a few samples dominate it, and a reliable one
    would take more samples than is practical. Above 1 the mean of the weights may be infinite. The tail consists of the
    min(k / 5, 3 sqrt(k)) largest of k samples, or of all that are given if these are fewer.

    Args:
      largest_log_weights: the m largest log weights of each observation, `[n, m]`, in any order and padded with -inf.
      num_samples: samples per observation.

    Returns:
      `[n]`; NaN for fewer than 25 samples, whose tail is too short, and -inf where all weights are equal.

    References:
      Vehtari, Simpson, Gelman, Yao & Gabry 2024, Pareto Smoothed Importance Sampling, arXiv:1507.02646.
    """
    ascending = np.sort(np.asarray(largest_log_weights, np.float64), axis=1)[:, -min(num_samples, 10**9) :]
    tail = int(np.ceil(min(num_samples / 5, 3 * num_samples**0.5, ascending.shape[1] - 1)))
    if num_samples < 25:
        return np.full(len(ascending), np.nan)
    ascending = ascending[:, -tail - 1 :]
    # ArviZ expects the whole sample and finds the tail by rank, so any smaller values may fill in for the rest. With
    # this sample size and relative efficiency its tail has the length above.
    size = 5 * (tail + 1)
    efficiency = size * (3 / (tail - 0.5)) ** 2
    filling = np.repeat(ascending[:, :1], size - ascending.shape[1], axis=1)
    varied = ascending[:, -1] > ascending[:, 0]
    shapes = np.full(len(ascending), -np.inf)
    if varied.any():
        shapes[varied] = import_arviz().psislw(np.concatenate([filling, ascending], axis=1)[varied], efficiency)[1]
    return shapes
