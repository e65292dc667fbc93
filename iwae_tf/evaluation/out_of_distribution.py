"""Likelihoods as scores of anomalies."""

import numpy as np
import pandas as pd
from sklearn import metrics

from iwae_tf.evaluation.log_likelihood import log_likelihood

#: Share of what is inside that a threshold must let pass, for the false positive rate.
RECALL = 0.95


def out_of_distribution(
    model, inside, outside, num_samples=500, background=None, reference=None, seed=0, verbose=0,
):  # fmt: skip
    """Measures how well likelihoods tell data of the training distribution from other data.

    Three scores, high where an observation looks like an anomaly:

    - `log_likelihood`: -log p^(x);
    - `likelihood_ratio`: log p_0^(x) - log p^(x), with p_0 a `background` model of what is general, such as a model
      trained on perturbed data, so that what is common to both (simple images are likely) cancels;
    - `typicality`: |log p^(x) - mean log p^|, the mean over `reference` data: what is far too likely is untypical too.

    Args:
      model: an `IWAE`.
      inside: data of the training distribution, not trained on: array `[n, *event_shape]` or `tf.data.Dataset`.
      outside: other data, likewise.
      num_samples: samples per observation.
      background: another `IWAE` of the same observations. `None` leaves the ratio out.
      reference: data for the mean of the typicality, such as the validation set. `None` takes `inside` itself.
      seed: integer seed of the preprocessing and of the samples.
      verbose: 1 shows progress bars.

    Returns:
      A `DataFrame` with a row per `score`: the area under the ROC curve, `auroc`; `auprc`, the average precision with
      what is outside as the positive class; and `fpr95`, the share of what is outside that passes where 95 % of what is
      inside does. 0.5, the share of what is outside, and 0.95 are those of a coin.

    Raises:
      ValueError: if the data are not such as the models take.

    References:
      Nalisnick et al. 2019, arXiv:1810.09136 and arXiv:1906.02994 (typicality); Ren et al. 2019, Likelihood Ratios for
      Out-of-Distribution Detection, arXiv:1906.02845.
    """

    def scored(which, data):
        return log_likelihood(which, data, num_samples, seed, verbose).log_likelihood.to_numpy(np.float64)

    found = [scored(model, data) for data in (inside, outside)]
    mean = (found[0] if reference is None else scored(model, reference)).mean()
    scores = {"log_likelihood": [-f for f in found], "typicality": [abs(f - mean) for f in found]}
    if background is not None:
        scores["likelihood_ratio"] = [
            scored(background, data) - f for data, f in zip((inside, outside), found, strict=True)
        ]
    labels = np.repeat([0, 1], [len(f) for f in found])
    rows = []
    for name, (low, high) in scores.items():
        joined = np.concatenate([low, high])
        rows.append(
            {
                "score": name,
                "auroc": metrics.roc_auc_score(labels, joined),
                "auprc": metrics.average_precision_score(labels, joined),
                "fpr95": np.mean(high <= np.quantile(low, RECALL)),
            }
        )
    return pd.DataFrame(rows)
