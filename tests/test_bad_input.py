"""What nobody should give a model, a run folder or a disk: one clear error, and nothing half-written."""

import os
import re
import shutil
import subprocess
import zipfile

import keras
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import iwae_tf
from iwae_tf import data, evaluation

from .fixtures import EXAMPLES, SETTINGS, invoke, small_model

TINY = ["--latent-sizes", "3", "--hidden-sizes", "8", "-k", "2", "--epochs", "1", "--test-samples", "5"]

ARRAYS = hnp.arrays(
    st.one_of(hnp.scalar_dtypes(), hnp.unicode_string_dtypes(max_len=3), st.just(np.dtype("O"))),
    st.one_of(hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=8), st.just((2, 8, 8, 1))),
    elements=None,
    fill=st.nothing(),
).filter(lambda array: array.size <= 256)
PIXELS = hnp.arrays(st.sampled_from([np.uint8, np.float32, np.int64, np.bool_]), st.just((2, 8, 8, 1)))
ANYTHING = st.one_of(
    ARRAYS, PIXELS, st.none(), st.text(max_size=5), st.integers(), st.floats(), st.lists(st.floats(), max_size=3),
    st.lists(st.lists(st.integers(), max_size=3), max_size=3), st.dictionaries(st.text(max_size=2), st.integers()),
)  # fmt: skip


@pytest.fixture(scope="module")
def compiled(digits):
    model = small_model(mean=digits.mean)
    model.compile(keras.optimizers.SGD(0.0))
    return model


def refused(function, *args, **kwargs):
    """Whether the arguments are refused; then by one clear error of the kinds that the docstrings name."""
    try:
        function(*args, **kwargs)
    except (ValueError, TypeError) as error:
        assert re.search(r"Expected|must be", str(error)) and "Received" in str(error), error
        return True
    return False


