"""The examples of the README and the docs run as they stand, on a smaller budget."""

import dataclasses
import re
import shlex
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import typer

import iwae_tf
from iwae_tf import callbacks, cli, data, evaluation, plots, random, runs, sequences
from iwae_tf.layers import rules

from .fixtures import small_model
from .plots.test_images import plane

ROOT = Path(__file__).parents[1]
PAGES = sorted(str(page.relative_to(ROOT)) for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")))

#: What `shrink` replaces, so that every page takes seconds.
REPLACEMENTS = {
    r"\bepochs=\d+": "epochs=1",
    r'"epochs": \d+': '"epochs": 1',
    r"\bmax_trials=\d+": "max_trials=1",
    r"\bnum_samples=\d{3,}": "num_samples=50",
    r"splits\.test, \d+, refine=\d+": "splits.test, 50, refine=2",
    r"WarmUp\(\d+\)": "WarmUp(1)",
    r'load\("mnist"': 'load("digits"',
    r"\(200, 200\)": "(20, 20)",
    r"(log_likelihood\((?:x|model, splits\.test))\)": r"\1, num_samples=50)",
}

#: A table of `tuning.trials`, as far as plots need it.
TRIALS = pd.DataFrame(
    {"score": [-23.4, -24.2], "num_samples": [50, 1], "depth": [1, 2], "learning_rate": [0.001, 0.0007]}
)


def blocks(page, language="python"):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def shrink(code):
    for pattern, replacement in REPLACEMENTS.items():
        code = re.sub(pattern, replacement, code)
    return code


@pytest.fixture
def names_of_page(trained, digits, x, tmp_path):
    """A function from a page to the names that its blocks assume."""
    model = small_model(mean=digits.mean)
    model.compile("adam")
    served = tmp_path / "runs" / "digits" / "saved_model"
    prepared = {
        "README.md": lambda: {"x": x},
        "docs/evaluation.md": lambda: {
            "model": model, "splits": digits, "callbacks": callbacks, "data": data, "evaluation": evaluation,
            "plots": plots,
        },
        "docs/gallery.md": lambda: {
            "model": model, "x": x, "digits": digits, "models": {"VAE": model}, "planes": {"VAE": plane()},
            "histories": {"VAE": {"loss": [2.0, 1.0]}}, "trials": TRIALS, "evaluation": evaluation, "plots": plots,
            "np": np, "music": sequences.vrnn((88,), 3, 4, seed=0), "chorales": np.zeros([2, 60, 88], np.float32),
        },
        "docs/serving.md": lambda: {"images": x, "path": iwae_tf.export(trained, served, 50)},
    }  # fmt: skip
    return lambda page: prepared.get(page, dict)()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)])
def test_examples(page, names_of_page, request, tmp_path, monkeypatch):
    """The blocks of a page run one after the other in one namespace."""
    monkeypatch.chdir(tmp_path)
    names = names_of_page(page)
    for block in blocks(page):
        exec(compile(shrink(block), page, "exec"), names)
    if page in CHECKS:
        CHECKS[page](names, request)


def check_export(names, request):
    assert Path("saved_models/digits/saved_model.pb").exists()


def check_quickstart(names, request):
    check_export(names, request)
    assert Path("samples.png").exists() and Path("reconstructions.png").exists()
    images, seeds = names["images"], {"num_samples": 20, "seed": 0}
    scores = names["model"].log_likelihood(images, **seeds)
    np.testing.assert_array_equal(names["again"].log_likelihood(images, **seeds), scores)


def check_gallery(names, request):
    """The page has every function, and shows every picture that its calls save."""
    page = (ROOT / "docs/gallery.md").read_text()
    assert set(re.findall(r"plots\.(\w+)\(", page)) == set(plots.__all__)
    saved = sorted(path.name for path in Path().glob("*.png"))
    assert sorted(re.findall(r"images/gallery/(.*?)\)", page)) == saved
    assert sorted(path.name for path in (ROOT / "docs/images/gallery").iterdir()) == saved


def check_serving(names, request):
    trained, x = request.getfixturevalue("trained"), request.getfixturevalue("x")
    expected = trained.log_likelihood(x, 50, seed=0)
    np.testing.assert_array_equal(names["scores"]["log_likelihood"], expected)


def check_tables(names, request):
    assert len(names["unusual"]) == 5
    complete, frame = names["complete"], names["frame"]
    assert complete.notna().all(axis=None) and frame.isna().any(axis=None)
    assert complete.where(frame.notna()).equals(frame)


def check_networks(names, request):
    assert names["model"].ladder and np.isfinite(names["model"].log_weights(request.getfixturevalue("x"), 2)).all()


