"""The examples of the README and the docs run as they stand, on a smaller budget."""

import re
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import iwae_tf
from iwae_tf import layers, objectives, random

from .conftest import small_model

ROOT = Path(__file__).parents[1]


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def test_readme(tmp_path):
    train, layers_spelled_out, score = blocks("README.md")
    names = {}
    exec(train.replace("epochs=10", "epochs=1"), names)
    exec(layers_spelled_out, dict(names))
    names["x"] = next(iter(names["splits"].test))
    smaller = score.replace("5000", "50").replace("splits.test)", "splits.test, 50)")
    exec(smaller.replace('"saved_models/digits"', repr(str(tmp_path / "digits"))), names)
    assert (tmp_path / "digits" / "saved_model.pb").exists()


def test_serving(trained, x, tmp_path):
    path = iwae_tf.export(trained, tmp_path / "m", 50)
    (example,) = blocks("docs/serving.md")
    names = {"images": x}
    exec(example.replace('"runs/digits/saved_model"', repr(str(path))), names)
    np.testing.assert_array_equal(names["scores"]["log_likelihood"], trained.log_likelihood(x, 50, seed=0))


def test_tables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train, score, impute, later, incomplete = blocks("docs/tables.md")
    names = {}
    exec(train.replace("epochs=100", "epochs=10"), names)
    exec(score.replace("1000", "100"), names)
    assert len(names["unusual"]) == 5
    exec(impute.replace("1000", "100"), names)
    complete, frame = names["complete"], names["frame"]
    assert complete.notna().all(axis=None) and frame.isna().any(axis=None)
    assert complete.where(frame.notna()).equals(frame)
    exec(later.replace("log_likelihood(x)", "log_likelihood(x, 50)"), names)
    exec(incomplete, names)


def test_objective_of_ones_own(x):
    (example,) = blocks("docs/objectives.md")
    names = {}
    exec(example, names)
    model = small_model(objective=names["Median"](5))
    model.compile("adam")
    assert np.isfinite(model.fit(x, verbose=0).history["loss"]).all()


def test_networks(x):
    convolutional, spelled_out, ladder = blocks("docs/networks.md")
    names = {}
    exec(convolutional.replace("mnist", "digits").replace("epochs=10", "epochs=1"), names)
    exec(spelled_out, names)
    assert np.isfinite(names["model"].log_weights(x, 2)).all()
    exec(ladder.replace("epochs=20", "epochs=1"), names)
    assert names["model"].ladder


def test_layer_of_ones_own(x, tmp_path):
    """As likelihood and as posterior: trained, saved and exported."""
    layer, draws = blocks("docs/extending.md")
    assert len(layer.split("@")[1].splitlines()) < 15
    names = {}
    exec(layer, names)
    laplace = names["IndependentLaplace"]
    model = iwae_tf.IWAE(
        [laplace(3, hidden=(8,))], [laplace((8, 8, 1), hidden=(8,))], layers.StandardNormal(3),
        objective=objectives.ImportanceWeighted(5), seed=0,
    )  # fmt: skip
    images = x / np.float32(255)
    model.compile("adam")
    losses = model.fit(images, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    model.save(tmp_path / "m.keras")
    scores = model.log_likelihood(images, 20, seed=0)
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(again.log_likelihood(images, 20, seed=0), scores)
    served = tf.saved_model.load(str(iwae_tf.export(model, tmp_path / "m", 20))).signatures["serving_default"]
    np.testing.assert_allclose(served(x=tf.constant(images))["log_likelihood"], scores)
    exec(draws, names)
    check_laplace(names["Laplace"](tf.constant([1.0, -2.0]), tf.constant([0.5, 3.0])))


def check_laplace(q, n=40_000):
    """Moments within five standard errors (one fixed seed in 0.4 million fails by chance), and the same compiled."""
    z = q.sample(n, seed=random.as_seed(0)).numpy()
    loc, deviation = q.loc.numpy(), 2**0.5 * q.scale.numpy()
    assert (abs(z.mean(0) - loc) < 5 * deviation / n**0.5).all()
    assert (abs(z.std(0) / deviation - 1) < 5 * (5 / 4 / n) ** 0.5).all()  # of kurtosis 6
    compiled = tf.function(lambda: q.sample(n, seed=random.as_seed(0)), jit_compile=True)()
    np.testing.assert_allclose(compiled, z, rtol=1e-4, atol=1e-5)
