"""The signal-to-noise ratio of gradients."""

import numpy as np
import pandas as pd
import tensorflow as tf

from iwae_tf import random
from iwae_tf.checks import check_count
from iwae_tf.compiling import compiled
from iwae_tf.training import gradients


def gradient_snr(model, x, num_repeats=100, objectives=None, seed=0):
    """Computes the signal-to-noise ratio of the gradients of a batch, for each network and objective.

    The batch, once preprocessed, stays as it is; only z is drawn anew, `num_repeats` times. The ratio |E g| / sd(g) is
    taken of each parameter by itself. Noise without any signal has about 0.8 / sqrt(num_repeats), so that smaller
    values say no more than that there are too few repeats.

    Args:
      model: an `IWAE`; its weights do not change.
      x: data `[batch, *event_shape]`, as in the training set.
      num_repeats: gradients drawn, at least 2. Memory does not grow with it.
      objectives: list of objectives; `None` takes the model's own. `model.kl_weight` applies, as in training.
      seed: integer seed of the preprocessing and of the samples.

    Returns:
      A `DataFrame` with two rows per objective, for the network `"encoder"` and `"decoder"` (with the prior): the mean
      over the parameters `snr`; the `variance` of the gradient and the `squared_norm` of its mean, summed over the
      parameters, in nats^2 per unit^2. Parameters that no draw moves, such as the weights of constant pixels, have no
      ratio and are left out. A network without any other has NaN.

    Raises:
      ValueError: if the data are not such as the model takes, `num_repeats` is no integer of at least 2, or an
        objective asks of a posterior what it cannot give.

    References:
      Rainforth et al. 2018, Tighter Variational Bounds are Not Necessarily Better, arXiv:1802.04537, section 3.
    """
    check_count(num_repeats, "num_repeats", minimum=2)  # of which there is a variance
    seed = random.as_seed(seed)
    x, seed = model.preprocess(model.admit(x), seed), random.fold_in(seed, 1)
    inferring = {id(v) for layer in model.encoder for v in layer.trainable_variables}
    in_encoder = [id(v) in inferring for v in model.trainable_variables]
    rows = []
    for objective in [model.objective] if objectives is None else objectives:
        mean, variance = _moments(model, objective, num_repeats, x, seed)
        for network in ("encoder", "decoder"):
            chosen = [belongs == (network == "encoder") for belongs in in_encoder]
            m, v = (_joined(part, chosen) for part in (mean, variance))
            moved = v > 0
            ratio = np.abs(m[moved]) / np.sqrt(v[moved])
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


def _moments(model, objective, num_repeats, x, seed):
    """Computes mean and variance of the gradients, by running moments in one program."""

    def moments(x, seed):
        def add(i, means, squares):
            found, _ = gradients.compute(model, objective, x, random.fold_in(seed, i))
            pairs = zip(found, means, strict=True)
            deviations = [-m if g is None else tf.convert_to_tensor(g) - m for g, m in pairs]
            share = 1 / tf.cast(i + 1, deviations[0].dtype)
            means = [m + share * d for m, d in zip(means, deviations, strict=True)]
            return i + 1, means, [s + (1 - share) * d**2 for s, d in zip(squares, deviations, strict=True)]

        nothing = [tf.zeros_like(v) for v in model.trainable_variables]
        _, means, squares = tf.while_loop(
            lambda i, *_: i < num_repeats, add, (0, nothing, nothing), parallel_iterations=1
        )
        return means, [s / (num_repeats - 1) for s in squares]

    variables = map(id, model.trainable_variables)
    # Two objectives of a user's own may be equal by their arguments, and differ in something else.
    about = type(objective), repr(sorted(vars(objective).items()))
    return compiled(model, moments, *about, num_repeats, *variables)(x, seed)


def _joined(arrays, chosen):
    parts = [np.ravel(a).astype(np.float64) for a, take in zip(arrays, chosen, strict=True) if take]
    return np.concatenate([*parts, np.zeros(0)])
