"""Whether runs with a resampled backward pass end where full ones do, in pairs of the same seed.

python -m benchmarks.endings

Both runs of a pair have the same initial weights, the same batches, and a learning rate that falls from 0.001 to 0 by a
cosine. Then L_500 of test images, each binarised once, is compared image by image.
"""

import argparse

import numpy as np

from benchmarks.tables import markdown, write
from benchmarks.turns import ROOT

NUM_SAMPLES = 500


def end(splits, seed, k, epochs, backward_samples):
    """Trains a run; returns the log-likelihoods of the test images."""
    import keras

    from iwae_tf import evaluation, runs

    # Adam as on the command line, but for the learning rate.
    config = runs.Config(num_samples=k, seed=seed, epochs=epochs, backward_samples=backward_samples)
    model = runs.build(config, splits)
    steps = epochs * int(splits.train.cardinality())
    rate = keras.optimizers.schedules.CosineDecay(1e-3, steps)
    model.compile(keras.optimizers.Adam(rate, epsilon=1e-4 / config.batch_size))
    model.fit(splits.train, epochs=epochs, verbose=0)
    return evaluation.log_likelihood(model, splits.test, NUM_SAMPLES).log_likelihood.to_numpy()


def table(rows):
    """The pairs as markdown, and the mean difference with its standard error over the pairs."""
    lines = [[row["seed"], *(f"{row[name]:.2f}" for name in ("full", "resampled", "difference"))] for row in rows]
    difference = np.array([row["difference"] for row in rows])
    error = difference.std(ddof=1) / len(rows) ** 0.5 if len(rows) > 1 else float("nan")
    lines.append(["mean", *(f"{np.mean([r[n] for r in rows]):.2f}" for n in ("full", "resampled")),
                  f"{difference.mean():+.3f} +- {error:.3f}"])  # fmt: skip
    return markdown(["seed", "full", "resampled", "resampled - full"], lines)


def main():
    """Trains the pairs, and writes down each as it comes."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.endings", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--images", type=int, help="training images (default: all)")
    parser.add_argument("--test-images", type=int, default=1000)
    parser.add_argument("-k", type=int, default=50, help="importance samples (default: 50)")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data-dir", default="../shared/tfds", help="folder of the prepared TFDS data")
    options = parser.parse_args()

    from iwae_tf import data

    whole = data.load(options.dataset, 20, None if options.dataset == "digits" else options.data_dir)
    parts = [np.concatenate(list(part.as_numpy_iterator())) for part in (whole.train, whole.validation, whole.test)]
    limits = options.images, None, options.test_images
    train, validation, test = (part[:limit] for part, limit in zip(parts, limits, strict=True))
    rows = []
    for seed in range(options.seeds):
        splits = data.from_arrays(train, validation, test, 20, seed)
        values = {
            name: end(splits, seed, options.k, options.epochs, backward_samples)
            for name, backward_samples in (("full", None), ("resampled", "auto"))
        }
        difference = float((values["resampled"] - values["full"]).mean())
        rows.append({"seed": seed, **{name: float(v.mean()) for name, v in values.items()}, "difference": difference})
        about = {"command": f"python -m benchmarks.endings --dataset {options.dataset}", "options": vars(options)}
        write(ROOT / "benchmarks" / "results", f"endings-{options.dataset}", {"rows": rows}, **about)
        print(f"{table(rows)}\n", flush=True)


if __name__ == "__main__":
    main()
