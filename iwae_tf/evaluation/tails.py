"""What the largest importance weights say of a likelihood estimate."""

import functools
import tempfile
import warnings
from unittest import mock

import numpy as np


@functools.cache
def import_arviz():
    """Imports ArviZ without what it does first on every day: it warns, and notes in the user's folders that it did.

    Of two processes that write the note at once one may fail, and so does every one whose home is read-only.
    """
    import platformdirs

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # that ArviZ is being refactored
        with mock.patch.object(platformdirs, "user_cache_dir", lambda *_: folder):
            import arviz
    return arviz


def pareto_k(largest_log_weights, num_samples):
    """Estimates the shape k of the generalised Pareto tail of the importance weights, by ArviZ's PSIS.

    Below 0.7 the estimate converges at a practical rate; from 0.7 on a few samples carry it and more are needed than
    anyone draws; above 1 the mean of the weights itself may be infinite. The tail is the min(k / 5, 3 sqrt(k)) largest
    of k samples, or as many as are kept.

    Args:
      largest_log_weights: `[n, m]`, of each observation the m largest, in any order; -inf where there are no more.
      num_samples: samples per observation.

    Returns:
      `[n]`; NaN for fewer than 25 samples, whose tail is too short, and -inf where no weight differs from the others.

    References:
      Vehtari, Simpson, Gelman, Yao & Gabry 2024, Pareto Smoothed Importance Sampling, arXiv:1507.02646.
    """
    kept = np.sort(np.asarray(largest_log_weights, np.float64), axis=1)[:, -min(num_samples, 10**9) :]
    tail = int(np.ceil(min(num_samples / 5, 3 * num_samples**0.5, kept.shape[1] - 1)))
    if num_samples < 25:
        return np.full(len(kept), np.nan)
    kept = kept[:, -tail - 1 :]
    # ArviZ takes whole samples and finds the tail by rank: what is not in it may be anything that is smaller. With this
    # number of them, and this relative efficiency, its tail is ours.
    size = 5 * (tail + 1)
    efficiency = size * (3 / (tail - 0.5)) ** 2
    found = np.full(len(kept), -np.inf)
    arviz = import_arviz()
    for i, row in enumerate(kept):
        if row[-1] > row[0]:
            found[i] = arviz.psislw(np.concatenate([np.full(size - len(row), row[0]), row]), efficiency)[1]
    return found


def jackknifed(table, largest_log_weights, num_samples):
    """Computes the jackknife-corrected estimates k L_k - (k - 1) mean_j L_(k-1) without sample j, in nats.

    Their bias is of order 1/k^2 instead of 1/k; they are no lower bounds. log(1 - w~) is exact for the largest weights,
    and for the others, which the sums of w~ and w~^2 stand for, its series to the second order.

    Args:
      table: a `DataFrame` with `log_likelihood` and `effective_sample_size`.
      largest_log_weights: as in `pareto_k`.
      num_samples: k, samples per observation.

    Returns:
      `[n]`; NaN for k = 1.

    References:
      Nowozin 2018, Debiasing Evidence Approximations, ICLR.
    """
    k = num_samples
    log_likelihood, effective = (
        table[name].to_numpy(np.float64) for name in ("log_likelihood", "effective_sample_size")
    )
    if k == 1:
        return np.full(len(table), np.nan)
    log_sums = (log_likelihood + np.log(k))[:, np.newaxis]
    weights = np.minimum(np.exp(np.asarray(largest_log_weights, np.float64) - log_sums), 1 - 1e-12)
    rest, rest_of_squares = 1 - weights.sum(1), 1 / effective - (weights**2).sum(1)
    left_out = np.log1p(-weights).sum(1) - np.maximum(rest, 0) - np.maximum(rest_of_squares, 0) / 2
    return log_likelihood - (k - 1) * np.log(k / (k - 1)) - (k - 1) / k * left_out
