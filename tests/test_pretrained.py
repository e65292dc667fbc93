"""The models that come with the package."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import iwae_tf
from iwae_tf import data, pretrained

FOLDER = pretrained.FOLDERS[1]
NAMES = sorted(path.parent.name for path in FOLDER.glob("*/model.keras"))
#: Their SavedModels have the chunks of users.
MEASURED = True
each = pytest.mark.parametrize("name", NAMES)


def test_there_are_some():
    assert {"mnist_iwae_1l", "mnist_iwae_2l"} <= set(NAMES)


@each
def test_it_is_the_model_of_its_card(name, tfds_dir):
    """100 test images, 500 samples: as good as the card says of all, within 4 standard errors (false alarms 1e-4)."""
    model = iwae_tf.load_pretrained(name)
    assert isinstance(model, iwae_tf.IWAE) and not model.compiled
    x = np.concatenate(list(data.load("mnist", 100, tfds_dir).test.take(1)))
    found = model.log_likelihood(x, 500, seed=0).numpy()
    card = (FOLDER / name / "README.md").read_text()
    said = float(re.search(r"Test log-likelihood \| (-[\d.]+)", card)[1])
    assert abs(found.mean() - said) < 4 * found.std() / np.sqrt(len(x))


@each
def test_its_saved_model_scores_the_same(name, tfds_dir):
    x = next(iter(data.load("mnist", 20, tfds_dir).test))
    scorer = tf.saved_model.load(str(FOLDER / name / "saved_model"))
    scores = scorer.signatures["log_likelihood_seeded"](x=x, seed=tf.constant([1, 2]), num_samples=tf.constant(200))
    own = iwae_tf.load_pretrained(name).log_likelihood(x, 200, seed=(1, 2)).numpy()
    np.testing.assert_allclose(scores["log_likelihood"], own, rtol=1e-4)


@each
def test_it_can_be_trained_further(name, tfds_dir):
    model = iwae_tf.load_pretrained(name)
    model.compile(keras.optimizers.Adam(1e-4))
    history = model.fit(data.load("mnist", 20, tfds_dir).validation, steps_per_epoch=5, verbose=0).history
    assert 70 < history["loss"][0] < 110


@each
def test_it_is_small_enough_for_git(name):
    assert sum(path.stat().st_size for path in (FOLDER / name).rglob("*")) < 8e6


def test_they_are_installed_with_every_package():
    tomllib = pytest.importorskip("tomllib", reason="it came with Python 3.11")
    root = FOLDER.parent
    setuptools = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {".".join(path.parent.relative_to(root).parts) for path in (root / "iwae_tf").rglob("__init__.py")}
    models = {".".join(path.parent.relative_to(root).parts) for path in (root / "saved_models").rglob("*.*")}
    assert set(setuptools["packages"]) == found | {f"iwae_tf.{name}" for name in models}


def test_a_changed_file_is_refused(tmp_path, monkeypatch):
    name = "mnist_iwae_1l"
    folder = tmp_path / name
    folder.mkdir()
    for file in ("model.keras", "model.sha256"):
        (folder / file).write_bytes((FOLDER / name / file).read_bytes())
    monkeypatch.setattr(pretrained, "FOLDERS", (tmp_path,))
    assert iwae_tf.load_pretrained(name).latent_shapes == [(50,)]
    with (folder / "model.keras").open("ab") as file:
        file.write(b"!")
    with pytest.raises(ValueError, match=r"Expected .*model.keras with the SHA-256 [0-9a-f]{64}. Received"):
        iwae_tf.load_pretrained(name)


def test_there_are_no_others():
    with pytest.raises(ValueError, match=r"name must be one of mnist_iwae_1l.* Received: 'cifar'"):
        iwae_tf.load_pretrained("cifar")
