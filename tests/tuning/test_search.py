"""A search on real digits from end to end: a trial that fails, an interrupt, and several processes."""

import json
import os
import socket
import subprocess

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from tensorboard.plugins.hparams import plugin_data_pb2

from iwae_tf import data, evaluation, runs, tuning

from ..fixtures import check_refused, command_line, invoke

SMALL = {"depth": 1, "latent_size": 3, "hidden_size": 8, "learning_rate": 5e-3, "val_samples": 30}
#: Four trials, of which one cannot be: the jackknife of order 1 needs two samples.
SEARCH = tuning.Search(
    {**SMALL, "num_samples": [1, 3], "objective": ["iwae", "jackknife"]}, max_trials=4, epochs=1, batch_size=50,
    test_samples=30, finalists=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The folder of a search that was interrupted in its second training, its trials then, and those in the end."""
    folder = tmp_path_factory.mktemp("search") / "digits"
    fit, fitted = tuning.IWAEHyperModel.fit, []

    def interrupted(self, hp, *args, **kwargs):
        fitted.append(dict(hp.values))
        if len(fitted) == 2:
            raise KeyboardInterrupt
        return fit(self, hp, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning.IWAEHyperModel, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt, match="the same command resumes"):
            tuning.tune(SEARCH, folder, verbose=0)
        before = pd.read_csv(folder / "trials.csv")
        table = tuning.tune(SEARCH, folder, verbose=0)
    return folder, before, table, fitted


def test_goes_on_after_an_interrupt(found):
    _, before, table, fitted = found
    assert sorted(before.status[before.status != "FAILED"]) == ["COMPLETED", "RUNNING"]
    done = before[before.status == "COMPLETED"].iloc[0]
    assert table.set_index("trial").score[done.trial] == pytest.approx(done.score, rel=1e-12)
    assert fitted[1] == fitted[2] and len(fitted) == 4, "only what was cut short is trained again"


def test_all_but_the_impossible_trial_complete(found):
    folder, _, table, _ = found
    assert len(table) == 4 and sorted(table.status) == ["COMPLETED"] * 3 + ["FAILED"]
    failed = table[table.status == "FAILED"].iloc[0]
    assert (failed.objective, failed.num_samples) == ("jackknife", 1) and np.isnan(failed.score)
    assert failed.message.startswith("ValueError: ") and "num_samples=1" in failed.message
    completed = table[table.status == "COMPLETED"]
    assert completed.score.between(-60, -15).all() and completed.score.nunique() == 3
    pd.testing.assert_frame_equal(pd.read_csv(folder / "trials.csv"), table, check_dtype=False)
    assert (folder / "trials.png").read_bytes().startswith(b"\x89PNG")


def test_finalists_are_scored_again_with_other_noise(found):
    folder, _, table, _ = found
    finalists = pd.read_csv(folder / "finalists.csv")
    assert set(finalists.trial) == {0, table.score[1:].idxmax()}, "the defaults, and the best of the others"
    assert finalists.log_likelihood.is_monotonic_decreasing
    assert list(finalists.score) == pytest.approx(list(table.score[finalists.trial]))
    assert (finalists.log_likelihood != finalists.score).all()
    assert (abs(finalists.log_likelihood - finalists.score) < 2).all(), "all of the validation data, not the first 100"
    first = finalists.set_index("trial").log_likelihood[0]
    np.testing.assert_allclose(finalists.difference, finalists.log_likelihood - first, atol=1e-9)
    assert (finalists.standard_error[finalists.trial != 0] > 0).all()


def test_the_best_is_the_model_that_was_scored(found):
    folder, _, table, _ = found
    finalist = pd.read_csv(folder / "finalists.csv").iloc[0]
    best = table.loc[finalist.trial]
    config = runs.Config.read(folder / "best")
    assert (config.objective, config.num_samples) == (best.objective, best.num_samples)
    assert (config.latent_sizes, config.epochs, config.test_samples) == ((3,), 1, 30)
    splits = data.load("digits")
    x = np.concatenate(list(splits.validation))
    model = runs.load_model(folder / "best")
    for rows, seed, expected in ((x[:100], 0, best.score), (x, 1, finalist.log_likelihood)):
        score = evaluation.log_likelihood(model, rows, 30, seed).log_likelihood.mean()
        assert score == pytest.approx(expected, rel=1e-5)
    metrics = json.loads((folder / "best" / "metrics.json").read_text())
    test = evaluation.log_likelihood(model, splits.test, 30).log_likelihood.mean()
    assert metrics["test"]["log_likelihood"] == pytest.approx(test, rel=1e-5)
    assert metrics["training"]["epochs"] == 1 and metrics["training"]["seconds"] == pytest.approx(best.seconds)
    history = pd.read_csv(folder / "best" / "history.csv")
    assert list(history.epoch) == [0] and history.val_log_likelihood[0] == pytest.approx(best.score)
    assert list((folder / "best" / "tensorboard").rglob("events*"))
    endpoint = tf.saved_model.load(str(folder / "best" / "saved_model")).signatures["serving_default"]
    assert endpoint(x=x[:2])["log_likelihood"].shape == (2,)


def test_a_search_on_a_file(tmp_path, monkeypatch):
    """A table with missing values, an identity number and labels; the best model scores the file as it is."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"id": range(100), "a": rng.normal(size=100), "b": rng.choice(["x", "y"], 100), "c": 1})
    frame.loc[::9, "a"] = np.nan
    frame.to_csv(path := tmp_path / "rows.csv", index=False)
    options = ("--id-column", "id", "--target", "c", "--depth", 1, "--latent-size", 2, "--hidden-size", 8)
    small = ("-k", "2,3", "--val-samples", 10, "--test-samples", 10, "--epochs", 1, "--max-trials", 1)
    monkeypatch.chdir(tmp_path)
    result = invoke("tune", "--data", "rows.csv", *options, *small, "-o", folder := tmp_path / "search")
    assert result.exit_code == 0, result.output
    config = runs.Config.read(folder / "best")
    assert (config.data, config.likelihood, config.id_column) == (str(path), "table", "id")
    assert "likelihood: table" in result.output
    scored = invoke("score", folder / "best" / "saved_model", path, "-o", tmp_path / "scores.csv")
    assert scored.exit_code == 0 and list(pd.read_csv(tmp_path / "scores.csv").id) == list(range(100))
    (empty := tmp_path / "empty").mkdir()
    check_refused(["tune", "--data", tmp_path / "no.csv", "-o", empty / "search"], "does not exist", empty)


def test_tensorboard_has_hyperparameters_and_scores(found):
    folder, _, table, _ = found
    hparams, scores, metrics = {}, {}, []
    for path in sorted((folder / "tensorboard").rglob("events*")):
        trial = path.relative_to(folder / "tensorboard").parts[0]
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                content = plugin_data_pb2.HParamsPluginData.FromString(value.metadata.plugin_data.content)
                if value.metadata.plugin_data.plugin_name == "hparams" and content.HasField("session_start_info"):
                    hparams[int(trial)] = {
                        name: v.string_value or v.number_value for name, v in content.session_start_info.hparams.items()
                    }
                if content.HasField("experiment"):
                    metrics = [info.name for info in content.experiment.metric_infos]
                if value.tag == "epoch_log_likelihood":
                    assert path.parent.name == "validation"
                    scores[int(trial)] = float(tf.make_ndarray(value.tensor))
    assert [(m.group, m.tag) for m in metrics] == [("validation", "epoch_log_likelihood")]
    for row in table[table.status == "COMPLETED"].itertuples():
        assert hparams[row.trial] == {"num_samples": row.num_samples, "objective": row.objective}
        assert scores[row.trial] == pytest.approx(row.score, rel=1e-6)


def test_a_finished_search_and_another_one_are_refused(found):
    folder, _, table, _ = found
    before = (folder / "trials.csv").stat().st_mtime_ns
    with pytest.raises(FileExistsError, match="with a finished search"):
        tuning.tune(SEARCH, folder)
    other = tuning.Search({**SEARCH.space, "num_samples": (1, 3)}, max_trials=4, epochs=1, batch_size=50)
    with pytest.raises(FileExistsError, match=r"Received: a search with \{'space'"):
        tuning.tune(other, folder)
    assert (folder / "trials.csv").stat().st_mtime_ns == before and len(table) == 4


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "best").mkdir()
    with pytest.raises(FileExistsError, match="without files of others"):
        tuning.tune(SEARCH, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_overwrite_replaces_the_files_of_a_search_and_no_others(tmp_path, monkeypatch):
    for name in ("notes.txt", "trials.csv", "search.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "search" / "trial_99").mkdir(parents=True)
    monkeypatch.setattr(tuning.IWAEHyperModel, "fit", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        tuning.tune(SEARCH, tmp_path, overwrite=True, verbose=0)
    assert (tmp_path / "notes.txt").read_text() == "{}" and not (tmp_path / "search" / "trial_99").exists()
    assert json.loads((tmp_path / "search.json").read_text()) == SEARCH.as_json()
    assert list(pd.read_csv(tmp_path / "trials.csv").status)[-1] == "RUNNING"


def _interrupt(self, *args, **kwargs):
    raise KeyboardInterrupt


def test_ends_in_an_error_when_no_trial_completes(tmp_path):
    search = tuning.Search({**SMALL, "num_samples": [1, 2], "learning_rate": 1e30}, max_trials=1, epochs=1)
    with pytest.raises(RuntimeError, match="Expected a trial to complete"):
        tuning.tune(search, tmp_path / "search", verbose=0)
    table = pd.read_csv(tmp_path / "search" / "trials.csv")
    assert list(table.status) == ["FAILED"] and "finite val_log_likelihood" in table.message[0]
    assert not (tmp_path / "search" / "best").exists()


def test_a_chief_and_two_workers(tmp_path):
    """By KerasTuner's own protocol, through the command line; the chief writes all but the trials."""
    folder = tmp_path / "search"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    options = ["--depth", "1", "--latent-size", "3", "--hidden-size", "8", "--learning-rate", "0.005", "--epochs", "1",
               "-k", "2,1,3", "--objective", "jackknife", "--max-trials", "3", "--val-samples", "20",
               "--batch-size", "100", "--test-samples", "20"]  # fmt: skip
    common = {**os.environ, "KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port}
    processes = {
        name: subprocess.Popen(
            command_line("tune", *options, "-o", folder),
            env={**common, "KERASTUNER_TUNER_ID": name},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in ("chief", "worker0", "worker1")
    }
    try:
        outputs = {name: process.communicate(timeout=600)[0] for name, process in processes.items()}
    finally:
        for process in processes.values():
            process.kill()
    assert [process.returncode for process in processes.values()] == [0] * 3, outputs
    table = pd.read_csv(folder / "trials.csv").set_index("num_samples")
    assert dict(table.status) == {1: "FAILED", 2: "COMPLETED", 3: "COMPLETED"}
    assert table.message[1].startswith("ValueError: ") and table.score[[2, 3]].between(-60, -15).all()
    finalists = pd.read_csv(folder / "finalists.csv")
    assert runs.Config.read(folder / "best").num_samples == table.index[table.trial == finalists.trial[0]][0]
    assert all((folder / "search" / f"{name}.json").exists() for name in processes), "each of them took part"


def test_command_line(tmp_path, monkeypatch):
    """What the options mean; the search itself is tested above."""
    seen = []
    monkeypatch.setattr(tuning, "tune", lambda *arguments: seen.append(arguments) or pd.DataFrame({"score": [1.0]}))
    options = ["-k", "1,5", "--learning-rate", "1e-4..1e-2", "--depth", "1..3", "--objective", "elbo,dreg",
               "--beta", "0.5", "--prior", "vamp", "--backward-samples", "auto", "--tuner", "bayesian",
               "--finalists", "2", "-o", str(tmp_path)]  # fmt: skip
    result = invoke("tune", *options)
    assert result.exit_code == 0, result.output
    space = {
        "num_samples": [1, 5], "learning_rate": (1e-4, 1e-2), "depth": (1, 3), "objective": ["elbo", "dreg"],
        "beta": 0.5, "prior": "vamp", "backward_samples": "auto",
    }  # fmt: skip
    assert seen[0][0] == tuning.Search(space, tuner="bayesian", finalists=2) and seen[0][1:] == (tmp_path, False)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("-k", "one"), "int values such as"),
        (("--depth", "1..2..3"), "int values such as"),
        (("--learning-rate", "1e-2..1e-4"), "range (low, high)"),
        (("--tuner", "grid"), "random, bayesian, hyperband"),
        (("--max-trials", "0"), "max_trials"),
        (("--finalists", "0"), "finalists"),
        (("--factor", "1"), "factor must be an integer of 2 or more"),
        (("--backward-samples", "8"), "up to the number of samples, 5"),
        (("--objective", "iwae,vae"), "'vae'"),
        (("--objective", "jackknife", "-k", "1"), "num_samples=1"),
        (("--dataset", "cifar"), "digits, mnist"),
    ],
)
def test_bad_options(arguments, expected, tmp_path):
    check_refused(("tune", *arguments, "-o", tmp_path / "search"), expected, tmp_path)
