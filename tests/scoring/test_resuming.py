"""Runs that stop half-way go on where they were, and nobody can tell from the result."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import iwae_tf
from iwae_tf import scoring
from iwae_tf.scoring.endpoint import Scorer
from tests.fixtures import START, command_line, invoke

from .conftest import write

SCORE = "import sys; from iwae_tf import scoring; scoring.score(*sys.argv[1:4], batch_size=3)"


@pytest.fixture(scope="module")
def slow_model(small, tmp_path_factory):
    """Some 50 ms for each row."""
    return iwae_tf.export(small, tmp_path_factory.mktemp("export") / "model", num_samples=30_000)


def started(command, part, lines=4):
    """Starts a process, and returns it when so many rows are done."""
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not part.exists() or part.read_bytes().count(b"\n") < lines:
        assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
        time.sleep(0.01)
    return process


def test_killed_and_interrupted(slow_model, x, tmp_path):
    """A run that is killed, resumes, is interrupted, and resumes to the end."""
    values = np.concatenate([x.astype(np.float64)] * 2)
    values[1], values[30] = 0.5, -1
    source, destination, whole = write(values, tmp_path / "x.csv"), tmp_path / "out.csv", tmp_path / "whole.csv"
    part = tmp_path / "out.csv.part"
    process = started([sys.executable, "-c", START + SCORE, slow_model, source, destination], part)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = part.read_bytes().count(b"\n")
    assert 4 <= done < 40 and not destination.exists()

    command = ["score", slow_model, source, "-o", destination, "--batch-size", 5]
    process = started(command_line(*command), part, done + 5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130 and "same command resumes" in errors, errors
    later = part.read_bytes().count(b"\n")
    assert done + 5 <= later < 40 and not destination.exists()

    result = invoke(*command)
    assert result.exit_code == 0, result.output
    assert f"resumed at row {later}" in result.output and "2 of 40 rows rejected" in result.output
    assert "38 rows, mean log-likelihood" in result.output
    scoring.score(slow_model, source, whole)
    for suffix in ("", ".rejected.csv"):
        assert (tmp_path / f"out.csv{suffix}").read_bytes() == (tmp_path / f"whole.csv{suffix}").read_bytes()
    assert not list(tmp_path.glob("*.part*"))


def interrupt(after, monkeypatch, *arguments, **keywords):
    """Scores, and is interrupted after a number of batches."""
    with monkeypatch.context() as patched:
        original, left = Scorer.score, iter(range(after))

        def score(self, rows):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return original(self, rows)

        patched.setattr(Scorer, "score", score)
        with pytest.raises(KeyboardInterrupt):
            scoring.score(*arguments, **keywords)


@pytest.mark.parametrize("kind", [".npy", ".npz", ".csv", ".parquet", ".tfrecord"])
def test_every_kind_goes_on(kind, saved_model, x, tmp_path, monkeypatch):
    values = x.astype(np.float64)
    values[[1, 8, 13]] = 0.5
    source, destination = write(values, tmp_path / f"x{kind}"), tmp_path / "out.parquet"
    interrupt(2, monkeypatch, saved_model, source, destination, batch_size=4)
    summary = scoring.score(saved_model, source, destination, batch_size=5)
    whole = scoring.score(saved_model, source, tmp_path / "whole.parquet")
    assert summary.resumed_at == 8 and summary.mean_log_likelihood == whole.mean_log_likelihood
    assert destination.read_bytes() == whole.path.read_bytes()
    assert summary.rejected_path.read_bytes() == whole.rejected_path.read_bytes()


def test_a_line_that_was_cut_short_is_done_again(saved_model, x, tmp_path, monkeypatch):
    source, destination = write(x, tmp_path / "x.npy"), tmp_path / "out.csv"
    interrupt(2, monkeypatch, saved_model, source, destination, batch_size=4)
    part = tmp_path / "out.csv.part"
    part.write_bytes(part.read_bytes()[:-9])
    assert scoring.score(saved_model, source, destination).resumed_at == 7
    scoring.score(saved_model, source, tmp_path / "whole.csv")
    assert destination.read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.parametrize("other", ["source", "model", "damage"])
def test_rows_of_another_source_or_model_are_not_taken_over(other, saved_model, small, x, tmp_path, monkeypatch):
    source, destination = write(x, tmp_path / "x.npy"), tmp_path / "out.csv"
    interrupt(2, monkeypatch, saved_model, source, destination, batch_size=4)
    if other == "source":
        write(x[::-1], source)
    elif other == "damage":
        (tmp_path / "out.csv.part.json").write_bytes(b"\xff")
    else:
        saved_model = iwae_tf.export(small, tmp_path / "m", num_samples=60)
    with pytest.raises(FileExistsError, match=r"out.csv.part to be missing, or of this model and source"):
        scoring.score(saved_model, source, destination)
    summary = scoring.score(saved_model, source, destination, overwrite=True)
    assert summary.resumed_at == 0 and summary.rows == 20
    scoring.score(saved_model, source, tmp_path / "whole.csv")
    assert destination.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_an_interrupt_before_the_first_score_leaves_nothing(saved_model, x, tmp_path, monkeypatch):
    source = write(x, tmp_path / "x.npy")
    interrupt(0, monkeypatch, saved_model, source, tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == [source]


def test_overwriting_goes_on_too(saved_model, x, tmp_path, monkeypatch):
    """A file that is being replaced stays until the new one is whole, through an interrupt."""
    source, destination = write(x, tmp_path / "x.npy"), tmp_path / "out.csv"
    destination.write_text("old")
    interrupt(1, monkeypatch, saved_model, source, destination, batch_size=4, overwrite=True)
    assert destination.read_text() == "old"
    assert scoring.score(saved_model, source, destination, overwrite=True).resumed_at == 4
    assert len(destination.read_text().splitlines()) == 21
