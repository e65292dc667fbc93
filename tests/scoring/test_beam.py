"""Scoring on Apache Beam: what `scoring.score` gives, from many files, on the direct runner."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import iwae_tf
from iwae_tf import data, scoring
from tests.fixtures import check_refused, invoke

from .conftest import example, write, write_records

pytest.importorskip("apache_beam", reason="the extra beam is not installed")
from iwae_tf.scoring import beam


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch, loaded_once):
    monkeypatch.setattr(beam, "Scorer", scoring.endpoint.Scorer)


def results(folder, kind="scores"):
    table = pd.concat([pd.read_parquet(path) for path in folder.glob(f"{kind}-*.parquet")])
    return table.sort_values(["file", "row"], ignore_index=True)


@pytest.mark.parametrize("suffix", [".parquet", ".tfrecord"])
def test_scores_are_the_same_to_the_last_bit(suffix, saved_model, x, tmp_path):
    """Three files, the Parquet ones of several row groups, in batches of other sizes."""
    expected = []
    for i, part in enumerate(np.split(x, [7, 12])):
        source = write(part, tmp_path / f"part-{i}{suffix}")
        scoring.score(saved_model, source, tmp_path / "one.parquet", overwrite=True)
        expected.append(pd.read_parquet(tmp_path / "one.parquet").assign(file=str(source)))
    folder = tmp_path / "out"
    assert beam.score(saved_model, tmp_path / f"part-*{suffix}", folder, batch_size=3) == (20, 0)
    expected = pd.concat(expected, ignore_index=True)
    pd.testing.assert_frame_equal(results(folder), expected[results(folder).columns], check_exact=True)
    assert not list(folder.glob("*temp*"))


def test_what_cannot_be_scored_is_put_aside(saved_model, x, tmp_path):
    values = x.astype(np.float64)
    values[3], values[8] = 0.5, np.nan
    write(values, tmp_path / "a.parquet")
    write_records(tmp_path / "b.tfrecord", [example(x[0]), b"no example", example(x[1], "y"), example(x[1])])
    (tmp_path / "c.parquet").write_bytes(b"no parquet")
    whole = write(x[:5], tmp_path / "d.tfrecord").read_bytes()
    (tmp_path / "d.tfrecord").write_bytes(whole[:-9])
    damaged = bytearray(write(x, tmp_path / "e.parquet").read_bytes())
    damaged[4:400] = bytes(396)
    (tmp_path / "e.parquet").write_bytes(damaged)
    (tmp_path / "f.txt").write_text("text")
    scored, rejected = beam.score(saved_model, f"{tmp_path}/*.*", tmp_path / "out")
    table = results(tmp_path / "out", "rejected")
    name = table.file.map(lambda path: Path(path).name)
    assert len(results(tmp_path / "out")) == scored and len(table) == rejected
    assert list(table.row[name == "a.parquet"]) == [3, 8]
    assert table.reason[name == "a.parquet"].str.startswith("Expected").all()
    assert list(table.row[name == "b.tfrecord"]) == [1, 2]
    assert list(table.row[name == "d.tfrecord"]) == [4]
    assert table.row[name.isin(["c.parquet", "f.txt"])].isna().all() and name.isin(["c.parquet", "f.txt"]).sum() == 2
    of_damaged = (name == "e.parquet").sum() + results(tmp_path / "out").file.str.endswith("e.parquet").sum()
    assert of_damaged == 20 and (name == "e.parquet").sum() >= 6, "every row of it is scored or rejected"


def test_a_killed_worker_loses_and_doubles_nothing(saved_model, x, tmp_path):
    """Of two processes one is killed: no result has its name. Done again, every row is there once."""
    for i in range(4):
        write(np.concatenate([x] * 5), tmp_path / f"{i}.parquet")
    folder = tmp_path / "out"
    options = ["--runner=DirectRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    command = [sys.executable, "-m", "iwae_tf", "score-beam", saved_model, tmp_path / "*.parquet", "-o", folder]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*map(str, command), *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, text=True,
    ) as process:  # fmt: skip
        workers = []
        while process.poll() is None and not workers:
            time.sleep(0.1)
            workers = [pid for pid in children(process.pid) if "sdk_worker_main" in command_of(pid)]
        assert workers, process.stdout.read()
        time.sleep(2)
        os.kill(workers[0], signal.SIGKILL)
        said, _ = process.communicate(timeout=300)
    if process.returncode:
        assert not list(folder.iterdir()), said
        assert "Error: Expected the pipeline to finish" in said
        result = invoke(*command[3:])
        assert result.exit_code == 0, result.output
    table = results(folder)
    assert len(table) == 400 and not table.duplicated(["file", "row"]).any()


def children(pid):
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            found += [int(path.parent.name)] if int(fields[1]) == pid else []
    return found + [grandchild for child in found for grandchild in children(child)]


def command_of(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def test_bad_arguments(saved_model, x, tmp_path):
    source, folder = write(x, tmp_path / "x.parquet"), tmp_path / "o"
    folder.mkdir()
    check_refused(("score-beam", saved_model, tmp_path / "*.npy", "-o", folder), "No files match", folder)
    check_refused(("score-beam", tmp_path, source, "-o", folder), "the folder of a SavedModel", folder)
    (folder / "scores-00000-of-00001.parquet").write_text("")
    result = invoke("score-beam", saved_model, source, "-o", folder)
    assert result.exit_code == 1 and "pass overwrite" in result.output
    result = invoke("score-beam", saved_model, source, "-o", folder, "--overwrite", "--runner=NoRunner")
    assert result.exit_code == 1 and "Expected the pipeline to finish" in result.output
    assert [path.name for path in folder.iterdir()] == ["scores-00000-of-00001.parquet"], "what was there stays"
    result = invoke("score-beam", saved_model, source, "-o", folder, "--overwrite", "--batch-size", 4)
    assert result.exit_code == 0 and "20 rows scored, 0 rejected" in result.output, result.output
    assert len(results(folder)) == 20


def test_columns_are_found_by_name(tmp_path):
    frame = pd.DataFrame({"a": np.linspace(0, 1, 8), "b": np.arange(8) % 2, "c": np.arange(8)})
    table = data.from_dataframe(frame)
    model = iwae_tf.tabular(table, (2,), [(4,)], seed=0)
    model.encode(table.array)
    saved_model = iwae_tf.export(model, tmp_path / "model", 10)
    np.save(tmp_path / "x.npy", table.array)
    scoring.score(saved_model, tmp_path / "x.npy", tmp_path / "expected.parquet")
    frame[["c", "a", "b"]].to_parquet(tmp_path / "x-1.parquet")
    frame.rename(columns={"a": "A"}).to_parquet(tmp_path / "x-2.PARQUET")
    assert beam.score(saved_model, tmp_path / "x-*", tmp_path / "out") == (8, 1)
    expected = pd.read_parquet(tmp_path / "expected.parquet")
    pd.testing.assert_frame_equal(results(tmp_path / "out")[expected.columns], expected, check_exact=True)
    (reason,) = results(tmp_path / "out", "rejected").reason
    assert reason == "Expected the model's columns, 'a', 'b', 'c'. Received: missing: 'a'; unknown: 'A'"
