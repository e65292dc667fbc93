"""How good models become: test NLL and more of runs that differ in one thing, trained alike on MNIST.

python -m benchmarks.quality objectives

Stages 0 to 2 of Burda's schedule, 13 epochs, one layer, the same seed. Models are kept in runs/quality, and what is
there is not trained again. With --jobs 2 two are trained at a time.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import multiprocessing
import time
import zlib

from benchmarks.tables import markdown, write
from benchmarks.turns import ROOT
from iwae_tf import builders, objectives
from iwae_tf.runs import Config

BASE = Config(dataset="mnist", objective="iwae", num_samples=64, schedule="burda", stages=3)

VAE = {"objective": "elbo", "num_samples": 1}

#: What the runs of a group differ in.
GROUPS = {
    "objectives": {name: {"objective": name} for name in ("iwae", "elbo", *sorted(objectives.NAMES))},
    "posteriors": {name: {"posterior": name, **VAE} for name in builders.POSTERIORS},
    "priors": {name: {"prior": name, **VAE} for name in builders.PRIORS},
    "precisions": {
        policy: {"precision": policy, "num_samples": 5, "stages": 2}
        for policy in ("float32", "mixed_bfloat16", "mixed_float16")
    },
}

COLUMNS = {
    "test NLL": "{nll:.2f}",
    "standard error": "{standard_error:.2f}",
    "NLL - that of the first": "{difference:+.2f} +- {difference_error:.2f}",
    "L_64": "{bound:.2f}",
    "-KL(q, p)": "{gap:.2f}",
    "ESS of 64": "{effective_sample_size:.1f}",
    "active units": "{active_units}",
    "SNR, encoder": "{snr_encoder:.3f}",
    "SNR, decoder": "{snr_decoder:.3f}",
    "parameters": "{parameters:,}",
    "training, s": "{seconds:.0f}",
}


def trained(config, group, name):
    """Trains a model, unless runs/quality has it.

    Returns:
      The model, its data, and the seconds that its training took.
    """
    import keras

    from iwae_tf import data, runs

    keras.config.set_dtype_policy(config.precision)
    splits = data.load(config.dataset, config.batch_size, config.data_dir, config.seed)
    # Of what is not as by default, so that options to come change no name.
    options, defaults = (dataclasses.asdict(c) for c in (config, type(config)()))
    changed = sorted((name, v) for name, v in options.items() if v != defaults[name] and name != "data_dir")
    digest = zlib.crc32(repr(changed).encode())
    path = ROOT / "runs" / "quality" / group / f"{name}-{digest:08x}.keras"
    seconds = path.with_suffix(".json")
    if seconds.exists():
        model = keras.saving.load_model(path)
    else:
        model = runs.build(config, splits)
        start = time.perf_counter()
        runs.fit(model, splits, config)
        path.parent.mkdir(parents=True, exist_ok=True)
        model.save(path)
        seconds.write_text(json.dumps({"seconds": time.perf_counter() - start}))
    return model, splits, json.loads(seconds.read_text())["seconds"]


def measure(config, num_images, group, name):
    """Evaluates a model on the first test images; see `trained`.

    Returns:
      A dict: the numbers of the table, and `log_likelihoods` of the images.
    """
    import numpy as np

    from iwae_tf import evaluation, random

    model, splits, seconds = trained(config, group, name)
    images = np.concatenate(list(splits.test.take(-(-num_images // config.batch_size)).as_numpy_iterator()))
    # Binarised once, for all that follows.
    x = model.preprocess(images[:num_images], random.as_seed(config.seed)).numpy()
    scores = evaluation.log_likelihood(model, x)
    total = evaluation.summarize(scores)
    own, model.objective = model.objective, objectives.ImportanceWeighted(64)
    of_k = model.evaluate(x, batch_size=100, verbose=0, return_dict=True)
    model.objective = own
    snr = evaluation.gradient_snr(model, x[:100], 100).set_index("network").snr
    return {
        "seconds": seconds,
        "nll": -total["log_likelihood"],
        "standard_error": total["standard_error"],
        "bound": -of_k["loss"],
        "gap": of_k["elbo"] - total["log_likelihood"],
        "effective_sample_size": of_k["effective_sample_size"],
        "parameters": model.count_params(),
        "active_units": int(evaluation.active_units(model, x).active.sum()),
        "snr_encoder": float(snr["encoder"]),
        "snr_decoder": float(snr["decoder"]),
        "log_likelihoods": [round(float(value), 3) for value in scores.log_likelihood],
    }


def table(rows):
    """The results as markdown; each is compared with the first, image by image."""
    import numpy as np

    first = np.array(next(iter(rows.values()))["log_likelihoods"])
    lines = []
    for name, row in rows.items():
        worse = first - row["log_likelihoods"]
        error = worse.std(ddof=1) / len(worse) ** 0.5
        values = {**row, "difference": worse.mean(), "difference_error": error}
        lines.append([name, *(text.format(**values) for text in COLUMNS.values())])
    return markdown(["", *COLUMNS], lines)


def main():
    """Measures the groups asked for, and writes down each result as it comes."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("group", choices=GROUPS)
    parser.add_argument("--names", nargs="+", help="these runs alone, of those of the group")
    parser.add_argument("--images", type=int, default=10_000, help="test images (default: all 10,000)")
    parser.add_argument("--jobs", type=int, default=1, help="models at a time (default: 1)")
    parser.add_argument("--data-dir", default="../shared/tfds", help="folder of the prepared TFDS data")
    options = parser.parse_args()
    group = GROUPS[options.group]
    name_of = {}
    with concurrent.futures.ProcessPoolExecutor(
        options.jobs, multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as pool:
        for name in options.names or group:
            config = dataclasses.replace(BASE, data_dir=options.data_dir, **group[name])
            name_of[pool.submit(measure, config, options.images, options.group, name)] = name
        rows = {}
        for future in concurrent.futures.as_completed(name_of):
            rows[name_of[future]] = future.result()
            rows = {name: rows[name] for name in group if name in rows}
            about = {"command": f"python -m benchmarks.quality {options.group}", "images": options.images}
            write(ROOT / "benchmarks" / "results", f"quality-{options.group}", {"rows": rows}, **about)
            print(f"{table(rows)}\n", flush=True)


if __name__ == "__main__":
    main()
