"""The jackknife correction of a likelihood estimate."""

import numpy as np
import numpy.typing as npt
import pandas as pd


def apply_jackknife(table: pd.DataFrame, largest_log_weights: npt.ArrayLike, num_samples: int) -> np.ndarray:
    """Computes the jackknife-corrected estimates k L_k - (k - 1) mean_j L_(k-1) without sample j, in nats.

    Their bias is of order 1/k^2 instead of 1/k; they are not lower bounds. The logarithm log(1 - w~) is exact for the
    largest weights. For the others it is a series to second order, which needs only the sums of w~ and w~^2.

    Args:
      table: a `DataFrame` with `log_likelihood` and `effective_sample_size`.
      largest_log_weights: as in `pareto.estimate_pareto_k`.
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
    sum_of_logs = np.log1p(-weights).sum(1) - np.maximum(rest, 0) - np.maximum(rest_of_squares, 0) / 2
    return log_likelihood - (k - 1) * np.log(k / (k - 1)) - (k - 1) / k * sum_of_logs