def check_extending(names, request):
    """What the recipes make trains, and is found by its name, after saving too."""
    (recipe,) = (block for block in blocks("docs/extending.md") if "class IndependentLaplace" in block)
    assert len(recipe.split("builders")[0].splitlines()) < 15
    splits, gated = names["splits"], names["gated"]
    x = np.concatenate(list(splits.test))
    gated.compile("adam")
    losses = gated.fit(splits.train, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    gated.save("gated.keras")
    again = keras.saving.load_model("gated.keras")
    np.testing.assert_array_equal(again.log_likelihood(x, 20, seed=0), gated.log_likelihood(x, 20, seed=0))
    assert len(names["table"]) == len(x) and (names["table"].spread > 0).all()
    with pytest.raises(ValueError, match="data above 1"):
        rules.check(names["IndependentPareto"](3).rules(np.float32([[0, 2, 3]])))
    check_laplace(names["Laplace"](tf.constant([1.0, -2.0]), tf.constant([0.5, 3.0])))
    check_names(names, x)


def check_names(names, x):
    """A run and the command line find by their names what the recipes register."""
    config = dataclasses.replace(names["config"], epochs=1, num_samples=5, test_samples=20)
    runs.train(config, "run", verbose=0)
    model = runs.load_model("run")
    assert runs.Config.read("run") == config and model.objective == names["Median"](5)
    assert type(model.encoder[0]) is names["IndependentLaplace"]
    assert type(model.decoder[0]) is names["IndependentTruncatedNormal"]
    served = tf.saved_model.load("run/saved_model").signatures["serving_default"](x=tf.constant(x))
    np.testing.assert_allclose(served["log_likelihood"], model.log_likelihood(x, 20, seed=config.seed), rtol=1e-5)
    options = ("dataset", "likelihood", "posterior", "prior", "objective")
    parse(["iwae-tf", "train", *(f"--{name}={getattr(config, name)}" for name in options)])


def check_laplace(q, n=40_000):
    """Moments are within five standard errors (of 0.4 million seeds one fails by chance), and XLA draws the same."""
    z = q.sample(n, seed=random.as_seed(0)).numpy()
    loc, deviation = q.loc.numpy(), 2**0.5 * q.scale.numpy()
    assert (abs(z.mean(0) - loc) < 5 * deviation / n**0.5).all()
    assert (abs(z.std(0) / deviation - 1) < 5 * (5 / 4 / n) ** 0.5).all()  # of kurtosis 6
    compiled = tf.function(lambda: q.sample(n, seed=random.as_seed(0)), jit_compile=True)()
    np.testing.assert_allclose(compiled, z, rtol=1e-4, atol=1e-5)


#: What to check once the blocks of a page have run.
CHECKS = {
    "README.md": check_export,
    "docs/extending.md": check_extending,
    "docs/gallery.md": check_gallery,
    "docs/networks.md": check_networks,
    "docs/quickstart.md": check_quickstart,
    "docs/serving.md": check_serving,
    "docs/tables.md": check_tables,
}


def commands(page):
    """Finds the calls of `iwae-tf` on a page, in blocks and in lines of text, as lists of words without comments."""
    text = "\n".join(blocks(page, "sh")).replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    lines += re.findall(r"`(iwae-tf [^`]+)`", (ROOT / page).read_text().replace("\n", " "))
    return [shlex.split(line, comments=True) for line in lines if line.startswith("iwae-tf ")]


#: Placeholders for a command, and options that end the program at once.
IGNORED = ("COMMAND", "--help", "--version", "--install-completion", "--show-completion")


def parse(arguments):
    """Parses a command line like `iwae-tf` without running it; a command without options is only looked up."""
    group = typer.main.get_command(cli.app)
    context = typer.Context(group)
    arguments = [argument for argument in arguments[1:] if argument not in IGNORED]
    if arguments:
        name, command, rest = group.resolve_command(context, arguments)
        if rest:
            command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_commands(page):
    """Every command line has known options with valid values."""
    for arguments in commands(page):
        try:
            parse(arguments)
        except Exception as error:
            raise AssertionError(f"{shlex.join(arguments)}: {error}") from error


@pytest.mark.parametrize(
    ("line", "expected"),
    [("tran", "tran"), ("train --no-such 1", "no-such"), ("train --epochs many", "integer"), ("score a b", "output")],
)
def test_parse_rejects_wrong_commands(line, expected):
    with pytest.raises(Exception, match=expected):
        parse(["iwae-tf", *line.split()])


def test_targets_of_make_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        mentioned = re.findall(r"(?:^|`)make ([a-z]+)", (ROOT / page).read_text(), re.MULTILINE)
        assert set(mentioned) <= targets, page


#: Packages with a page of their own in the API reference.
PACKAGES = (
    "callbacks", "data", "evaluation", "layers", "networks", "objectives", "plots", "runs", "scoring", "serving",
    "tuning",
)  # fmt: skip


@pytest.mark.parametrize("package", PACKAGES)
def test_the_reference_has_every_public_name(package):
    """A package's page lists its classes and functions, by one directive for all or by one for each."""
    text = (ROOT / "docs" / "api" / f"{package}.md").read_text()
    if not re.search(rf"^::: iwae_tf\.{package}$", text, re.MULTILINE):
        listed = re.findall(rf"^::: iwae_tf\.{package}\S*\.(\w+)$", text, re.MULTILINE)
        module = getattr(iwae_tf, package)
        assert sorted(listed) == sorted(name for name in module.__all__ if callable(getattr(module, name)))
