"""Likelihoods as scores of anomalies."""

import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn import metrics

from iwae_tf.evaluation.log_likelihood import log_likelihood
from iwae_tf.model import IWAE
from iwae_tf.scoring.anomalies import compute_scores
from iwae_tf.types import Array

#: Share of the data inside that passes at the threshold of the false positive rate.
RECALL = 0.95


def out_of_distribution(
    model: IWAE,
    inside: Array | tf.data.Dataset,
    outside: Array | tf.data.Dataset,
    num_samples: int = 500,
    background: IWAE | None = None,
    reference: Array | tf.data.Dataset | None = None,
    seed: int = 0,
    verbose: int = 0,
) -> pd.DataFrame:
    """Measures how well likelihoods tell data of the training distribution from other data.

    It compares three scores, which are high for an anomaly:

    - `log_likelihood`: -log p^(x);
    - `likelihood_ratio`: log p_0^(x) - log p^(x), where p_0 is a `background` model of general features, for example a
      model trained on perturbed data. Features that both models share cancel, such as the simplicity of an image;
    - `typicality`: |log p^(x) - mean log p^|, with the mean over `reference` data. It finds anomalies that are too
      likely as well.

    Args:
      model: an `IWAE`.
      inside: observations of the training distribution that the model was not trained on, `[n, *event_shape]` or a
        `tf.data.Dataset` of batches.
      outside: other observations, in one of these forms.
      num_samples: k, samples per observation.
      background: another `IWAE` of the same kind of observations. `None` skips the likelihood ratio.
      reference: data for the mean of the typicality, such as the validation set. `None` is `inside`.
      seed: integer seed of the preprocessing and the samples.
      verbose: 1 shows progress bars.

    Returns:
      A `DataFrame` with a row per `score`: `auroc`, the area under the ROC curve; `auprc`, the average precision with
      `outside` as the positive class; and `fpr95`, the share of `outside` that passes a threshold which 95 % of
      `inside` pass. At chance level they are 0.5, the share of `outside` in all data, and 0.95.

    Raises:
      ValueError: if the data do not match the models' input.

    References:
      Nalisnick et al. 2019, arXiv:1810.09136 and arXiv:1906.02994 (typicality); Ren et al. 2019, Likelihood Ratios for
      Out-of-Distribution Detection, arXiv:1906.02845.

    Example:
      ```python
      table = evaluation.out_of_distribution(model, inside=x, outside=255 - x, num_samples=50)
      table.set_index("score").auroc
      ```
    """

    def score(which: IWAE, data: Array | tf.data.Dataset) -> np.ndarray:
        return log_likelihood(which, data, num_samples, seed, verbose).log_likelihood.to_numpy(np.float64)

    likelihoods = [score(model, data) for data in (inside, outside)]
    mean = (likelihoods[0] if reference is None else score(model, reference)).mean()
    general = [None if background is None else score(background, data) for data in (inside, outside)]
    low_scores, high_scores = (compute_scores(own, mean, b) for own, b in zip(likelihoods, general, strict=True))
    labels = np.repeat([0, 1], [len(values) for values in likelihoods])
    rows = []
    for name, low in low_scores.items():
        high = high_scores[name]
        values = np.concatenate([low, high])
        rows.append(
            {
                "score": name,
                "auroc": metrics.roc_auc_score(labels, values),
                "auprc": metrics.average_precision_score(labels, values),
                "fpr95": np.mean(high <= np.quantile(low, RECALL)),
            }
        )
    return pd.DataFrame(rows)
