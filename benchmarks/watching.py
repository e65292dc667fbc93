"""What `callbacks.Diagnostics` costs while MNIST trains with k = 50: the first time, later, and as a share.

python -m benchmarks.watching
"""

import argparse
import statistics
import sys
import tempfile
import time

from benchmarks.tables import write
from benchmarks.turns import ROOT
from iwae_tf import callbacks, data, runs


class Timed(callbacks.Diagnostics):
    """Diagnostics that note how long each of them takes."""

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self.seconds = {}

    def _diagnose(self, epoch):
        start = time.perf_counter()
        super()._diagnose(epoch)
        self.seconds[epoch] = time.perf_counter() - start


def main():
    """Trains and reports."""
    parser = argparse.ArgumentParser("python -m benchmarks.watching", description=__doc__)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--data-dir", default="../shared/tfds", help="folder of the prepared TFDS data")
    options = parser.parse_args()
    config = runs.Config(dataset="mnist", data_dir=options.data_dir, epochs=options.epochs)
    splits = data.load(config.dataset, config.batch_size, config.data_dir)
    model = runs.build(config, splits)
    with tempfile.TemporaryDirectory() as folder:
        watcher = Timed(folder, splits.validation)
        start = time.perf_counter()
        runs.fit(model, splits, config, [watcher])
        total = time.perf_counter() - start
    first, *later = watcher.seconds.values()
    training = total - sum(watcher.seconds.values())
    result = {
        "training": training,
        "first": first,
        "later": statistics.median(later),
        "epochs": list(watcher.seconds),
        "share": sum(watcher.seconds.values()) / training,
        "share without the first": sum(later) / training,
    }
    sys.stdout.write(f"{result}\n")
    write(ROOT / "benchmarks" / "results", "watching", result, command=parser.prog)


if __name__ == "__main__":
    main()