def test_data_of_any_kind(compiled):
    """What one method refuses all of them do, before a step is taken; what is taken gives finite numbers."""
    before, seen = compiled.get_weights(), []

    @SETTINGS
    @given(ANYTHING)
    @example(np.full((2, 8, 8, 1), 7, np.uint8))
    @example(None)
    def check(x):
        seen.append(bad := refused(compiled.encode, x))
        if not bad:
            weights = compiled.log_weights(x, 3, seed=0)
            assert weights.shape == (3, len(x)) and np.isfinite(weights).all()
            return
        for function in (
            lambda: compiled.log_weights(x, 3),
            lambda: compiled.log_likelihood(x, 3),
            lambda: compiled.reconstruct(x),
            lambda: evaluation.log_likelihood(compiled, x, 3),
            lambda: evaluation.active_units(compiled, x),
            lambda: compiled.fit(x, verbose=0),
            lambda: compiled.evaluate(x, verbose=0),
            lambda: compiled.predict(x, verbose=0),
        ):
            assert refused(function)

    check()
    assert 0 < sum(seen) < len(seen), "some of each kind"
    for one, other in zip(before, compiled.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@SETTINGS
@given(ANYTHING)
def test_arrays_to_train_on(x):
    refused(data.from_arrays, x)


@SETTINGS
@given(st.one_of(st.none(), st.text(max_size=5), st.integers(-(2**70), 0), st.floats(), st.lists(st.integers())))
def test_numbers_of_samples(compiled, number):
    assert refused(compiled.log_likelihood, np.zeros((1, 8, 8, 1), np.uint8), number)
    assert refused(iwae_tf.objectives.ImportanceWeighted, number)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    result = invoke("train", *TINY, "-o", folder)
    assert result.exit_code == 0, result.output
    return folder


def refused_line(*arguments):
    """Runs a command line that is to fail; returns the line that says why."""
    result = invoke(*arguments)
    # A progress bar may stand before it in the line.
    errors = [line[line.index("Error:") :] for line in result.output.splitlines() if "Error:" in line]
    assert result.exit_code == 1 and len(errors) == 1, (result.output, result.exception)
    assert "Traceback" not in result.output
    return errors[0]


@pytest.mark.parametrize("damage", ["cut", "garbage", "gone", "no zip of a model"])
@pytest.mark.parametrize("name", ["model.keras", "config.json"])
def test_damaged_runs(name, damage, run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    content = (copy / name).read_bytes()
    if damage == "gone":
        (copy / name).unlink()
    elif damage == "no zip of a model":
        with zipfile.ZipFile(copy / name, "w") as archive:
            archive.writestr("x", "y")
    else:
        (copy / name).write_bytes(content[: len(content) // 2] if damage == "cut" else content[::-1])
    assert name in refused_line("evaluate", copy)
    assert {path.name for path in copy.iterdir()} | {name} == {path.name for path in run.iterdir()}


def test_models_are_loaded_in_safe_mode(tmp_path):
    """A lambda would run whatever stands in the file."""
    (tmp_path / "run").mkdir()
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Lambda(lambda z: z)])
    model.save(tmp_path / "run" / "model.keras")
    assert "model.keras" in refused_line("export", tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_archive_that_leaves_its_folder(run, tmp_path):
    copy = tmp_path / "inside" / "run"
    shutil.copytree(run, copy)
    with zipfile.ZipFile(copy / "model.keras", "a") as archive:
        archive.writestr("assets/../../../evil", "evil")
    assert "model.keras" in refused_line("export", copy, tmp_path / "out")
    assert not list(tmp_path.rglob("evil")) and not (tmp_path / "out").exists()


@pytest.fixture
def disk(tmp_path):
    """A function that makes a disk of so many KiB, and one that makes it read-only."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options):
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
        if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small disk needs root, and rights of it that a container may not have")
        return folder

    yield mount
    while os.path.ismount(folder):
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("size", [8, 300])
def test_a_full_disk(size, disk, run):
    """However far a command gets: an error that says so, nothing under the final name, and the next goes through."""
    folder = disk(f"size={size}k")
    assert "No space left" in refused_line("train", *TINY, "-o", folder / "run")
    assert not (folder / "run").exists()
    shutil.rmtree(folder / "run.part", ignore_errors=True)
    assert "No space left" in refused_line("export", run, folder / "model")
    assert not list(folder.iterdir())


def test_a_full_disk_while_scoring(disk, run, x):
    folder = disk("size=40k")
    np.save(run.parent / "x.npy", np.concatenate([x] * 100))
    command = ("score", run / "saved_model", run.parent / "x.npy", "-o", folder / "scores.csv")
    assert "No space left" in refused_line(*command)
    assert not (folder / "scores.csv").exists()
    subprocess.run(["mount", "-o", "remount,size=2m", str(folder)], check=True)
    result = invoke(*command)
    assert result.exit_code == 0 and "resumed at row" in result.output
    assert len((folder / "scores.csv").read_text().splitlines()) == 2001


def test_a_read_only_disk(disk, run, x):
    folder = disk("size=1m", "ro")
    np.save(run.parent / "x.npy", x)
    for command in (
        ("train", *TINY, "-o", folder / "run"),
        ("export", run, folder / "model"),
        ("score", run / "saved_model", run.parent / "x.npy", "-o", folder / "scores.csv"),
        ("tune", "--max-trials", 1, "-o", folder / "tune"),
        ("compare", run, run, "-o", folder / "comparison"),
    ):
        assert "Read-only file system" in refused_line(*command)


@pytest.mark.parametrize("command", ["train", "evaluate", "export", "score", "tune", "compare"])
def test_options_of_any_kind(command, run, tmp_path):
    """A word where a number is to be, or a number that cannot be: exit code 1 or 2, no traceback."""
    options = {
        "train": ["-k", "--epochs", "--learning-rate", "--latent-sizes", "--hidden-sizes", "--batch-size", "--warm-up"],
        "evaluate": ["--test-samples"],
        "export": ["--num-samples"],
        "score": ["--batch-size"],
        "tune": ["--max-trials", "--epochs", "-k", "--depth", "--val-samples"],
        "compare": ["--output"],
    }[command]
    paths = {
        "train": [], "evaluate": [run], "export": [run, tmp_path / "out"], "tune": [], "compare": [run],
        "score": [run / "saved_model", run / "model.keras", "-o", tmp_path / "out" / "x.csv"],
    }[command]  # fmt: skip
    words = st.one_of(st.just("nan"), st.integers(-(2**70), -1).map(str), st.text("abcx,.-", min_size=1, max_size=5))

    @settings(SETTINGS, max_examples=EXAMPLES // 4)
    @given(st.sampled_from(options), words)
    def check(option, word):
        output = [] if command in ("evaluate", "export", "score", "compare") else ["-o", tmp_path / "out"]
        result = invoke(command, *paths, *output, f"{option}={word}" if option[1] == "-" else f"{option}{word}")
        assert result.exit_code in (1, 2), (result.output, word)
        assert isinstance(result.exception, SystemExit) and "Traceback" not in result.output
        assert not (tmp_path / "out").exists()

    check()
