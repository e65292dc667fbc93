"""A recurrent model with a particle filter: iwae_tf against JAX and PyTorch, in turn.

python -m benchmarks.sequences --rolls ../shared/data/polyphonic

The rolls are those of the JSB chorales, cut to the same number of steps; without them random ones cost the same time.
"""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import commands, compare
from benchmarks.cases import Case
from benchmarks.turns import Contender

NUM_NOTES, BATCH_SIZE = 88, 4
#: Time steps and particles of a training step, then of a likelihood.
TRAINING = ((50, 4), (50, 16), (50, 64), (25, 4), (100, 4))
SCORING = ((50, 128), (50, 1024))


class Ours:
    """Training by `model.fit` and scoring by `model.log_likelihood`; the arguments are those of the peers."""

    def __init__(self, rolls, num_samples, batch_size, num_layers=1, size=32, seed=0):
        import keras
        import tensorflow as tf

        from iwae_tf import objectives, sequences

        rolls = rolls.astype(np.float32) / 255
        self.device = "gpu" if tf.config.list_physical_devices("GPU") else "cpu"
        self.model = sequences.vrnn(
            (rolls.shape[-1],), size, size, mean=rolls.mean((0, 1)), objective=objectives.Filtering(num_samples),
            seed=seed,
        )  # fmt: skip
        self.model.compile(keras.optimizers.Adam(1e-3))
        self.rolls, self.batch_size = rolls, batch_size

    def train(self, num_steps):
        """Runs `fit` on data of so many steps; returns its mean loss."""
        rows = np.arange(num_steps * self.batch_size) % len(self.rolls)
        return self.model.fit(self.rolls[rows], batch_size=self.batch_size, verbose=0).history["loss"][-1]

    def log_likelihood(self, x, num_samples):
        """Scores sequences `[m, time, notes]`, `[m]`."""
        return self.model.log_likelihood(x, num_samples).numpy()


def contenders(peer_python):
    """Returns who takes part."""
    return [
        Contender("iwae_tf", "benchmarks.sequences:Ours"),
        Contender("JAX", "benchmarks.peers.jax_vrnn:Vrnn", {}, peer_python),
        Contender("PyTorch", "benchmarks.peers.torch_vrnn:Vrnn", {}, peer_python),
        Contender("PyTorch compiled", "benchmarks.peers.torch_vrnn:Vrnn", {"compiled": True}, peer_python),
    ]


def load_rolls(folder, num_steps, count=200):
    """Returns uint8 `[count, num_steps, NUM_NOTES]`, 0 or 255: chorales, repeated as need be, or noise."""
    from iwae_tf import data

    try:
        rolls = [roll for part in data.NAMES["jsb"](folder) for roll in part if len(roll) >= num_steps]
    except FileNotFoundError:
        return np.uint8(255) * (np.random.default_rng(0).random((count, num_steps, NUM_NOTES)) < 0.05)
    return np.uint8(255) * np.stack([rolls[i % len(rolls)][:num_steps] for i in range(count)])


def run(settings, folder):
    """Measures the cases."""
    cases = {
        **{f"T = {t}, k = {k}": (t, Case(k, BATCH_SIZE, steps=50)) for t, k in TRAINING},
        **{f"likelihood, T = {t}, k = {k}": (t, Case(k, BATCH_SIZE)) for t, k in SCORING},
    }
    results = {}
    with tempfile.TemporaryDirectory() as directory:
        for name, (num_steps, case) in cases.items():
            path = Path(directory) / f"{num_steps}.npy"
            np.save(path, load_rolls(folder, num_steps))
            own = dataclasses.replace(settings, images=str(path))
            measured = compare.measure({case: contenders(settings.peer_python)}, own)["cases"]
            results[name] = next(iter(measured.values()))
    return {"cases": results}


def main():
    """Measures, and writes table and figures."""
    parser = commands.parser("benchmarks.sequences", __doc__)
    parser.add_argument("--rolls", default="../shared/data/polyphonic", help="folder of the .mat files")
    options = parser.parse_args()
    with commands.settings(options) as settings:
        commands.report("sequences", lambda s: run(s, options.rolls), compare.table, settings)


if __name__ == "__main__":
    main()
