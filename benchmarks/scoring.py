"""Memory and time of `scoring.score` over files of two lengths, each in a process of its own.

The model is small and takes 10 samples, so that what reading and writing need is not hidden behind it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.tables import markdown

SCORE = """
import json, resource, sys, time
from iwae_tf import scoring
start = time.perf_counter()
summary = scoring.score(*sys.argv[1:4])
seconds = time.perf_counter() - start
print(json.dumps([summary.rows, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""
WRITE = {
    ".npy": np.save,
    ".npz": lambda path, x: np.savez_compressed(path, x=x),
    ".csv": lambda path, x: pd.DataFrame(x.reshape(len(x), -1)).to_csv(path, index=False),
    ".parquet": lambda path, x: pd.DataFrame(x.reshape(len(x), -1)).rename(columns=str).to_parquet(path),
}


def measure(kind, num_rows, folder):
    """Scores a file of random 8x8 images; returns rows, seconds and the peak of resident memory in MiB."""
    source = folder / f"x{kind}"
    WRITE[kind](source, np.random.default_rng(0).integers(0, 256, (num_rows, 8, 8, 1), dtype=np.uint8))
    command = [sys.executable, "-c", SCORE, folder / "model", source, folder / f"{num_rows}{kind}.parquet"]
    result = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    return json.loads(result.stdout)


def export(folder):
    """Exports the model."""
    import iwae_tf
    from iwae_tf import layers, objectives

    model = iwae_tf.mlp(
        (8, 8, 1), (1,), [(2,)], objective=objectives.ELBO(), preprocessing=layers.StochasticBinarization(), seed=0
    )
    model.encode(np.zeros((1, 8, 8, 1), np.uint8))
    iwae_tf.export(model, folder / "model", num_samples=10)


def main():
    """Prints a table."""
    parser = argparse.ArgumentParser("python -m benchmarks.scoring", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--kinds", nargs="+", choices=WRITE, default=list(WRITE))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        export(Path(name))
        rows = [
            (kind, f"{found[0]:,}", f"{found[2]:.0f}", f"{found[1]:.0f}")
            for kind in options.kinds
            for found in (measure(kind, num_rows, Path(name)) for num_rows in options.rows)
        ]
    print(markdown(["source", "rows", "peak resident MiB", "seconds"], rows))


if __name__ == "__main__":
    main()
