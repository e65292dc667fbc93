"""The command line from end to end, on real digits."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from iwae_tf import builders, data, layers, objectives, runs
from iwae_tf.runs.config import choices, write_config
from iwae_tf.training import checkpoints

from .fixtures import check_refused, command_line, invoke

SMALL = ["--latent-sizes", "6,4", "--hidden-sizes", "16x16,8", "-k", "5", "--epochs", "2", "--test-samples", "50"]
PRETRAINED = str(Path(__file__).parents[1] / "saved_models" / "mnist_iwae_1l" / "saved_model")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    result = invoke("train", *SMALL, "--diagnose", "-o", folder)
    assert result.exit_code == 0, result.output
    return folder, result.output


def test_train_writes_everything_and_says_where(run):
    folder, output = run
    names = {
        "model.keras", "saved_model", "metrics.json", "config.json", "history.csv", "test_log_likelihood.csv",
        "active_units.csv", "samples.png", "reconstructions.png", "tensorboard", "README.md",
    }  # fmt: skip
    assert {p.name for p in folder.iterdir()} == names
    for name in names:
        assert str(folder / name) in output.replace("\n", "")
    assert not folder.with_name("digits.part").exists()
    assert "labels.tsv" in (folder / "tensorboard" / "diagnostics" / "projector_config.pbtxt").read_text()
    history = pd.read_csv(folder / "history.csv")
    assert len(history) == 2 and {"loss", "val_loss", "val_elbo", "effective_sample_size"} <= set(history.columns)
    for picture in ("samples.png", "reconstructions.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["test"]["num_observations"] == 250 and metrics["test"]["num_samples"] == 50
    assert -60 < metrics["test"]["log_likelihood"] < -15 and metrics["test"]["standard_error"] > 0
    assert set(metrics["active_units"]) == {"layer_1", "layer_2"}
    table = pd.read_csv(folder / "test_log_likelihood.csv")
    np.testing.assert_allclose(table.log_likelihood.mean(), metrics["test"]["log_likelihood"], rtol=1e-5)


def test_tensorboard_logs_hold_the_losses(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for part in ("train", "validation"):
        events = EventAccumulator(str(run[0] / "tensorboard" / part))
        events.Reload()
        tags = events.Tags()["tensors"]
        assert {"epoch_loss", "epoch_elbo", "epoch_effective_sample_size"} <= set(tags)
        assert len(events.Tensors("epoch_loss")) == 2


def test_config_repeats_the_run(run, tmp_path):
    config = runs.Config.read(run[0])
    metrics = runs.train(config, tmp_path / "again", verbose=0)
    assert metrics["test"] == json.loads((run[0] / "metrics.json").read_text())["test"]
    first, again = (pd.read_csv(f / "history.csv") for f in (run[0], tmp_path / "again"))
    pd.testing.assert_frame_equal(first, again)


def test_evaluate_says_the_same(run):
    before = json.loads((run[0] / "metrics.json").read_text())
    result = invoke("evaluate", run[0])
    assert result.exit_code == 0, result.output
    assert json.loads((run[0] / "metrics.json").read_text()) == before
    assert f"{before['test']['log_likelihood']:.3f}" in result.output


def test_a_report_is_not_replaced_unasked(run):
    """It says so at once, before anything is evaluated."""
    report, metrics = run[0] / "evaluation", run[0] / "metrics.json"
    report.mkdir()
    before = metrics.stat().st_mtime_ns
    result = invoke("evaluate", run[0], "--all")
    report.rmdir()
    assert result.exit_code == 1 and "--overwrite" in result.output
    assert metrics.stat().st_mtime_ns == before


def test_export_and_score(run, tmp_path):
    result = invoke("export", run[0], tmp_path / "exported", "--num-samples", 70)
    assert result.exit_code == 0, result.output
    x = next(iter(data.load("digits").test)).numpy()
    np.save(tmp_path / "x.npy", x)
    result = invoke("score", tmp_path / "exported", tmp_path / "x.npy", "-o", tmp_path / "scores.csv")
    assert result.exit_code == 0 and "20 rows" in result.output, result.output
    model = keras.saving.load_model(run[0] / "model.keras")
    scores = pd.read_csv(tmp_path / "scores.csv")
    np.testing.assert_allclose(scores.log_likelihood, model.log_likelihood(x, 70, seed=0), rtol=1e-6)


def test_a_run_is_not_overwritten_unasked(run):
    before = (run[0] / "metrics.json").stat().st_mtime
    result = invoke("train", *SMALL, "-o", run[0])
    assert result.exit_code == 1 and "exists" in result.output and "overwrite" in result.output
    assert (run[0] / "metrics.json").stat().st_mtime == before
    result = invoke("export", run[0], run[0] / "saved_model")
    assert result.exit_code == 1 and "exists" in result.output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--dataset", "cifar"), ", ".join(data.NAMES)),
        (("--objective", "vae"), ", ".join(sorted(objectives.NAMES))),
        (("--objective", "jackknife", "-k", "1"), "Received: order=1, num_samples=1"),
        (("--warm-up", "-1"), "warm_up"),
        (("--schedule", "linear"), "constant, cosine, burda"),
        (("--precision", "int8"), "float32, float64, mixed_bfloat16, mixed_float16"),
        (("-k", "0"), "num_samples"),
        (("--epochs", "0"), "epochs"),
        (("--learning-rate", "-1"), "learning_rate"),
        (("--latent-sizes", "1,1,1,1,1,1,1,1"), "1 to 7"),
        (("--latent-sizes", "5,5", "--hidden-sizes", "5"), "hidden_sizes"),
        (("--latent-sizes", "five"), "integers"),
        (("--dataset", "mnist", "--data-dir", "nowhere"), "nowhere"),
    ],
)
def test_bad_options(arguments, expected, tmp_path):
    check_refused(("train", *arguments, "-o", tmp_path / "run"), expected, tmp_path)


def test_folder_that_is_no_run(tmp_path):
    for command in (("evaluate", tmp_path), ("export", tmp_path, tmp_path / "out")):
        result = invoke(*command)
        assert result.exit_code == 1 and "Expected the folder of a run" in result.output


def test_schedules_of_learning_rate_and_kl(tmp_path):
    config = runs.Config(
        objective="miwae", schedule="burda", stages=2, warm_up=2, latent_sizes=(3,), hidden_sizes=((4,),),
        num_samples=4, test_samples=10,
    )  # fmt: skip
    metrics = runs.train(config, tmp_path / "run", verbose=0)
    assert metrics["training"]["epochs"] == 4
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    np.testing.assert_allclose(history.learning_rate, [1e-3, *[1e-3 * 10 ** (-1 / 7)] * 3], rtol=1e-5)
    np.testing.assert_array_equal(history.kl_weight, [0, 0.5, 1, 1])
    model = keras.saving.load_model(tmp_path / "run" / "model.keras")
    assert model.kl_weight.numpy() == 1 and model.objective == objectives.MIWAE(2, 2, backward_samples="auto")


def test_help_lists_every_name_without_tensorflow():
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom iwae_tf.cli import app\n"
        "print(CliRunner().invoke(app, ['train', '--help'], env={'COLUMNS': '500'}).output)\n"
        "assert not {'tensorflow', 'pandas'} & set(sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    for names in choices().values():
        *others, last = names
        assert f": {', '.join(others)} or {last}" in shown
    assert "Default: 200x200,100x100" in shown and "[default: iwae]" in shown
    assert all(f"─ {group} ─" in shown for group in ("Data", "Objective", "Model", "Training", "Evaluation"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "--objective", "iwea"], "objective must be one of"),
        (["train", "--batch-size", "0"], "batch_size must be a positive integer"),
        (["train", "--network", "conv", "--latent-sizes", "3,2"], "one latent size with network 'conv'"),
        (["train", "-o", "."], "not to exist. Received: it exists"),
        (["evaluate", "absent"], "the folder of a run"),
        (["export", "absent", "model"], "the folder of a run"),
        (["compare", "absent", "absent"], "the folder of a run"),
        (["serve", "absent"], "the folder of a SavedModel"),
        (["train", "--data", "absent.csv"], "absent.csv, which does not exist"),
        (["train", "--data", "absent.csv", "-o", "run"], "absent.csv, which does not exist"),
        (["tune", "--data", "absent.csv", "-o", "search"], "absent.csv, which does not exist"),
        (["score", PRETRAINED, "absent.npy", "-o", "scores.csv"], "absent.npy, which does not exist"),
    ],
    ids=lambda value: " ".join(value).replace(PRETRAINED, "MODEL") if isinstance(value, list) else "",
)
def test_wrong_arguments_do_not_wait_for_tensorflow(arguments, expected, tmp_path):
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom iwae_tf.cli import app\n"
        f"result = CliRunner().invoke(app, {arguments})\nprint(result.output)\n"
        "assert result.exit_code == 1 and 'tensorflow' not in sys.modules"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    ).stdout  # fmt: skip
    assert expected in " ".join(shown.split()) and not list(tmp_path.iterdir())


def test_registered_names_are_options_and_in_the_help(tmp_path):
    """As for a program of a user that registers them and then calls `cli.app`."""
    objectives.register("iwae-2", lambda num_samples: objectives.ImportanceWeighted(2))
    builders.register("prior", "narrow", lambda size, unit: layers.GaussianMixture(size, num_components=2))
    shown = " ".join(invoke("train", "--help").output.replace("│", " ").split())
    assert "iwae-2" in shown and "relaxed-categorical or narrow" in shown
    result = invoke(
        "train", *SMALL, "--epochs", 1, "--objective", "iwae-2", "--prior", "narrow", "-o", tmp_path / "run"
    )
    assert result.exit_code == 0, result.output
    model = runs.load_model(tmp_path / "run")
    assert model.objective.num_particles == 2 and model.prior.num_components == 2


@pytest.mark.parametrize("precision", ["float64", "mixed_float16"])
def test_precisions(precision, tmp_path):
    config = runs.Config(
        epochs=1, latent_sizes=(3,), hidden_sizes=((4,),), num_samples=2, test_samples=10, precision=precision
    )
    try:
        metrics = runs.train(config, tmp_path / "run", verbose=0)
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(metrics["test"]["log_likelihood"])
    endpoint = tf.saved_model.load(str(tmp_path / "run" / "saved_model")).signatures["serving_default"]
    expected = "float64" if precision == "float64" else "float32"
    assert endpoint.structured_outputs["log_likelihood"].dtype == expected


def test_real_mnist(tfds_dir, tmp_path):
    """The same job on MNIST, cut short: a tenth of an epoch's worth of data is enough to see that it learns."""
    config = runs.Config(dataset="mnist", data_dir=str(tfds_dir), batch_size=20)
    splits = data.load(config.dataset, config.batch_size, config.data_dir)
    model = runs.build(config, splits)
    history = model.fit(splits.train.take(300), validation_data=splits.validation, epochs=1, verbose=0).history
    assert history["val_loss"][0] < 210


