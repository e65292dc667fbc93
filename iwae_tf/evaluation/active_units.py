"""Active units: the latent variables that carry information on x."""

import numpy as np
import pandas as pd
import tensorflow as tf

from iwae_tf.checks import check_count
from iwae_tf.evaluation.batches import preprocess_batches


def active_units(model, data, threshold=0.01, num_samples=1, rotated=False, seed=0):
    """Computes the activity A_u = Var_x(E_q[u]) of every latent unit, or of the principal directions of each layer.

    For the upper layers E_q[u] is the mean over `num_samples` chains of the mean of q(z_l|z_{l-1}), with a ladder of
    q(z_l|z_{l+1}, x). What noise is left of the other layers' samples is in the variance: with one sample, as the
    authors took it, the activity of upper layers is too high rather than too low. That of z_1, or with a ladder of z_L,
    is free of it.

    Args:
      model: an `IWAE`.
      data: array `[n, *event_shape]` or `tf.data.Dataset` of batches, as in the training set; n >= 2.
      threshold: a unit is active when its activity exceeds this.
      num_samples: chains that E_q[u] is averaged over.
      rotated: whether to take, instead of single units, the eigenvectors of the covariance of E_q[z_l] over the data:
        units that share one piece of information then count once.
      seed: integer seed of the preprocessing and of the samples.

    Returns:
      A `DataFrame` with a row per unit: `layer` (1 is nearest x), `unit` (for directions their rank), `activity`,
      `active`, and the `mean` of E_q[u] over the data.

    Raises:
      ValueError: if the data are not such as the model takes, or hold fewer than two observations.

    References:
      Burda, Grosse & Salakhutdinov 2015, arXiv:1509.00519, section 5.2 and appendix C.
    """
    check_count(num_samples, "num_samples")
    parts = []  # per batch, per layer: [batch, units]
    for seen, batch_seed in preprocess_batches(model, data, seed):
        posteriors, _ = model.infer(model.posterior(seen), num_samples, batch_seed)
        means = (tf.reshape(q.mean(), [-1, len(seen), int(np.prod(q.event_shape))]) for q in posteriors)
        parts.append([tf.reduce_mean(mean, 0).numpy().astype(np.float64) for mean in means])
    tables = []
    for layer, batches in enumerate(zip(*parts, strict=True), start=1):
        values = np.concatenate(batches)
        if len(values) < 2:
            raise ValueError(
                f"Expected at least two observations, since activity is a variance. Received: {len(values)}"
            )
        if rotated:
            values = values @ np.linalg.svd(values - values.mean(0), full_matrices=False)[2].T
        activity = values.var(0, ddof=1)
        columns = {"activity": activity, "active": activity > threshold, "mean": values.mean(0)}
        tables.append(pd.DataFrame({"layer": layer, "unit": range(len(activity)), **columns}))
    return pd.concat(tables, ignore_index=True)
