"""Measures training steps and the likelihood of Burda's one-layer network on MNIST.

    python benchmarks/baseline.py --data-dir DIR [--rounds 5]

Step times are medians over rounds in which the variants take turns; the peak memory of the likelihood is that of a
fresh process for each number of samples. Prints a table and writes benchmarks/baseline.json.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

STEPS = {1: 2000, 50: 300}  # steps of one round, for each k


def training(data_dir, rounds):
    """Milliseconds per step of `model.fit`, batch 20: {k and jit_compile: median over the rounds}."""
    from iwae_tf import data, experiment

    splits = data.load("mnist", batch_size=20, data_dir=data_dir)
    runs = {}
    for k, steps in STEPS.items():
        for jit_compile in (True, False):
            model = experiment.build(experiment.Config(num_samples=k), splits)
            model.compile(model.optimizer, steps_per_execution=20, jit_compile=jit_compile)
            part = splits.train.take(steps)
            model.fit(part, verbose=0)  # trace and compile
            runs[f"k={k}, XLA {'on' if jit_compile else 'off'}"] = (model, part, steps, [])
    for _ in range(rounds):
        for model, part, steps, times in runs.values():
            start = time.perf_counter()
            model.fit(part, verbose=0)
            times.append((time.perf_counter() - start) / steps * 1e3)
    return {name: statistics.median(times) for name, (*_, times) in runs.items()}


def likelihood(num_samples):
    """Seconds and peak resident MiB of this process for the likelihood of 20 images."""
    import numpy as np

    import iwae_tf
    from iwae_tf import layers

    model = iwae_tf.mlp((28, 28, 1), preprocessing=layers.StochasticBinarization(), seed=0)
    x = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 1), dtype=np.uint8)
    model.log_likelihood(x, 1)
    start = time.perf_counter()
    model.log_likelihood(x, num_samples)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main():
    """Runs everything, or with --likelihood the one measurement that needs a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default="../shared/tfds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--likelihood", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.likelihood:
        print(json.dumps(likelihood(arguments.likelihood)))
        return
    results = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "likelihood of 20 images": {}}
    for k in (100, 5000, 50_000):
        command = [sys.executable, __file__, "--likelihood", str(k)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        results["likelihood of 20 images"][k] = json.loads(output.splitlines()[-1])
    results["ms per step, batch 20"] = training(arguments.data_dir, arguments.rounds)
    print(json.dumps(results, indent=2))
    Path(__file__).with_suffix(".json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