def test_config_survives_json(tmp_path):
    config = runs.Config(latent_sizes=(5, 4), hidden_sizes=((3,), (2, 2)), data_dir="somewhere")
    write_config(config, tmp_path)
    assert runs.Config.read(tmp_path) == config
    assert "tensorflow" in json.loads((tmp_path / "config.json").read_text())["versions"]
    assert dataclasses.replace(config, seed=1) != config


def test_a_resumed_run_is_the_unbroken_one(tmp_path, monkeypatch):
    """Interrupted twice: before the checkpoint of an epoch is written, and when it is but the rest is still to come."""
    options = ["--latent-sizes", "3", "--hidden-sizes", "8", "-k", "5", "--epochs", "4", "--warm-up", "3",
               "--test-samples", "10"]  # fmt: skip
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    keep = checkpoints.Checkpoints.on_epoch_end

    def interrupted(at, kept):
        def on_epoch_end(keeper, epoch, logs=None):
            if epoch < at or kept:
                keep(keeper, epoch, logs)
            if epoch == at:
                raise KeyboardInterrupt

        return on_epoch_end

    for at, kept, done, arguments in ((1, False, 1, options), (2, True, 3, ["--resume"])):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoints.Checkpoints, "on_epoch_end", interrupted(at, kept))
            result = invoke("train", *arguments, "-o", broken)
            assert result.exit_code == 130
            assert result.stderr == (
                f"Interrupted after {done} epochs, kept in {broken}.part; resume (--resume) continues from there\n"
            )
            assert not broken.exists() and checkpoints.count_epochs(f"{broken}.part") == done
    for arguments in (["-o", broken, "--resume"], [*options, "-o", unbroken]):
        result = invoke("train", *arguments)
        assert result.exit_code == 0, result.output
    runs = unbroken, broken
    assert {p.name for p in broken.iterdir()} == {p.name for p in unbroken.iterdir()}
    pd.testing.assert_frame_equal(*(pd.read_csv(run / "history.csv") for run in runs))
    first, again = (keras.saving.load_model(run / "model.keras") for run in runs)
    states = ([*m.weights, *m.optimizer.variables, m.seed_generator.state] for m in (first, again))
    for one, other in zip(*states, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.path)
    first, again = (json.loads((run / "metrics.json").read_text()) for run in runs)
    assert first["test"] == again["test"] and again["training"]["epochs"] == 4


