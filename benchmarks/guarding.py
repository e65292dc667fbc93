"""What `callbacks.NonFiniteGuard` costs, epochs with and without it in turn: `python -m benchmarks.guarding`."""

import statistics
import time
from typing import Annotated

import keras
import numpy as np
import typer

import iwae_tf
from benchmarks.tables import write
from benchmarks.turns import ROOT
from iwae_tf import callbacks, data, layers, objectives


def main(
    data_dir: Annotated[str, typer.Option(help="Folder of the prepared TFDS data.")] = "../shared/tfds",
    rounds: Annotated[int, typer.Option(help="Epochs of each, one after the other.")] = 5,
):
    """Trains a model with one sample and one with fifty."""
    splits = data.load("mnist", data_dir=data_dir)
    result = {}
    for k, steps in ((1, 2500), (50, 500)):
        model = iwae_tf.mlp(
            splits.event_shape, mean=splits.mean, objective=objectives.ImportanceWeighted(k),
            preprocessing=layers.StochasticBinarization(),
        )  # fmt: skip
        model.compile(keras.optimizers.Adam(1e-3), steps_per_execution=100)
        # Such as training takes by the execution: of others tf.data's tuner is waited for, up to two seconds a call.
        train = data.batches(np.concatenate(list(splits.train.take(steps))), 20)
        model.fit(train, verbose=0)
        times: dict[str, list[float]] = {"without": [], "with": []}
        for _ in range(rounds):
            for name, watchers in (("without", []), ("with", [callbacks.NonFiniteGuard()])):
                start = time.perf_counter()
                model.fit(train, verbose=0, callbacks=watchers)
                times[name].append((time.perf_counter() - start) / steps * 1000)
        ratios = [one / other for one, other in zip(times["with"], times["without"], strict=True)]
        result[f"k = {k}"] = {**{name: statistics.median(found) for name, found in times.items()}, "ratios": ratios}
        typer.echo(f"k = {k}: {result[f'k = {k}']}")
    write(ROOT / "benchmarks" / "results", "guarding", result, command="python -m benchmarks.guarding")


if __name__ == "__main__":
    typer.run(main)
