"""How much variance resampling adds to the gradient, against drawing the same number of samples by their weights.

python -m benchmarks.resampling

One-layer models at k = 50: after an epoch of MNIST, and the pretrained one. For each of some draws of z the gradient of
all samples is compared with the gradient of m of them, chosen from the same z. The extra variance is their mean squared
difference; it is given as a share of the variance that the full gradient has from draw to draw of z.
"""

import numpy as np

from benchmarks import commands
from benchmarks.ours import Fit
from benchmarks.tables import markdown, number

K, BATCH_SIZE, REPEATS = 50, 20, 100
NUM_BACKWARD = (1, 5, 8, 10, 16)


def draw_by_weight(weights, num_samples, seed):
    """Draws samples with replacement, each with the probability of its weight: what resampling is compared with."""
    import tensorflow as tf

    from iwae_tf import random, resampling

    indices = random.categorical(tf.math.log(weights), seed, num_samples)
    return indices, tf.reduce_sum(weights, 0) / (num_samples * resampling.take(weights, indices))


def gradients_of(model, objective, x, seeds):
    """The gradients for each seed of z, `[seeds, parameters]`."""
    import tensorflow as tf

    from iwae_tf.training import gradients

    @tf.function(jit_compile=True, autograph=False)
    def compute(seed):
        return tf.concat([tf.reshape(g, [-1]) for g in gradients.compute(model, objective, x, seed)[0]], 0)

    return np.stack([compute(tf.constant([seed, 0])).numpy() for seed in seeds])


def measure(model, x, seeds):
    """Measures the shares of extra variance for one batch, by the number of samples and the way they are chosen."""
    from iwae_tf import objectives
    from iwae_tf.training import resampled

    full = gradients_of(model, objectives.ImportanceWeighted(K), x, seeds)
    spread = full.var(0, ddof=1).sum()
    rows, optimal = {}, resampled.resample
    for name, choose in (("resampled", optimal), ("drawn by weight", draw_by_weight)):
        resampled.resample = choose
        for m in NUM_BACKWARD:
            some = gradients_of(model, objectives.ImportanceWeighted(K, backward_samples=m), x, seeds)
            rows.setdefault(str(m), {})[name] = float(((some - full) ** 2).sum(1).mean() / spread)
    resampled.resample = optimal
    return rows


def run(settings):
    """Measures early and late in training."""
    import tensorflow as tf

    import iwae_tf
    from iwae_tf import random

    images = np.load(settings.images)
    fit = Fit(images, K, BATCH_SIZE, 1)
    fit.train(4 if settings.quick else len(images) // BATCH_SIZE)
    x = fit.model.preprocess(tf.constant(fit.images[:BATCH_SIZE]), random.as_seed(0))
    seeds = range(4 if settings.quick else REPEATS)
    pretrained = iwae_tf.load_pretrained("mnist_iwae_1l")
    stages = {"after an epoch": (fit.model, x), "trained": (pretrained, tf.reshape(x, [-1, *pretrained.event_shape]))}
    return {"extra variance": {stage: measure(model, x, seeds) for stage, (model, x) in stages.items()}}


def table(result):
    """The shares as markdown, a row for each stage of training and number of samples."""
    rows = []
    for stage, shares in result["extra variance"].items():
        for m, row in shares.items():
            ratio = number(row["drawn by weight"] / row["resampled"])
            rows.append([stage, m, *(f"{100 * share:.3g} %" for share in row.values()), ratio])
    return markdown(["", f"m of {K}", "resampled", "drawn by weight", "ratio"], rows)


def main():
    """Measures, and writes `benchmarks/results/resampling.json`."""
    options = commands.parser("benchmarks.resampling", __doc__).parse_args()
    with commands.settings(options) as settings:
        commands.report("resampling", run, table, settings)


if __name__ == "__main__":
    main()
