"""The signal-to-noise ratio of gradients."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf

from iwae_tf import random
from iwae_tf.checks import check_count
from iwae_tf.compiling import cached_program
from iwae_tf.model import IWAE
from iwae_tf.objectives import Objective
from iwae_tf.training import gradients
from iwae_tf.types import Array


def gradient_snr(
    model: IWAE,
    x: Array,
    num_repeats: int = 100,
    objectives: Sequence[Objective] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Computes the signal-to-noise ratio of the gradients of a batch, for each network and objective.

    The batch is preprocessed once, and z is drawn `num_repeats` times. The ratio |E g| / sd(g) is computed for each
    parameter. Pure noise has a ratio of about 0.8 / sqrt(num_repeats): a smaller value means too few repeats.

    Args:
      model: an `IWAE`; its weights do not change.
      x: observations `[batch, *event_shape]`, as given to `fit`.
      num_repeats: number of gradients, at least 2. Memory does not grow with it.
      objectives: list of objectives; `None` is the model's own. `model.kl_weight` applies, as in training.
      seed: integer seed of the preprocessing and the samples.

    Returns:
      A `DataFrame` with two rows per objective, for the network `"encoder"` and `"decoder"` (with the prior): `snr`,
      the mean ratio of the parameters; the `variance` of the gradient and the `squared_norm` of its mean, summed over
      the parameters, in nats^2 per unit^2. Parameters whose gradient is the same in all repeats, such as the weights of
      constant pixels, have no ratio and are not counted; `snr` is NaN if no parameter is left.

    Raises:
      ValueError: if the data do not match the model's input, `num_repeats` is not an integer of 2 or more, or an
        objective needs something that a posterior cannot compute.

    References:
      Rainforth et al. 2018, Tighter Variational Bounds are Not Necessarily Better, arXiv:1802.04537, section 3.

    Example:
      ```python
      choices = [objectives.get(name, 8) for name in ("iwae", "dreg")]
      evaluation.gradient_snr(model, x, num_repeats=20, objectives=choices)[["objective", "network", "snr"]]
      ```
    """
    check_count(num_repeats, "num_repeats", minimum=2)  # for a variance
    key = random.as_seed(seed)
    batch, key = model.preprocess(model.as_input(x), key), random.fold_in(key, 1)
    encoder = {id(v) for layer in model.encoder for v in layer.trainable_variables}
    baseline = set() if model.baseline is None else {id(v) for v in model.baseline.trainable_variables}
    in_encoder = np.array([id(v) in encoder for v in model.trainable_variables])
    in_decoder = np.array([id(v) not in encoder | baseline for v in model.trainable_variables])
    rows = []
    for objective in [model.objective] if objectives is None else objectives:
        mean, variance = _compute_moments(model, objective, num_repeats, batch, key)
        for network, selected in (("encoder", in_encoder), ("decoder", in_decoder)):
            m, v = (_concatenate(arrays, selected) for arrays in (mean, variance))
            varies = v > 0
            ratio = np.abs(m[varies]) / np.sqrt(v[varies])
            rows.append(
                {
                    "objective": repr(objective),
                    "network": network,
                    "snr": ratio.mean() if len(ratio) else np.nan,
                    "variance": v.sum(),
                    "squared_norm": (m**2).sum(),
                }
            )
    return pd.DataFrame(rows)


def _compute_moments(
    model: IWAE, objective: Objective, num_repeats: int, x: tf.Tensor, seed: tf.Tensor
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Computes the mean and the variance of the gradients, by running moments in one program."""

    def moments(x: tf.Tensor, seed: tf.Tensor) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        def add(i: tf.Tensor, means: list[tf.Tensor], squares: list[tf.Tensor]) -> tuple:
            repeat, _ = gradients.compute(model, objective, x, random.fold_in(seed, i))
            pairs = zip(repeat, means, strict=True)
            deviations = [-m if g is None else tf.convert_to_tensor(g) - m for g, m in pairs]
            share = 1 / tf.cast(i + 1, deviations[0].dtype)
            means = [m + share * d for m, d in zip(means, deviations, strict=True)]
            return i + 1, means, [s + (1 - share) * d**2 for s, d in zip(squares, deviations, strict=True)]

        zeros = [tf.zeros_like(v) for v in model.trainable_variables]
        _, means, squares = tf.while_loop(lambda i, *_: i < num_repeats, add, (0, zeros, zeros), parallel_iterations=1)
        return means, [s / (num_repeats - 1) for s in squares]

    variables = map(id, model.trainable_variables)
    # All attributes, since objectives of a user's own may differ in more than the constructor's arguments.
    key: list = [type(objective), repr(sorted(vars(objective).items())), num_repeats, *variables]
    return cached_program(model, moments, *key)(x, seed)


def _concatenate(arrays: Sequence[npt.ArrayLike], selected: np.ndarray) -> np.ndarray:
    """Returns the entries of the selected arrays, in float64."""
    parts = [np.ravel(a).astype(np.float64) for a, select in zip(arrays, selected, strict=True) if select]
    return np.concatenate([*parts, np.zeros(0)])
