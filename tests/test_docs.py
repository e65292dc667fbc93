"""The examples of the README and the docs run as they stand, on a smaller budget."""

import contextlib
import io
import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import typer

import iwae_tf
from iwae_tf import callbacks, cli, data, evaluation, layers, objectives, plots, random

from .conftest import small_model

ROOT = Path(__file__).parents[1]
PAGES = sorted(str(page.relative_to(ROOT)) for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")))

#: What is made smaller, wherever it stands, so that every page takes seconds.
SMALLER = {
    r"\bepochs=\d+": "epochs=1",
    r"\bmax_trials=\d+": "max_trials=1",
    r"\bnum_samples=\d{3,}": "num_samples=50",
    r"WarmUp\(\d+\)": "WarmUp(1)",
    r'load\("mnist"': 'load("digits"',
    r"\(200, 200\)": "(20, 20)",
    r"(log_likelihood\((?:x|model, splits\.test))\)": r"\1, num_samples=50)",
}


def blocks(page, language="python"):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def is_script(code):
    """Whether a block is a file of its own, which a check calls with arguments."""
    return "sys.argv" in code


def smaller(code):
    for pattern, replacement in SMALLER.items():
        code = re.sub(pattern, replacement, code)
    return code


@pytest.fixture
def given(trained, digits, x, tmp_path):
    """What pages take for granted: a function of the page to a dict of names."""
    model = small_model(mean=digits.mean)
    model.compile("adam")
    served = tmp_path / "runs" / "digits" / "saved_model"
    prepared = {
        "README.md": lambda: {"x": x},
        "docs/evaluation.md": lambda: {
            "model": model, "splits": digits, "callbacks": callbacks, "data": data, "evaluation": evaluation,
            "plots": plots,
        },
        "docs/serving.md": lambda: {"images": x, "path": iwae_tf.export(trained, served, 50)},
    }  # fmt: skip
    return lambda page: prepared.get(page, dict)()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)])
def test_examples(page, given, request, tmp_path, monkeypatch):
    """The blocks of a page run one after the other with the same names."""
    monkeypatch.chdir(tmp_path)
    names = given(page)
    for block in blocks(page):
        if not is_script(block):
            exec(compile(smaller(block), page, "exec"), names)
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


def check_serving(names, request):
    trained, x = request.getfixturevalue("trained"), request.getfixturevalue("x")
    expected = trained.log_likelihood(x, 50, seed=0)
    np.testing.assert_array_equal(names["scores"]["log_likelihood"], expected)
    (answer,) = filter(is_script, blocks("docs/serving.md"))
    Path("answer.py").write_text(answer)

    def predictions(**request):
        told = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(told):
            patch.setattr(sys, "argv", ["answer.py", "runs/digits/saved_model"])
            patch.setattr(sys, "stdin", io.StringIO(json.dumps(request)))
            runpy.run_path("answer.py")
        return json.loads(told.getvalue())["predictions"]

    rows = predictions(instances=x.tolist())
    assert set(rows[0]) == {"log_likelihood", "standard_error", "effective_sample_size"}
    np.testing.assert_array_equal(np.float32([row["log_likelihood"] for row in rows]), expected)
    named = [{"x": image.tolist()} for image in x[:2]]
    assert predictions(instances=named, signature_name="log_likelihood") == rows[:2]
    z = np.zeros((2, 8), np.float32)
    means = predictions(instances=z.tolist(), signature_name="decode")
    np.testing.assert_allclose(means, trained.decoder[-1](tf.constant(z)).mean(), atol=1e-6)


def check_tables(names, request):
    assert len(names["unusual"]) == 5
    complete, frame = names["complete"], names["frame"]
    assert complete.notna().all(axis=None) and frame.isna().any(axis=None)
    assert complete.where(frame.notna()).equals(frame)


def check_objectives(names, request):
    model = small_model(objective=names["Median"](5))
    model.compile("adam")
    assert np.isfinite(model.fit(request.getfixturevalue("x"), verbose=0).history["loss"]).all()


def check_networks(names, request):
    assert names["model"].ladder and np.isfinite(names["model"].log_weights(request.getfixturevalue("x"), 2)).all()


