"""What the functions of `evaluation` say of real models, and the pictures of docs/evaluation.md.

python -m benchmarks.diagnoses --only likelihoods units

The models are those of `iwae-tf reproduce objectives --budget hour`, trained first if they are not in
runs/reproductions.
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
from benchmarks.tables import write
from benchmarks.turns import ROOT
from iwae_tf import data, evaluation, plots, random, reproductions
from iwae_tf.estimates import likelihood
from iwae_tf.evaluation.pareto import estimate_pareto_k

IMAGES = ROOT / "docs" / "images"
NAMES = ("elbo", "iwae")
#: The pictures of the page, of one model each.
SHOWN = ("bounds_elbo", "activity_elbo", "weights_iwae")
#: Test images for what takes long, and for the rest.
FEW, MANY = 100, 1000


def train(data_dir, *arguments, **options):
    """Returns a run of `budget.config`, trained unless it is there."""
    budget = dataclasses.replace(reproductions.BUDGETS["hour"], num_observations=MANY)
    workspace = reproductions.Workspace(ROOT / "runs" / "reproductions", data_dir)
    return reproductions.train(budget.config(*arguments, **options), budget, workspace)


@functools.cache
def model_of(name, data_dir):
    """Returns a model of MNIST and `MANY` test images, binarised once; "pretrained" is the model of the package."""
    if name == "pretrained":
        model = iwae_tf.load_pretrained("mnist_iwae_1l")
        return model, binarised(model, data.load("mnist", 100, data_dir).test, MANY)
    run = train(data_dir, name, 64)
    return run.model, run.x


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


def precisions(data_dir):
    """What training in half precision costs in likelihood."""
    policies = ("float32", "mixed_bfloat16", "mixed_float16")
    trained = {policy: train(data_dir, "iwae", 5, precision=policy, stages=2) for policy in policies}
    rows = {}
    for policy, run in trained.items():
        gain, error = run.gain_over(trained["float32"])
        rows[policy] = {"NLL": run.nll, "NLL - that of float32": -gain, "its error": error}
    return pd.DataFrame(rows).T


PARTS = {part.__name__: part for part in (likelihoods, refinements, units, decompositions, precisions)}


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
