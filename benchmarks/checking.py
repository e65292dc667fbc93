"""What checks of data cost in streams and in scoring, with and without in turn: `python -m benchmarks.checking`."""

import contextlib
import statistics
import time
from collections.abc import Iterator
from typing import Annotated
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
import typer

import iwae_tf
from benchmarks.tables import write
from benchmarks.turns import ROOT
from iwae_tf import IWAE, data, layers, objectives
from iwae_tf.estimates import likelihood
from iwae_tf.layers import rules


@contextlib.contextmanager
def unchecked() -> Iterator[None]:
    """Lets everything pass."""
    with (
        mock.patch.object(rules, "are_satisfied", lambda rules: tf.constant(True)),
        mock.patch.object(IWAE, "assert_rules", lambda model, x: x),
        mock.patch.object(IWAE, "preprocess_and_assert", IWAE.preprocess),
    ):
        yield


def make(splits: data.Splits, k: int) -> IWAE:
    """Makes and compiles Burda's one-layer network."""
    model = iwae_tf.mlp(
        splits.event_shape, mean=splits.mean, objective=objectives.ImportanceWeighted(k),
        preprocessing=layers.StochasticBinarization(), seed=0,
    )  # fmt: skip
    model.compile(keras.optimizers.Adam(1e-3), steps_per_execution=100)
    return model


def main(
    data_dir: Annotated[str, typer.Option(help="Folder of the prepared TFDS data.")] = "../shared/tfds",
    rounds: Annotated[int, typer.Option(help="Passes of each, one after the other.")] = 7,
) -> None:
    """Trains by streams of floats, which are the dearest to check, and scores."""
    splits = data.load("mnist", data_dir=data_dir)
    images = np.concatenate(list(splits.train.take(2500))).astype(np.float32) / 255
    result = {}
    for k, steps in ((1, 2500), (50, 500)):
        stream = tf.data.Dataset.from_tensor_slices(images[: 20 * steps]).batch(20).prefetch(2)
        options = tf.data.Options()
        options.autotune.enabled = False  # whose thread is waited for, up to two seconds a call
        stream = stream.with_options(options)
        result[f"fit, k = {k}"] = compare(lambda model, stream=stream: model.fit(stream, verbose=0), splits, k, rounds)
    for samples, rows in ((1, 2000), (5000, 100)):
        x = tf.constant(images[:rows])

        def score(model, x=x, samples=samples):
            return likelihood.get_program(model)(x, tf.constant(samples), tf.constant([0, 0])).log_likelihood.numpy()

        result[f"scoring, k = {samples}"] = compare(score, splits, 50, rounds)
    write(ROOT / "benchmarks" / "results", "checking", result, command="python -m benchmarks.checking")


def compare(run, splits: data.Splits, k: int, rounds: int) -> dict:
    """Times `run`, a function of a model, with checks and without in turn; returns medians and their ratios."""
    models, times = {}, {"without": [], "with": []}
    for name in times:
        with unchecked() if name == "without" else contextlib.nullcontext():  # as it is traced
            models[name] = make(splits, k)
            run(models[name])
    for _ in range(rounds):
        for name, model in models.items():
            start = time.perf_counter()
            run(model)
            times[name].append(time.perf_counter() - start)
    ratios = [one / other for one, other in zip(times["with"], times["without"], strict=True)]
    result = {**{name: statistics.median(found) for name, found in times.items()}, "ratios": ratios}
    typer.echo(f"{statistics.median(ratios):.3f} {result}")
    return result


if __name__ == "__main__":
    typer.run(main)