def check_extending(names, request):
    """The layer as likelihood and as posterior: trained, saved and exported."""
    assert len(blocks("docs/extending.md")[0].split("@")[1].splitlines()) < 15
    laplace = names["IndependentLaplace"]
    model = iwae_tf.IWAE(
        [laplace(3, hidden=(8,))], [laplace((8, 8, 1), hidden=(8,))], layers.StandardNormal(3),
        objective=objectives.ImportanceWeighted(5), seed=0,
    )  # fmt: skip
    images = request.getfixturevalue("x") / np.float32(255)
    model.compile("adam")
    losses = model.fit(images, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    model.save("m.keras")
    scores = model.log_likelihood(images, 20, seed=0)
    again = keras.saving.load_model("m.keras")
    np.testing.assert_allclose(again.log_likelihood(images, 20, seed=0), scores)
    served = tf.saved_model.load(str(iwae_tf.export(model, "m", 20))).signatures["serving_default"]
    np.testing.assert_allclose(served(x=tf.constant(images))["log_likelihood"], scores)
    check_laplace(names["Laplace"](tf.constant([1.0, -2.0]), tf.constant([0.5, 3.0])))


def check_laplace(q, n=40_000):
    """Moments within five standard errors (one fixed seed in 0.4 million fails by chance), and the same compiled."""
    z = q.sample(n, seed=random.as_seed(0)).numpy()
    loc, deviation = q.loc.numpy(), 2**0.5 * q.scale.numpy()
    assert (abs(z.mean(0) - loc) < 5 * deviation / n**0.5).all()
    assert (abs(z.std(0) / deviation - 1) < 5 * (5 / 4 / n) ** 0.5).all()  # of kurtosis 6
    compiled = tf.function(lambda: q.sample(n, seed=random.as_seed(0)), jit_compile=True)()
    np.testing.assert_allclose(compiled, z, rtol=1e-4, atol=1e-5)


#: What must hold once the blocks of a page have run.
CHECKS = {
    "README.md": check_export,
    "docs/extending.md": check_extending,
    "docs/networks.md": check_networks,
    "docs/objectives.md": check_objectives,
    "docs/quickstart.md": check_quickstart,
    "docs/serving.md": check_serving,
    "docs/tables.md": check_tables,
}


def commands(page):
    """Finds the calls of `iwae-tf` of a page, in blocks and in lines of text, without what continues or comments."""
    text = "\n".join(blocks(page, "sh")).replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    lines += re.findall(r"`(iwae-tf [^`]+)`", (ROOT / page).read_text().replace("\n", " "))
    return [shlex.split(line, comments=True) for line in lines if line.startswith("iwae-tf ")]


#: What may stand for a command, or does something at once.
ASIDE = ("COMMAND", "--help", "--version", "--install-completion", "--show-completion")


def parse(arguments):
    """Parses a command line as `iwae-tf` does, and runs nothing; a command alone is only looked up."""
    group = typer.main.get_command(cli.app)
    context = typer.Context(group)
    arguments = [argument for argument in arguments[1:] if argument not in ASIDE]
    if arguments:
        name, command, rest = group.resolve_command(context, arguments)
        if rest:
            command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_commands(page):
    """Every command line has options that there are, with values that they take."""
    for arguments in commands(page):
        try:
            parse(arguments)
        except Exception as error:
            raise AssertionError(f"{shlex.join(arguments)}: {error}") from error


@pytest.mark.parametrize(
    ("line", "expected"),
    [("tran", "tran"), ("train --no-such 1", "no-such"), ("train --epochs many", "integer"), ("score a b", "output")],
)
def test_a_wrong_command_would_be_found(line, expected):
    with pytest.raises(Exception, match=expected):
        parse(["iwae-tf", *line.split()])


def test_targets_of_make_are_there():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        mentioned = re.findall(r"(?:^|`)make ([a-z]+)", (ROOT / page).read_text(), re.MULTILINE)
        assert set(mentioned) <= targets, page


def test_the_reference_has_every_public_name():
    """A package's page lists what the package does, by one directive for all or by one for each."""
    for package in (callbacks, evaluation, layers, objectives, plots):
        short = package.__name__.split(".")[1]
        text = (ROOT / "docs" / "api" / f"{short}.md").read_text()
        if not re.search(rf"^::: {package.__name__}$", text, re.MULTILINE):
            listed = re.findall(rf"^::: {package.__name__}\S*\.(\w+)$", text, re.MULTILINE)
            assert sorted(listed) == sorted(package.__all__)
