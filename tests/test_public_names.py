"""Every public name is documented, listed and sorted; the command line does not wait for TensorFlow."""

import importlib.metadata
import importlib.util
import inspect
import pathlib
import subprocess
import sys
import time

import pytest

import iwae_tf

PACKAGES = ("layers", "objectives", "evaluation", "scoring", "serving", "tuning")


def test_all_is_sorted_and_importable():
    assert list(iwae_tf.__all__) == sorted(iwae_tf.__all__)
    for name in iwae_tf.__all__:
        assert getattr(iwae_tf, name) is not None


def test_version():
    assert iwae_tf.__version__ == importlib.metadata.version("iwae-tf")


@pytest.mark.parametrize("imports", ["import keras, iwae_tf", "import iwae_tf.layers, keras"])
def test_keras_loads_a_model_whatever_is_imported_first(imports, tmp_path):
    model = iwae_tf.conv((8, 8, 1), 2, (4,), objective=iwae_tf.objectives.Renyi(2, 0.5), prior="mixture")
    model.build((None, 8, 8, 1))
    model.save(tmp_path / "model.keras")
    load = f"{imports}; print(keras.saving.load_model({str(tmp_path / 'model.keras')!r}).objective)"
    result = subprocess.run([sys.executable, "-c", load], capture_output=True, text=True, check=False)
    assert "Renyi" in result.stdout, result.stderr[-1000:]


#: Forks after what takes long, so that each part is the first of the package to be imported in a process of its own.
FIRST_IMPORTS = """
import os, pathlib, sys
def hook(event, arguments):  # an import that asks for the network is an error
    assert event not in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect"), arguments
sys.addaudithook(hook)
import tensorflow, tensorflow_probability, pandas, matplotlib, keras
root = pathlib.Path(sys.argv[1])
# A module of a package comes after the package itself, which imports most of them.
files = sorted(root.glob("*.py")) + sorted(root.glob("*/__init__.py"))
files += [root / name for name in ("scoring/readers.py", "scoring/beam.py", "training/compiled_model.py")]
files = [path for path in files if path.stem not in sys.argv[2:]]
print(len(files))
for path in files:
    if not os.fork():
        del sys.modules["keras"]  # a part that imports Keras does so in the middle of its own import
        name = ".".join(path.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__")
        __import__(name)
        import keras
        print("known" if keras.saving.get_registered_object("iwae_tf>IWAE") else f"unknown after {name}", flush=True)
        os._exit(0)
    os.wait()
"""


def test_every_part_can_be_imported_first():
    root = pathlib.Path(iwae_tf.__file__).parent
    without = ["__main__"] if importlib.util.find_spec("apache_beam") else ["__main__", "beam"]
    command = [sys.executable, "-c", FIRST_IMPORTS, root, *without]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    number, *said = result.stdout.split("\n")[:-1]
    assert said == ["known"] * int(number), (said, result.stderr[-1000:])


def test_contract():
    expected = {"IWAE", "mlp", "export", "layers", "objectives", "data", "evaluation", "callbacks", "plots"}
    assert expected <= set(iwae_tf.__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_subpackages_list_documented_names(package):
    module = importlib.import_module(f"iwae_tf.{package}")
    public = {name for name, value in vars(module).items() if inspect.isclass(value) and not name.startswith("_")}
    assert {name for name in public if getattr(module, name).__module__.startswith("iwae_tf")} <= set(module.__all__)
    for name in module.__all__:
        value = getattr(module, name)
        if callable(value):
            assert inspect.getdoc(value), name


@pytest.mark.parametrize("name", ["IWAE", "mlp", "export"])
def test_top_level_names_are_documented(name):
    assert inspect.getdoc(getattr(iwae_tf, name))


def test_public_functions_of_modules_are_documented():
    for name in (
        "training.batches",
        "training.gradients",
        "training.resampled",
        "resampling",
        "random",
        "log_weights",
        "estimates.likelihood",
        "data",
        "plots",
        "callbacks",
        "scoring",
        "serving",
        "runs.training",
        "estimates.imputation",
        "data.inputs",
        "files",
        "data.tables",
        "checks",
    ):
        module = importlib.import_module(f"iwae_tf.{name}")
        assert module.__doc__, name
        for attribute, value in vars(module).items():
            if not attribute.startswith("_") and getattr(value, "__module__", None) == module.__name__:
                assert inspect.getdoc(value), f"{name}.{attribute}"


def test_public_methods_of_the_model_are_documented():
    for name, value in vars(iwae_tf.IWAE).items():
        inherited = hasattr(iwae_tf.IWAE.__mro__[1], name)
        if callable(value) and not name.startswith("_") and not inherited:
            assert inspect.getdoc(value), name


def test_help_is_quick_and_does_not_import_tensorflow():
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom iwae_tf.cli import app\n"
        "result = CliRunner().invoke(app, ['--help'])\n"
        "assert result.exit_code == 0 and 'train' in result.output\nassert 'tensorflow' not in sys.modules"
    )
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    assert time.perf_counter() - start < 5  # about 0.3 s; the bound leaves room for a machine under load
