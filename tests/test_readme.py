"""The examples of the README and the docs run as they stand, on a smaller budget."""

import re
from pathlib import Path

import numpy as np

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
    import iwae_tf

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
    from .conftest import small_model

    (example,) = blocks("docs/objectives.md")
    names = {}
    exec(example, names)
    model = small_model(objective=names["Median"](5))
    model.compile("adam")
    assert np.isfinite(model.fit(x, verbose=0).history["loss"]).all()