def test_resume_wants_an_unfinished_run_of_the_same_options(tmp_path):
    part = tmp_path / "run.part"
    part.mkdir()
    write_config(runs.Config(epochs=2), part)
    result = invoke("train", "-o", tmp_path / "run", "--resume", "--epochs", "3")
    assert result.exit_code == 1 and "Config(epochs=2). Received: Config(epochs=3)" in result.output
    result = invoke("train", "-o", tmp_path / "run")
    assert result.exit_code == 1 and "--overwrite" in result.output and "--resume" in result.output
    assert part.exists()


def command(*arguments, **environment):
    """Runs the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "iwae_tf", *map(str, arguments)],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def test_ctrl_c_leaves_what_can_be_resumed_and_says_how(tmp_path):
    run = tmp_path / "run"
    arguments = command_line("train", *SMALL, "--epochs", "100000", "-o", run)
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    with process:
        while process.poll() is None and not checkpoints.count_epochs(f"{run}.part"):
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
    assert process.returncode == 130, said
    done = checkpoints.count_epochs(f"{run}.part")
    assert said.splitlines()[-1].startswith(f"Interrupted after {done} epochs, kept in {run}.part; ")
    assert "Traceback" not in said and "--resume" in said
    assert (tmp_path / "run.part" / "checkpoints" / f"{done}-0" / checkpoints.VARIABLES).is_file()


def test_python_m_is_the_command():
    result = command("--help")
    assert result.returncode == 0 and "Usage: iwae-tf" in result.stdout


def test_version():
    result = command("--version")
    assert result.returncode == 0 and result.stdout == f"iwae-tf {metadata.version('iwae-tf')}\n"


def test_exit_codes(tmp_path):
    wrong = command("train", "--no-such-option")
    assert wrong.returncode == 2 and "Usage: iwae-tf train" in wrong.stderr and not wrong.stdout
    result = invoke("evaluate", tmp_path / "none")
    assert result.exit_code == 1 and result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1


def test_another_backend_is_refused_at_first_use(tmp_path):
    assert command("--help", KERAS_BACKEND="jax").returncode == 0
    result = command("train", "-o", tmp_path / "run", KERAS_BACKEND="jax")
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert "Expected Keras with the backend 'tensorflow'. Received: 'jax'" in result.stderr


def test_completion_for_bash():
    """The script that `--show-completion` gives, as bash runs it."""
    script = command("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert script.returncode == 0 and "complete -o default -F _iwae_tf_completion iwae-tf" in script.stdout
    completed = command(COMP_WORDS="iwae-tf ev", COMP_CWORD="1", _IWAE_TF_COMPLETE="complete_bash")
    assert completed.stdout.split() == ["evaluate"]
    completed = command(COMP_WORDS="iwae-tf train --over", COMP_CWORD="2", _IWAE_TF_COMPLETE="complete_bash")
    assert completed.stdout.split() == ["--overwrite"]
