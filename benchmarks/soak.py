"""Hours of training, and millions of rows: does memory grow, do files stay open? `python -m benchmarks.soak --help`."""

import contextlib
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated

import keras
import numpy as np
import pyarrow.parquet as pq
import typer

import iwae_tf
from iwae_tf import callbacks, data, layers, scoring
from iwae_tf.files import write_whole
from iwae_tf.training import checkpoints

app = typer.Typer(no_args_is_help=True)
RESULTS = Path("benchmarks/results")
#: Seconds from one look at the process to the next.
EVERY = 5.0


def look(done):
    """What this process uses: memory in MiB, open files, threads, and seconds of the processors so far."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "seconds": time.monotonic(),
        "resident": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        "files": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "cpu": time.process_time(),
        "done": done(),
    }


@contextlib.contextmanager
def watched(name, done):
    """Looks at the process while something runs, and writes what came of it; `done` counts what it has done."""
    looks, over = [], threading.Event()

    def watch():
        while not over.wait(EVERY):
            looks.append(look(done))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    result = summary(looks)
    with write_whole(RESULTS / f"soak-{name}.json", overwrite=True) as part:
        part.write_text(json.dumps({**result, "looks": looks[:: max(len(looks) // 100, 1)]}, indent=2) + "\n")
    typer.echo(json.dumps(result, indent=2))


def summary(looks):
    """Returns the slope of the memory in the second half, MiB an hour, and what was used at the ends of that half."""
    half = looks[len(looks) // 2 :]
    series = {name: np.array([row[name] for row in half]) for name in half[0]}
    quarter = max(len(half) // 4, 2)

    def of_one(part):
        """Milliseconds of the processors for one of what is done."""
        return float(1000 * np.ptp(series["cpu"][part]) / max(np.ptp(series["done"][part]), 1))

    first, last = slice(quarter), slice(-quarter, None)
    names = ("resident", "files", "threads")
    ends = {name: [float(np.median(series[name][part])) for part in (first, last)] for name in names}
    return {
        "hours": (looks[-1]["seconds"] - looks[0]["seconds"]) / 3600,
        "done": looks[-1]["done"],
        "slope": float(np.polyfit(series["seconds"], series["resident"], 1)[0] * 3600),
        **ends,
        "cpu_ms": [of_one(first), of_one(last)],
    }


def make(splits, *sizes):
    return iwae_tf.mlp(splits.event_shape, *sizes, mean=splits.mean, preprocessing=layers.StochasticBinarization())


@app.command()
def training(minutes: Annotated[float, typer.Option(help="How long.")] = 60):
    """Train on digits with diagnostics, TensorBoard, checkpoints and the guard."""
    splits = data.load("digits")
    model = make(splits, (20, 10), ((50,), (20,)))
    model.compile(keras.optimizers.Adam(1e-3))
    end = time.monotonic() + 60 * minutes
    stop = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: setattr(model, "stop_training", time.monotonic() > end)
    )
    with tempfile.TemporaryDirectory() as folder, watched("training", lambda: int(model.optimizer.iterations.numpy())):
        logs = Path(folder) / "tensorboard"
        watchers = [
            keras.callbacks.TensorBoard(str(logs), write_graph=False),
            callbacks.Diagnostics(logs, splits.validation),
            callbacks.NonFiniteGuard(),
            stop,
            checkpoints.Checkpoints(folder, every=5.0),
        ]
        model.fit(splits.train, validation_data=splits.validation, epochs=10**6, callbacks=watchers, verbose=0)


@app.command("scoring")
def of_rows(rows: Annotated[int, typer.Option(help="How many.")] = 10_000_000):
    """Score digits by a SavedModel, put over and over into one file of so many rows."""
    splits = data.load("digits")
    model = make(splits, (4,), ((16,),))
    x = np.concatenate(list(splits.train))
    model.log_likelihood(x[:1], 1)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        source, destination = Path(folder) / "x.npy", Path(folder) / "scores.parquet"
        saved_model = iwae_tf.export(model, Path(folder) / "model", num_samples=1)
        large = np.lib.format.open_memmap(source, "w+", x.dtype, (rows, *x.shape[1:]))
        for start in range(0, rows, len(x)):
            large[start : start + len(x)] = x[: rows - start]
        large.flush()
        del large
        part = destination.with_name("scores.parquet.part")
        with watched("scoring", lambda: part.stat().st_size if part.exists() else 0):
            found = scoring.score(saved_model, source, destination, batch_size=1000)
        scores = pq.read_table(destination, columns=["row", "log_likelihood"]).to_pandas()
    whole = len(scores) // len(x) * len(x)
    blocks = scores.log_likelihood.to_numpy()[:whole].reshape(-1, len(x))
    if found.rejected or not np.array_equal(scores.row, np.arange(rows)) or not (blocks == blocks[0]).all():
        raise RuntimeError(f"Expected every row to have the score it had before. Received: {found}")


if __name__ == "__main__":
    app()
