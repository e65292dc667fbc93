"""What the functions of `evaluation` say of real models, and the pictures of docs/evaluation.md.

python -m benchmarks.diagnoses --only likelihoods units

On MNIST the models are those of `python -m benchmarks.quality objectives`, trained first if they are not there.
"""

import argparse
import dataclasses
import functools
import sys
import time

import numpy as np
import pandas as pd
import tensorflow as tf

import iwae_tf
from benchmarks.quality import BASE, GROUPS, trained
from benchmarks.tables import write
from benchmarks.turns import ROOT
from iwae_tf import data, evaluation, plots, random, runs
from iwae_tf.estimates import likelihood
from iwae_tf.evaluation.pareto import estimate_pareto_k

IMAGES = ROOT / "docs" / "images"
NAMES = ("elbo", "iwae")
#: The pictures of the page, of one model each.
SHOWN = ("bounds_elbo", "activity_elbo", "weights_iwae")
#: Test images for what takes long, and for the rest.
FEW, MANY = 100, 1000


@functools.cache
def model_of(name, data_dir):
    """Returns a model of MNIST and `MANY` test images, binarised once; "pretrained" is the model of the package."""
    if name == "pretrained":
        model = iwae_tf.load_pretrained("mnist_iwae")
        return model, binarised(model, data.load("mnist", 100, data_dir).test, MANY)
    config = dataclasses.replace(BASE, data_dir=data_dir, **GROUPS["objectives"][name])
    model, splits, _ = trained(config, "objectives", name)
    return model, binarised(model, splits.test, MANY)


def binarised(model, part, n):
    """Returns the first n observations of a part, as the likelihood sees them."""
    x = np.concatenate([np.asarray(batch) for batch in part])[:n]
    return model.preprocess(x, random.as_seed(0)).numpy()


def likelihoods(data_dir):
    """L_5000 against annealed importance sampling on the same images, and bounds from both sides on simulated ones."""
    rows = {}
    for name in NAMES:
        model, x = model_of(name, data_dir)
        scores = evaluation.log_likelihood(model, x[:FEW])
        summary = evaluation.summarize(scores)
        annealed = evaluation.ais(model, x[:FEW])
        both = evaluation.bdmc(model, FEW)
        higher = annealed.log_likelihood - scores.log_likelihood
        rows[name] = {
            "L_5000": summary["log_likelihood"],
            "error of the sampler": (scores.standard_error**2).mean() ** 0.5,
            "Pareto k >= 0.7": summary["unreliable"],
            "jackknife": summary["jackknife"],
            "AIS": annealed.log_likelihood.mean(),
            "AIS - L_5000": higher.mean(),
            "its standard error": higher.std() / FEW**0.5,
            "gap of BDMC": both.gap.mean(),
        }
        _show(plots.bounds(evaluation.bounds(model, x[:FEW])), f"bounds_{name}")
    return pd.DataFrame(rows).T


def refinements(data_dir):
    """L_k with q refined for each image, beside q as it is and annealed importance sampling."""
    rows = {}
    for name in ("pretrained", *NAMES):
        model, x = model_of(name, data_dir)
        x = x[:FEW]
        for steps in (0, 20, 50, 100, 200):
            row = rows[name, f"{steps} steps"] = {}
            for k in (500, 5000):
                program = likelihood.get_program(model, steps)
                program(tf.constant(x[:1]), tf.constant(k), random.as_seed(0))  # compiles
                start = time.perf_counter()
                estimate = program(tf.constant(x), tf.constant(k), random.as_seed(0))
                row[f"L_{k}"] = estimate.log_likelihood.numpy().mean()
                row[f"seconds of L_{k}"] = time.perf_counter() - start
            row["ESS of 5000"] = estimate.effective_sample_size.numpy().mean()
            row["Pareto k >= 0.7"] = (estimate_pareto_k(estimate.largest_log_weights, k) >= 0.7).mean()
        evaluation.ais(model, x[:FEW], 1)  # compiles
        start = time.perf_counter()
        annealed = evaluation.ais(model, x)
        rows[name, "AIS"] = {"L_5000": annealed.log_likelihood.mean(), "seconds of L_5000": time.perf_counter() - start}
    return pd.DataFrame(rows).T


def _show(figure, name):
    """Keeps a picture if the page shows it."""
    if name in SHOWN:
        figure.savefig(IMAGES / f"{name}.png")


def units(data_dir):
    """Active units in three ways, and what the model loses without the inactive ones."""
    rows = {}
    for name in NAMES:
        model, x = model_of(name, data_dir)
        table = evaluation.active_units(model, x)
        whole = evaluation.log_likelihood(model, x[:FEW]).log_likelihood
        without = evaluation.without_inactive(model, x[:FEW], table).log_likelihood
        rows[name] = {
            "active units": table.active.sum(),
            "active directions": evaluation.active_units(model, x, rotated=True).active.sum(),
            "nats lost without the others": (whole - without).mean(),
            "KL of the active ones": evaluation.kl_of_units(model, x[:FEW]).kl[table.active].sum(),
            "KL of the others": evaluation.kl_of_units(model, x[:FEW]).kl[~table.active].sum(),
        }
        _show(plots.activity(table), f"activity_{name}")
    return pd.DataFrame(rows).T


