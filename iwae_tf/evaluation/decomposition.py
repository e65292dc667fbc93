"""Where the nats go: the bound, the gap and the KL, layer by layer and unit by unit."""

import numpy as np
import pandas as pd
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf.checks import check_count
from iwae_tf.evaluation.batches import preprocess_batches, score_batches
from iwae_tf.evaluation.log_likelihood import UNRELIABLE, log_likelihood
from iwae_tf.log_weights import effective_sample_size, log_mean_exp, standard_error

#: Nats by which sums in float32 may be off.
ROUNDING = 1e-2


def decompose(model, data, num_samples=64, likelihood_samples=5000, seed=0, verbose=0):
    """Splits log p^(x) of every observation into the bounds below it and what they lack.

    No bound may exceed log p(x). Where one does by more than five standard errors, though log p^ looks trustworthy
    (Pareto k below 0.7), something is wrong, with the sampler or with a density, and the row is flagged.

    Args:
      model: an `IWAE`.
      data: array `[n, *event_shape]` or `tf.data.Dataset` of batches, as in the training set.
      num_samples: k of the bound between the two.
      likelihood_samples: samples for log p^.
      seed: integer seed of the preprocessing and of the samples.
      verbose: 1 shows a progress bar.

    Returns:
      A `DataFrame` with a row per observation, in nats: `elbo` (L_1), `bound` (L_k), `log_likelihood` (log p^),
      `negative_kl`, which is L_1 - log p^ and estimates -KL(q(z|x) || p(z|x)); `distortion`, -E log p(x|z), and `rate`,
      E (log q(z|x) - log p(z)), whose sum is -L_1; `kl_1`, ..., `kl_L`, the parts of the rate of each layer; and
      `flagged`. The expectations are means over the k samples.

    Raises:
      ValueError: as in `log_likelihood`.

    References:
      Rainforth et al. 2018, arXiv:1802.04537, table 1; Alemi et al. 2018, Fixing a Broken ELBO, arXiv:1711.00464.
    """
    parts, errors = [], []
    for part in score_batches(model, data, num_samples, seed):
        layers = {f"kl_{i}": tf.reduce_mean(kl, 0).numpy() for i, kl in enumerate(part.kl_of_layers, start=1)}
        distortion = -tf.reduce_mean(part.reconstruction, 0).numpy()
        rate = tf.reduce_mean(part.kl, 0).numpy()
        log_weights = part.log_weights()
        bound = log_mean_exp(log_weights).numpy()
        error_of_elbo = tf.math.reduce_std(log_weights, 0) / num_samples**0.5
        error_of_bound = standard_error(effective_sample_size(log_weights), num_samples)
        errors.append(np.stack([error_of_elbo, error_of_bound], 1))
        parts.append(
            pd.DataFrame({"elbo": -distortion - rate, "bound": bound, "distortion": distortion, "rate": rate, **layers})
        )
    table = pd.concat(parts, ignore_index=True)
    found = log_likelihood(model, data, likelihood_samples, seed, verbose)
    table.insert(2, "log_likelihood", found.log_likelihood)
    table.insert(3, "negative_kl", table.elbo - found.log_likelihood)
    return table.assign(flagged=_too_high(table[["elbo", "bound"]].to_numpy(), np.concatenate(errors), found))


def _too_high(bounds, errors, found):
    """Tells whose `[n, j]` bounds are above log p^ beyond doubt."""
    doubt = 5 * np.hypot(np.nan_to_num(errors), np.nan_to_num(found.standard_error.to_numpy()[:, np.newaxis]))
    excess = bounds - found.log_likelihood.to_numpy()[:, np.newaxis]
    # Where no weight differs from another there is no error but that of float32 sums.
    return (found.pareto_k < UNRELIABLE) & (excess > doubt + ROUNDING).any(axis=1)


def kl_of_units(model, data, num_samples=64, seed=0):
    """Computes the KL of every latent unit from its prior, mean over data and samples.

    Args:
      model: an `IWAE` whose posteriors and priors are of independent units.
      data: array `[n, *event_shape]` or `tf.data.Dataset` of batches, as in the training set.
      num_samples: samples per observation.
      seed: integer seed of the preprocessing and of the samples.

    Returns:
      A `DataFrame` with a row per unit: `layer` (1 is nearest x), `unit`, `kl` in nats. Layers whose posterior or prior
      does not factorise over units (flows, mixtures, full covariances) have no such parts, and are left out.

    Raises:
      ValueError: if the data are not such as the model takes.
    """
    check_count(num_samples, "num_samples")
    sums: dict[int, np.ndarray] = {}
    count = 0
    for seen, batch_seed in preprocess_batches(model, data, seed):
        posteriors, z = model.infer(model.posterior(seen), num_samples, batch_seed)
        count += len(seen)
        for layer, (q, p, z_l) in enumerate(zip(posteriors, model.generative(z)[1:], z, strict=True), start=1):
            pair = [factorize(d) for d in (q, p)]
            if None in pair:
                continue
            kl = tf.reduce_mean(pair[0].log_prob(z_l) - pair[1].log_prob(z_l), 0)
            kl = tf.reshape(tf.broadcast_to(kl, z_l.shape[1:]), [len(seen), -1])
            sums[layer] = sums.get(layer, 0) + tf.reduce_sum(kl, 0).numpy().astype(np.float64)
    rows = [pd.DataFrame({"layer": layer, "unit": range(len(s)), "kl": s / count}) for layer, s in sums.items()]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["layer", "unit", "kl"])


def factorize(distribution):
    """Returns the distribution over scalars of which this one is a product, or `None`."""
    if isinstance(distribution, tfd.Independent) and not len(distribution.distribution.event_shape):
        return distribution.distribution
    return None
