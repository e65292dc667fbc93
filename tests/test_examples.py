"""The examples in docstrings run as they stand, on a smaller budget; what a user calls has one."""

import importlib
import inspect
import pkgutil
import re
import shutil
import textwrap
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import iwae_tf
from iwae_tf.runs import reporting, training

from .fixtures import small_model
from .test_docs import shrink

#: Packages of which everything in `__all__` has an example.
PACKAGES = (
    "callbacks", "data", "evaluation", "layers", "networks", "objectives", "plots", "runs", "scoring", "serving",
    "tuning",
)  # fmt: skip


def modules():
    """Imports every module of the package but the entry point, and Beam's where there is no Beam."""
    for info in pkgutil.walk_packages(iwae_tf.__path__, "iwae_tf."):
        if not info.name.endswith(("__main__", ".beam")) and ".saved_models" not in info.name:
            yield importlib.import_module(info.name)


def documented():
    """Finds the public classes, functions and methods of the package, by their names."""
    for module in modules():
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            yield f"{module.__name__}.{name}", value
            if inspect.isclass(value):
                for method, function in vars(value).items():
                    if inspect.isfunction(function) and not method.startswith("_"):
                        yield f"{module.__name__}.{name}.{method}", function


def blocks(value):
    return re.findall(r"```python\n(.*?)```", inspect.getdoc(value) or "", re.DOTALL)


EXAMPLES = {name: value for name, value in documented() if inspect.getdoc(value) and blocks(value)}


@pytest.fixture(scope="module")
def fitted(digits):
    model = small_model(num_layers=2, mean=digits.mean)
    model.compile("adam")
    model.fit(digits.validation, epochs=1, verbose=0)
    return model


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a small run."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    config = iwae_tf.runs.Config(latent_sizes=(2,), hidden_sizes=((8,),), num_samples=2, epochs=1, test_samples=10)
    iwae_tf.runs.train(config, folder, verbose=0)
    return folder


def make_two_tables(model, splits, *_):
    scores = iwae_tf.evaluation.log_likelihood(model, splits.test, 10)
    return {"log_likelihood": scores, "active_units": iwae_tf.evaluation.active_units(model, splits.test)}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name, fitted, digits, x, tmp_path, monkeypatch, request):
    """An example may use `model`, a compiled model of two layers; `splits`, the digits; `x`, twenty of them; and the
    run folders `runs/digits` and `runs/digits-elbo`.
    """
    monkeypatch.chdir(tmp_path)
    # Exports, and the tables and figures of a report, take most of the time and have tests of their own.
    monkeypatch.setattr(training, "export", lambda model, path, *_, **__: Path(path).mkdir())
    monkeypatch.setattr(reporting, "_make_tables", make_two_tables)
    monkeypatch.setattr(reporting, "_make_figures", lambda *_: {})
    for folder in {folder for block in blocks(EXAMPLES[name]) for folder in re.findall(r'"(runs/digits\S*?)"', block)}:
        shutil.copytree(request.getfixturevalue("run"), folder)
    packages = {
        package: getattr(iwae_tf, package)
        for package in (*PACKAGES, "estimates", "log_weights", "random", "reproductions", "resampling")
    }
    names = {"iwae_tf": iwae_tf, "keras": keras, "np": np, "pd": pd, "tf": tf, "tfd": tfd, **packages}
    names |= {"model": fitted, "splits": digits, "x": x, "__name__": "example"}
    for block in blocks(EXAMPLES[name]):
        exec(compile(shrink(textwrap.dedent(block)), name, "exec"), names)


def test_what_a_user_calls_has_an_example():
    top = [iwae_tf.IWAE, iwae_tf.mlp, iwae_tf.conv, iwae_tf.tabular, iwae_tf.export, iwae_tf.load_pretrained]
    listed = [getattr(iwae_tf, package) for package in PACKAGES]
    values = [*top, *(getattr(module, name) for module in listed for name in module.__all__)]
    without = [value.__name__ for value in values if callable(value) and not blocks(value)]
    assert not without
