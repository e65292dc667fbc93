"""Information criteria of a model, from its likelihood and the number of its parameters."""

import math

import numpy as np
import pandas as pd
import tensorflow as tf

from iwae_tf.evaluation.log_likelihood import log_likelihood
from iwae_tf.model import IWAE
from iwae_tf.types import Array


def information_criteria(
    model: IWAE,
    data: Array | tf.data.Dataset,
    num_samples: int = 5000,
    seed: int = 0,
    verbose: int = 0,
) -> pd.DataFrame:
    """Computes Akaike's and the Bayesian information criterion, with L_k in place of log p(x).

    For n observations and d parameters of p these are AIC = 2 d - 2 sum log p^(x) and BIC = d log n - 2 sum log p^(x);
    lower is better. The data should be those that the model was trained on. Only the parameters of the generative
    network count, since q is no part of the model of x. Neural networks are far from the regular models for which the
    criteria were derived: models with the same networks have the same penalty, so that the criteria choose between them
    by the likelihood of the training data alone.

    Args:
      model: an `IWAE`.
      data: observations `[n, *event_shape]` or a `tf.data.Dataset` of batches, as given to `fit`.
      num_samples: k, samples per observation.
      seed: integer seed of the preprocessing and the samples.
      verbose: 1 shows a progress bar.

    Returns:
      A `DataFrame` of one row: the sum `log_likelihood` in nats, `num_parameters`, `num_observations`, `aic` and `bic`.

    Raises:
      ValueError: if the data do not match the model's input, or `num_samples` is not a positive integer.

    References:
      Akaike 1974, A New Look at the Statistical Model Identification; Schwarz 1978, Estimating the Dimension of a
      Model.

    Example:
      ```python
      evaluation.information_criteria(model, x, num_samples=50)[["aic", "bic"]]
      ```
    """
    scores = log_likelihood(model, data, num_samples, seed, verbose).log_likelihood
    total, n = float(scores.sum()), len(scores)
    variables = {id(v): v for layer in (*model.decoder, model.prior) for v in layer.trainable_variables}
    d = int(sum(np.prod(v.shape) for v in variables.values()))
    row = {"log_likelihood": total, "num_parameters": d, "num_observations": n}
    return pd.DataFrame([{**row, "aic": 2 * d - 2 * total, "bic": d * math.log(n) - 2 * total}])
