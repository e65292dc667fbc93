"""A run that is killed over and over, and what is left of it: `python -m benchmarks.kills`."""

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import keras
import numpy as np
import pandas as pd
import typer

import iwae_tf  # noqa: F401, whose classes Keras is to know
from iwae_tf.files import write_whole
from iwae_tf.training import checkpoints

OPTIONS = ["--latent-sizes", "20", "--hidden-sizes", "50", "-k", "20", "--warm-up", "30", "--test-samples", "200"]
#: What is there while something is being written: a kill that waits for it comes in the middle of that.
MOMENTS = {"checkpoint": "checkpoints/*.part", "model": "model.keras", "export": "saved_model.part/*"}


def train(output, epochs):
    """Starts a training, which goes on with what an earlier one has left."""
    command = [sys.executable, "-m", "iwae_tf", "train", *OPTIONS, "--epochs", str(epochs), "--resume",
               "--checkpoint-every", "0", "-o", str(output)]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def killed(output, epochs, moment, seconds):
    """Starts a training and kills it at a moment of `MOMENTS`, or after some seconds; returns whether it still ran."""
    process, start = train(output, epochs), time.monotonic()
    part = output.with_name(f"{output.name}.part")
    with process:
        while process.poll() is None:
            late = time.monotonic() - start > seconds
            if late and (moment is None or any(part.glob(MOMENTS[moment]))):
                break
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    return process.returncode == -signal.SIGKILL


def state(run):
    """Returns all numbers that a run ends with: weights, state of the optimiser and of the seed, and metrics."""
    model = keras.saving.load_model(run / "model.keras")
    variables = [*model.weights, *model.optimizer.variables, model.seed_generator.state]
    metrics = json.loads((run / "metrics.json").read_text())
    history = pd.read_csv(run / "history.csv").to_numpy()
    return [*(variable.numpy() for variable in variables), history, np.array(list(metrics["test"].items()), str)]


def finished(output, epochs):
    """Trains to the end; returns the seconds it took."""
    start = time.monotonic()
    with train(output, epochs) as process:
        error = process.communicate()[1]
    if process.returncode:
        raise RuntimeError(f"Expected the training to end. Received: {error}")
    return time.monotonic() - start


def main(
    kills: Annotated[int, typer.Option(help="How many times the run is killed.")] = 20,
    epochs: Annotated[int, typer.Option(help="Epochs of the run.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the moments.")] = 0,
    output: Annotated[Path, typer.Option(help="JSON file to write.")] = Path("benchmarks/results/kills.json"),
):
    """Kills a run at random moments and while it writes, and compares it with one that was left alone."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        unbroken, broken = Path(folder) / "unbroken", Path(folder) / "broken"
        seconds = finished(unbroken, epochs)
        part, log = Path(f"{broken}.part"), []
        for i in range(kills):
            # Every fifth waits for a checkpoint under way; the last ones let the training end, and hit what follows.
            moment = {kills - 2: "model", kills - 1: "export"}.get(i, "checkpoint" if i % 5 == 4 else None)
            hit = killed(broken, epochs, moment, draw.uniform(0, seconds / 2) if moment is None else 0)
            found = [path.name for path in part.glob("checkpoints/*")]
            done = checkpoints.count_epochs(part)
            log.append({"moment": moment or "random", "killed": hit, "epochs": done, "left": found})
            typer.echo(f"{i + 1}: {log[-1]}")
        finished(broken, epochs)
        same = all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in
                   zip(state(unbroken), state(broken), strict=True))  # fmt: skip
    with write_whole(output, overwrite=True) as new:
        new.write_text(json.dumps({"seconds": seconds, "same": same, "kills": log}, indent=2) + "\n")
    typer.echo(f"{sum(kill['killed'] for kill in log)} kills; the same bit for bit: {same}")
    raise typer.Exit(0 if same else 1)


if __name__ == "__main__":
    typer.run(main)
