"""What the commands share: options, images, and the report of a part."""

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import tables
from benchmarks.turns import Settings


def parser(module, description):
    """Makes the parser of the options that all commands have, for `python -m module`."""
    made = argparse.ArgumentParser(
        f"python -m {module}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.set_defaults(command=made.prog)
    made.add_argument("--rounds", type=int, default=5, help="turns of every contender (default: 5)")
    made.add_argument("--quick", action="store_true", help="a smoke run: one round of few steps, kept apart in runs/")
    made.add_argument("--peer-python", default=sys.executable, help="the Python that has the peers (default: this one)")
    made.add_argument("--data-dir", default="../shared/tfds", help="folder of the prepared TFDS data")
    return made


@contextlib.contextmanager
def settings(options, device="cpu"):
    """Makes the `Settings` of parsed options; the images lie in a file as long as the context lasts."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        source, images = grey_images(options.data_dir)
        np.save(path, images)
        yield Settings(
            command=options.command,
            images=str(path),
            source=source,
            rounds=1 if options.quick else options.rounds,
            quick=options.quick,
            peer_python=options.peer_python,
            device=device,
        )


def grey_images(data_dir):
    """Returns a name and uint8 `[n, 784]`: MNIST, or random ones in its place, which cost a step the same time."""
    import tensorflow as tf

    from iwae_tf import data

    tf.config.set_visible_devices([], "GPU")  # its memory is for the contenders
    try:
        train = data.load("mnist", 1000, data_dir).train
    except FileNotFoundError:
        return "random", np.random.default_rng(0).integers(0, 256, (59_600, 784), dtype=np.uint8)
    return "MNIST", np.concatenate(list(train.as_numpy_iterator())).reshape(-1, 784)


def name_of_gpu():
    """What the driver calls the first GPU."""
    import tensorflow as tf

    return tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])["device_name"]


def report(name, run, table, settings):
    """Runs a part, prints its table, and writes `benchmarks/results/<name>.json`; returns the result."""
    print(f"## {name}\n", flush=True)
    result = run(settings)
    print(f"\n{table(result)}\n", flush=True)
    about = {
        "command": settings.command,
        "rounds": settings.rounds,
        "device": settings.device if settings.device == "cpu" else name_of_gpu(),
        "images": settings.source,
    }
    tables.write(settings.folder, name, result, **about)
    return result