def decompositions(data_dir):
    """Where the nats go."""
    rows = {}
    for name in NAMES:
        model, x = model_of(name, data_dir)
        parts = evaluation.decompose(model, x[:FEW])
        gaps = evaluation.inference_gaps(model, x[:FEW])
        weights = evaluation.importance_weights(model, x, 50)
        _show(plots.weights(weights), f"weights_{name}")
        rows[name] = {
            **parts[["elbo", "bound", "log_likelihood", "negative_kl", "rate", "distortion"]].mean(),
            "flagged": parts.flagged.sum(),
            **gaps[["approximation_gap", "amortization_gap"]].mean(),
            **weights[["effective_sample_size", "noticeable", "entropy", "largest"]].mean(),
        }
    return pd.DataFrame(rows).T


def anomalies(data_dir):
    """MNIST against other images, and digits against digits left out."""
    model, x = model_of("iwae", data_dir)
    validation = binarised(model, data.load("mnist", 100, data_dir).validation, 400)
    omniglot = binarised(model, data.load("omniglot", 100, data_dir).test, MANY)
    noise = np.random.default_rng(0).random(x.shape)
    outside = {
        "Omniglot": omniglot,
        "inverted": 1 - x,
        "upside down": x[:, ::-1],
        "one pixel in ten flipped": np.where(noise < 0.1, 1 - x, x),
        "noise with MNIST's mean": (noise < x.mean()).astype(np.float32),
        "black": np.zeros_like(x),
    }
    background = _background(data_dir)
    tables = {
        name: evaluation.out_of_distribution(model, x, other, background=background, reference=validation)
        for name, other in outside.items()
    }
    tables["digits: 5 to 9, trained on 0 to 4"] = _digits()
    table = pd.concat(tables, names=["outside"]).reset_index(level=0)
    return table.pivot(index="outside", columns="score", values=["auroc", "fpr95"]).loc[list(tables)]


def _background(data_dir):
    """Trains a model of MNIST of which three pixels in ten are replaced at random (Ren et al. 2019)."""
    config = dataclasses.replace(BASE, data_dir=data_dir, objective="elbo", num_samples=1, stages=2)
    splits = data.load("mnist", config.batch_size, data_dir)
    rng = np.random.default_rng(0)
    images = np.concatenate([np.asarray(batch) for batch in splits.train])
    replaced = np.where(rng.random(images.shape) < 0.3, rng.integers(0, 256, images.shape, np.uint8), images)
    perturbed = data.from_arrays(replaced, 0.01, 0.01, config.batch_size)
    model = runs.build(config, perturbed)
    runs.fit(model, perturbed, config)
    return model


def _digits():
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    splits = data.from_arrays(images[digits.target < 5])
    config = runs.Config(epochs=100)
    model = runs.build(config, splits)
    runs.fit(model, splits, config)
    seen = [binarised(model, part, MANY) for part in (splits.test, [images[digits.target >= 5]], splits.validation)]
    return evaluation.out_of_distribution(model, *seen[:2], reference=seen[2])


def depths(data_dir):
    """The effective sample size of 50 samples by depth, as training goes on (digits, no network needed)."""
    splits = data.load("digits")
    rows = {}
    for depth in range(1, 6):
        sizes = (32, 16, 12, 8, 6)[:depth]
        config = runs.Config(latent_sizes=sizes, hidden_sizes=((64,),) * depth)
        model = runs.build(config, splits)
        x, epochs = binarised(model, splits.test, MANY), 0
        for until in (1, 10, 50):
            runs.fit(model, splits, dataclasses.replace(config, epochs=until - epochs))
            epochs = until
            weights = evaluation.importance_weights(model, x, 50)
            rows[depth, until] = weights.drop(columns="largest").mean()
    return pd.DataFrame(rows).T.rename_axis(["layers", "epochs"])


def posteriors(data_dir):
    """Three models of MNIST with two latent variables: p(z|x) beside q(z|x)."""
    plane = {"latent_sizes": (2,), "stages": 2, "data_dir": data_dir}
    options = {
        "VAE": {"objective": "elbo", "num_samples": 1},
        "IWAE, k = 5": {"num_samples": 5},
        "IWAE, k = 50": {"num_samples": 50},
    }
    models, rows = {}, {}
    for name, option in options.items():
        models[name], splits, _ = trained(dataclasses.replace(BASE, **plane, **option), "planes", name.split()[-1])
        x = binarised(models[name], splits.test, MANY)
        parts = evaluation.decompose(models[name], x[:FEW])
        rows[name] = parts[["elbo", "bound", "log_likelihood", "negative_kl"]].mean()
    plots.posteriors(models, x[[2, 8, 15]]).savefig(IMAGES / "posteriors.png")
    plots.manifold(models["IWAE, k = 50"]).savefig(IMAGES / "manifold.png")
    labels = splits.test_labels[:MANY]
    plots.aggregated_posterior(models["IWAE, k = 50"], x, labels).savefig(IMAGES / "aggregated_posterior.png")
    return pd.DataFrame(rows).T


PARTS = {
    part.__name__: part for part in (likelihoods, refinements, units, decompositions, posteriors, anomalies, depths)
}


def main():
    """Runs all parts, or those asked for, and writes each result."""
    parser = argparse.ArgumentParser("python -m benchmarks.diagnoses", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="these parts alone")
    parser.add_argument("--data-dir", default="../shared/tfds", help="folder of the prepared TFDS data")
    options = parser.parse_args()
    for name in options.only:
        table = PARTS[name](options.data_dir)
        sys.stdout.write(f"## {name}\n\n{table.round(3).to_string()}\n\n")
        sys.stdout.flush()
        result = {"table": table.reset_index().to_dict("list") if table.columns.nlevels == 1 else table.to_csv()}
        write(ROOT / "benchmarks" / "results", f"diagnoses-{name}", result, command=parser.prog)


if __name__ == "__main__":
    main()
