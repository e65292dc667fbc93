"""Makes the pictures of docs/gallery.md, by the calls on the page.

python -m benchmarks.gallery
"""

import argparse
import os
import re
import tempfile
from pathlib import Path

import keras
import matplotlib
import numpy as np

import iwae_tf
from benchmarks.turns import ROOT
from iwae_tf import data, evaluation, layers, objectives, plots, reproductions, tuning
from iwae_tf.reproductions import filtering

EPOCHS = 60
NUM_SAMPLES = {"VAE": 1, "IWAE, $k = 50$": 50}


def train(splits, num_samples, latent_size):
    """Trains a model of the digits; returns it and its history."""
    model = iwae_tf.mlp(
        splits.event_shape,
        (latent_size,),
        ((64, 64),),
        mean=splits.mean,
        objective=objectives.ImportanceWeighted(num_samples),
        preprocessing=layers.StochasticBinarization(),
        seed=0,
    )
    model.compile(keras.optimizers.Adam(3e-3))
    return model, model.fit(splits.train, validation_data=splits.validation, epochs=EPOCHS, verbose=0)


def search(splits):
    """Searches like notebooks/06_search.ipynb; returns the table of the trials."""
    hypermodel = tuning.IWAEHyperModel(
        splits.event_shape,
        splits.mean,
        num_samples=[1, 5, 50],
        depth=(1, 2),
        learning_rate=(3e-4, 1e-2),
        latent_size=20,
        hidden_size=64,
    )
    with tempfile.TemporaryDirectory() as folder:
        tuner = tuning.make_tuner("random", hypermodel, folder, max_trials=8, seed=0)
        tuner.search(splits.train, validation_data=splits.validation, epochs=30, verbose=0)
        return tuning.trials(folder)


def load_music(music_dir):
    """Returns the model of chorales that FIVO trains, trained unless it is there, and test data."""
    budget = reproductions.BUDGETS["hour"]
    workspace = reproductions.Workspace(ROOT / "runs" / "reproductions", str(music_dir))
    run = reproductions.train(filtering.configure(budget, workspace)["jsb", "FIVO"], budget, workspace)
    return run.model, data.pad(data.NAMES["jsb"](music_dir)[2])


def prepare(data_dir, music_dir):
    """Returns what the calls on the page assume, by name."""
    music, chorales = load_music(music_dir)
    digits = data.load("digits")
    models, planes = ({name: train(digits, k, size) for name, k in NUM_SAMPLES.items()} for size in (20, 2))
    return {
        "model": iwae_tf.load_pretrained("mnist_iwae_1l"),
        "x": np.asarray(next(iter(data.load("mnist", 1000, data_dir).test))),
        "digits": digits,
        "models": {name: model for name, (model, _) in models.items()},
        "planes": {name: model for name, (model, _) in planes.items()},
        "histories": {name: history for name, (_, history) in models.items()},
        "trials": search(digits),
        "evaluation": evaluation,
        "plots": plots,
        "np": np,
        "music": music,
        "chorales": chorales,
    }


def main():
    """Writes docs/images/gallery."""
    parser = argparse.ArgumentParser("python -m benchmarks.gallery", description=__doc__)
    parser.add_argument("--data-dir", default="../shared/tfds", help="folder of the prepared TFDS data")
    parser.add_argument("--music-dir", default="../shared/data/polyphonic", help="folder of JSB_Chorales.mat")
    options = parser.parse_args()
    names = prepare(Path(options.data_dir).resolve(), Path(options.music_dir).resolve())
    folder = ROOT / "docs" / "images" / "gallery"
    folder.mkdir(exist_ok=True)
    matplotlib.rcParams["savefig.dpi"] = 150  # for the screen
    os.chdir(folder)  # The page saves its pictures where it is run.
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "gallery.md").read_text(), re.DOTALL):
        exec(block, names)


if __name__ == "__main__":
    main()
