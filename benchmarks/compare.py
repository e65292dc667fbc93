"""Compares `model.fit` and `model.log_likelihood` with expert-written JAX and PyTorch on real MNIST.

    python benchmarks/compare.py --data-dir DIR [--rounds 5] [--peer-python PYTHON]

Every contender is a process of its own that stays up; they take turns (A B C A B C ...). Figures are medians
over the rounds, ratios the time over that of iwae_tf. The extra `bench` brings the peers; where they
live in another environment, name its Python. Prints a table and writes benchmarks/compare.json.
"""

import argparse
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Steps of one round by k x batch, about two seconds each; 0 is the likelihood with 5000 samples.
CASES = {
    "k=1, batch 20": (1, 20, 1, 3000),
    "k=5, batch 20": (5, 20, 1, 1500),
    "k=50, batch 20": (50, 20, 1, 300),
    "k=50, batch 100": (50, 100, 1, 60),
    "k=50, batch 20, two layers": (50, 20, 2, 200),
    "likelihood, 100 images": (0, 100, 1, 1),
}
PEERS = {"JAX": ("jax_peer", {}), "PyTorch": ("torch_peer", {}), "PyTorch compiled": ("torch_peer", {"compiled": True})}


class Ours:
    """iwae_tf with the interface of the peers."""

    def __init__(self, images, num_samples, batch_size, num_layers):
        import keras

        import iwae_tf
        from iwae_tf import data, layers, objectives

        self.model = iwae_tf.mlp(
            (28, 28, 1),
            (50,) if num_layers == 1 else (100, 50),
            ((200, 200),) if num_layers == 1 else ((200, 200), (100, 100)),
            objective=objectives.ImportanceWeighted(max(num_samples, 1)),
            preprocessing=layers.StochasticBinarization(),
            seed=0,
        )
        self.model.compile(keras.optimizers.Adam(1e-3, epsilon=1e-4))
        self.data = data.batches(images.reshape(-1, 28, 28, 1), batch_size, seed=0)

    def train(self, num_steps):
        """Runs `fit` as a user would, with its metrics and callbacks."""
        history = self.model.fit(self.data.take(num_steps), verbose=0).history
        return history["loss"][-1]

    def log_likelihood(self, x, num_samples):
        """Scores binary images."""
        return self.model.log_likelihood(x.reshape(-1, 28, 28, 1), num_samples)


def work(name, images, case):
    """The contender's process: does the work once for every line of its input, and prints the seconds it took."""
    import numpy as np

    images = np.load(images)
    k, batch_size, num_layers, steps = CASES[case]
    if name == "iwae_tf":
        contender = Ours(images, k, batch_size, num_layers)
    else:
        module, variant = PEERS[name]
        sys.path.insert(0, str(Path(__file__).parent))
        peer = importlib.import_module(f"peers.{module}").Peer
        contender = peer(images, max(k, 1), batch_size, num_layers, **variant)
    x = (images[:batch_size] > 127).astype(np.float32)
    run = (lambda: contender.train(steps)) if k else (lambda: np.asarray(contender.log_likelihood(x, 5000)))
    result = float(np.mean(run()))  # compiles
    print(json.dumps(result), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(time.perf_counter() - start, flush=True)


def compare(case, images, rounds, peer_python):
    """Seconds per step (or per call of the likelihood) of every contender in a case: {name: median}."""
    processes = {}
    for name in ("iwae_tf", *PEERS):
        python = sys.executable if name == "iwae_tf" else peer_python
        command = [python, __file__, "--work", name, "--images", images, "--case", case]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        if not process.stdout.readline():
            raise RuntimeError(f"{name} did not start; is it installed? Run: {' '.join(command)}")
        processes[name] = process
    times = {name: [] for name in processes}
    for _ in range(rounds):
        for name, process in processes.items():
            print(file=process.stdin, flush=True)
            times[name].append(float(process.stdout.readline()))
    for process in processes.values():
        process.stdin.close()
        process.wait()
    return {name: statistics.median(values) / CASES[case][3] for name, values in times.items()}


def main():
    """Runs all cases, or one contender in one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default="../shared/tfds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--case", choices=CASES, help="only this case")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--images", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work, arguments.images, arguments.case)
        return
    import numpy as np

    from iwae_tf import data

    results = {}
    with tempfile.TemporaryDirectory() as folder:
        train = data.load("mnist", 1000, arguments.data_dir).train
        images = str(Path(folder) / "mnist.npy")
        np.save(images, np.concatenate(list(train.as_numpy_iterator())).reshape(-1, 784))
        for case in [arguments.case] if arguments.case else CASES:
            results[case] = compare(case, images, arguments.rounds, arguments.peer_python)
            ours = results[case]["iwae_tf"]
            row = (f"{name} {seconds * 1e3:.3f} ms ({seconds / ours:.2f})" for name, seconds in results[case].items())
            print(f"{case}: {', '.join(row)}", flush=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    content = {"machine": machine, "rounds": arguments.rounds, "seconds": results}
    Path(__file__).with_suffix(".json").write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
