"""Active units: the latent variables that carry information on x."""

import numpy as np
import pandas as pd

from iwae_tf.evaluation.batches import seen_batches


def active_units(model, data, threshold=0.01, seed=0):
    """Computes the activity A_u = Var_x(E_q[u]) of every latent unit.

    For the upper layers the mean of q(z_l|z_{l-1}) is taken given one sample of the layers below, as the authors did;
    with a ladder that of q(z_l|z_{l+1}, x) given one of the layers above. The noise of these samples is in the
    variance, so that only the activity of z_1, or with a ladder of z_L, is free of it.

    Args:
      model: an `IWAE`.
      data: array `[n, *event_shape]` or `tf.data.Dataset` of batches, as in the training set; n >= 2.
      threshold: a unit is active when its activity exceeds this.
      seed: integer seed of the preprocessing and of the samples.

    Returns:
      A `DataFrame` with a row per unit: `layer` (1 is nearest x), `unit`, `activity`, `active`.

    Raises:
      ValueError: if the data are not such as the model takes, or hold fewer than two observations.

    References:
      Burda, Grosse & Salakhutdinov 2015, arXiv:1509.00519, section 5.2.
    """
    means = []  # per batch, per layer: [batch, units]
    for seen, batch_seed in seen_batches(model, data, seed):
        posteriors, _ = model.infer(model.posterior(seen), (), batch_seed)
        means.append([q.mean().numpy().reshape(len(seen), -1) for q in posteriors])
    tables = []
    for layer, parts in enumerate(zip(*means, strict=True), start=1):
        values = np.concatenate(parts).astype(np.float64)
        if len(values) < 2:
            raise ValueError(
                f"Expected at least two observations, since activity is a variance. Received: {len(values)}"
            )
        activity = values.var(0, ddof=1)
        tables.append(
            pd.DataFrame(
                {"layer": layer, "unit": range(len(activity)), "activity": activity, "active": activity > threshold}
            )
        )
    return pd.concat(tables, ignore_index=True)
