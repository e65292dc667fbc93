"""Where the nats go: the bound, the gap and the KL, layer by layer and unit by unit."""

import numpy as np
import pandas as pd
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf.checks import check_count
from iwae_tf.evaluation.batches import preprocess_batches, score_batches
from iwae_tf.evaluation.log_likelihood import UNRELIABLE, log_likelihood
from iwae_tf.log_weights import effective_sample_size, log_mean_exp, standard_error
from iwae_tf.model import IWAE
from iwae_tf.types import Array

#: Nats by which sums in float32 may be off.
ROUNDING = 1e-2


def decompose(
    model: IWAE,
    data: Array | tf.data.Dataset,
    num_samples: int = 64,
    likelihood_samples: int = 5000,
    seed: int = 0,
    verbose: int = 0,
) -> pd.DataFrame:
    """Splits the estimate log p^(x) of every observation into the bounds below it and the gaps between them.

    No bound may exceed log p(x). If one does by more than five standard errors, although log p^ looks trustworthy
    (Pareto k below 0.7), the sampler or a density is wrong, and the row is flagged.

    Args:
      model: an `IWAE`.
      data: observations `[n, *event_shape]` or a `tf.data.Dataset` of batches, as given to `fit`.
      num_samples: k of `bound`, and the samples behind the expectations.
      likelihood_samples: samples for log p^.
      seed: integer seed of the preprocessing and the samples.
      verbose: 1 shows a progress bar.

    Returns:
      A `DataFrame` with a row per observation, in nats: `elbo` (L_1), `bound` (L_k), `log_likelihood` (log p^) and
      `negative_kl` = L_1 - log p^, which estimates -KL(q(z|x) || p(z|x)); `distortion`, -E log p(x|z), and `rate`,
      E (log q(z|x) - log p(z)), whose sum is -L_1; `kl_1`, ..., `kl_L`, the rate of each layer; and `flagged`.

    Raises:
      ValueError: as in `log_likelihood`.

    References:
      Rainforth et al. 2018, arXiv:1802.04537, table 1; Alemi et al. 2018, Fixing a Broken ELBO, arXiv:1711.00464.

    Example:
      ```python
      table = evaluation.decompose(model, x, num_samples=16, likelihood_samples=50)
      table[["elbo", "bound", "log_likelihood", "negative_kl"]].mean()
      ```
    """
    tables, errors = [], []
    for terms in score_batches(model, data, num_samples, seed):
        layers = {f"kl_{i}": tf.reduce_mean(kl, 0).numpy() for i, kl in enumerate(terms.kl_of_layers, start=1)}
        distortion = -tf.reduce_mean(terms.reconstruction, 0).numpy()
        rate = tf.reduce_mean(terms.kl, 0).numpy()
        log_weights = terms.log_weights()
        bound = log_mean_exp(log_weights).numpy()
        error_of_elbo = tf.math.reduce_std(log_weights, 0) / num_samples**0.5
        error_of_bound = standard_error(effective_sample_size(log_weights), num_samples)
        errors.append(np.stack([error_of_elbo, error_of_bound], 1))
        tables.append(
            pd.DataFrame({"elbo": -distortion - rate, "bound": bound, "distortion": distortion, "rate": rate, **layers})
        )
    table = pd.concat(tables, ignore_index=True)
    likelihoods = log_likelihood(model, data, likelihood_samples, seed, verbose)
    table.insert(2, "log_likelihood", likelihoods.log_likelihood)
    table.insert(3, "negative_kl", table.elbo - likelihoods.log_likelihood)
    return table.assign(flagged=_flag(table[["elbo", "bound"]].to_numpy(), np.concatenate(errors), likelihoods))


def _flag(bounds: np.ndarray, errors: np.ndarray, likelihoods: pd.DataFrame) -> np.ndarray:
    """Returns for each row whether one of its bounds, `[n, j]`, is above log p^ beyond doubt."""
    doubt = 5 * np.hypot(np.nan_to_num(errors), np.nan_to_num(likelihoods.standard_error.to_numpy()[:, np.newaxis]))
    excess = bounds - likelihoods.log_likelihood.to_numpy()[:, np.newaxis]
    # If all weights are equal, the only error is the rounding of float32 sums.
    return (likelihoods.pareto_k < UNRELIABLE).to_numpy() & (excess > doubt + ROUNDING).any(axis=1)


def kl_of_units(model: IWAE, data: Array | tf.data.Dataset, num_samples: int = 64, seed: int = 0) -> pd.DataFrame:
    """Computes the KL between posterior and prior of every latent unit, averaged over data and samples.

    Args:
      model: an `IWAE`.
      data: observations `[n, *event_shape]` or a `tf.data.Dataset` of batches, as given to `fit`.
      num_samples: samples per observation.
      seed: integer seed of the preprocessing and the samples.

    Returns:
      A `DataFrame` with a row per unit: `layer` (1 is nearest x), `unit`, `kl` in nats. It skips layers whose posterior
      or prior does not factorise over units (flows, mixtures, full covariances).

    Raises:
      ValueError: if the data do not match the model's input.

    Example:
      ```python
      evaluation.kl_of_units(model, x, num_samples=16).groupby("layer").kl.sum()
      ```
    """
    check_count(num_samples, "num_samples")
    sums: dict[int, np.ndarray] = {}
    count = 0
    for x, batch_seed in preprocess_batches(model, data, seed):
        posteriors, z = model.infer(model.posterior(x), num_samples, batch_seed)
        count += len(x)
        for layer, (q, p, z_l) in enumerate(zip(posteriors, model.generative(z)[1:], z, strict=True), start=1):
            q_u, p_u = factorize(q), factorize(p)
            if q_u is None or p_u is None:
                continue
            kl = tf.reduce_mean(q_u.log_prob(z_l) - p_u.log_prob(z_l), 0)
            kl = tf.reshape(tf.broadcast_to(kl, z_l.shape[1:]), [len(x), -1])
            sums[layer] = sums.get(layer, 0) + tf.reduce_sum(kl, 0).numpy().astype(np.float64)
    tables = [pd.DataFrame({"layer": layer, "unit": range(len(s)), "kl": s / count}) for layer, s in sums.items()]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["layer", "unit", "kl"])


def factorize(distribution: tfd.Distribution) -> tfd.Distribution | None:
    """Returns the distributions of the single units if they are independent, otherwise `None`."""
    if isinstance(distribution, tfd.Independent) and not len(distribution.distribution.event_shape):
        return distribution.distribution
    return None
