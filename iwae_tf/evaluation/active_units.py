"""Active units: the latent variables that carry information on x."""

import numpy as np
import pandas as pd
import tensorflow as tf

from iwae_tf.checks import check_count
from iwae_tf.evaluation.batches import preprocess_batches
from iwae_tf.model import IWAE
from iwae_tf.types import Array


def active_units(
    model: IWAE,
    data: Array | tf.data.Dataset,
    threshold: float = 0.01,
    num_samples: int = 1,
    rotated: bool = False,
    seed: int = 0,
) -> pd.DataFrame:
    """Computes the activity A_u = Var_x(E_q[u]) of every latent unit, or of the principal directions of each layer.

    For upper layers E_q[u] is the mean, over `num_samples` chains, of the mean of q(z_l|z_{l-1}), or with a ladder of
    q(z_l|z_{l+1}, x). The noise of the other layers' samples adds to the variance: with one sample, as in the paper,
    the activity of upper layers is too high rather than too low. The activity of z_1 (of z_L with a ladder) has no such
    noise.

    Args:
      model: an `IWAE`.
      data: observations `[n, *event_shape]` or a `tf.data.Dataset` of batches, as given to `fit`; n >= 2.
      threshold: a unit is active if its activity exceeds this number.
      num_samples: chains per observation, over which E_q[u] is averaged.
      rotated: whether to replace the units by the eigenvectors of the covariance of E_q[z_l] over the data, so that
        units that share one piece of information count once.
      seed: integer seed of the preprocessing and the samples.

    Returns:
      A `DataFrame` with a row per unit: `layer` (1 is nearest x), `unit` (for directions their rank), `activity`,
      `active`, and the `mean` of E_q[u] over the data.

    Raises:
      ValueError: if the data do not match the model's input, or hold fewer than two observations.

    References:
      Burda, Grosse & Salakhutdinov 2015, arXiv:1509.00519, section 5.2 and appendix C.

    Example:
      ```python
      units = evaluation.active_units(model, splits.test)
      units.groupby("layer").active.sum()
      ```
    """
    check_count(num_samples, "num_samples")
    batches = []  # per batch, per layer: [batch, units]
    for x, batch_seed in preprocess_batches(model, data, seed):
        posteriors, _ = model.infer(model.posterior(x), num_samples, batch_seed)
        means = (tf.reshape(q.mean(), [-1, len(x), int(np.prod(q.event_shape))]) for q in posteriors)
        batches.append([tf.reduce_mean(mean, 0).numpy().astype(np.float64) for mean in means])
    tables = []
    for layer, means_of_layer in enumerate(zip(*batches, strict=True), start=1):
        values = np.concatenate(means_of_layer)
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
