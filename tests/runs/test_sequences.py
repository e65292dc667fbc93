"""Runs of sequences, from the command line to scores."""

import json

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import iwae_tf
from iwae_tf import data, objectives, runs, sequences
from tests.fixtures import invoke

SMALL = [
    "--dataset", "digit_rows", "--network", "vrnn", "--objective", "fivo", "-k", "3", "--latent-sizes", "2",
    "--hidden-sizes", "4", "--epochs", "2", "--batch-size", "100", "--test-samples", "8",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "rows"
    result = invoke("train", *SMALL, "-o", folder)
    assert result.exit_code == 0, result.output
    assert "nats per step over 250 sequences" in result.output and "active units" not in result.output
    return folder


@pytest.fixture(scope="module")
def rolls():
    return data.pad([np.asarray(x) for x in data.NAMES["digit_rows"](None)[2][:5]])


def test_the_files_of_a_run(run):
    assert {path.name for path in run.iterdir()} == {
        "README.md", "bounds.csv", "config.json", "effective_sample_size.csv", "effective_sample_size.png",
        "history.csv", "metrics.json", "model.keras", "samples.png", "saved_model", "tensorboard",
        "test_log_likelihood.csv",
    }  # fmt: skip
    test = json.loads((run / "metrics.json").read_text())["test"]
    table = pd.read_csv(run / "test_log_likelihood.csv")
    assert test["per_step"] == pytest.approx(table.log_likelihood.sum() / table.num_steps.sum(), rel=1e-6)
    assert test["num_steps"] == 250 * 8 and -8 < test["per_step"] < -2
    assert f"{test['per_step']:.3f}" in (run / "README.md").read_text()
    bounds = pd.read_csv(run / "bounds.csv", index_col="bound").per_step
    assert bounds["elbo"] < bounds["iwae"]
    assert len(pd.read_csv(run / "effective_sample_size.csv")) == 8
    history = pd.read_csv(run / "history.csv")
    assert history.loss_per_step.to_numpy() == pytest.approx(history.loss.to_numpy() / 8, rel=1e-5)


def test_an_evaluation_repeats(run):
    before = pd.read_csv(run / "test_log_likelihood.csv")
    assert invoke("evaluate", run).exit_code == 0
    pd.testing.assert_frame_equal(pd.read_csv(run / "test_log_likelihood.csv"), before)
    refused = invoke("evaluate", run, "--refine", "2")
    assert refused.exit_code == 1 and "Expected no refinement of q for sequences" in refused.output


def test_scores_of_files(run, rolls, tmp_path):
    """What lies beyond the lengths is not read; NaN says the same."""
    lengths = np.array([8, 3, 5, 8, 1])
    np.savez(tmp_path / "rolls.npz", x=rolls.astype(np.uint8), lengths=lengths)
    np.save(tmp_path / "rolls.npy", data.pad(rolls, lengths))
    tables = []
    for name in ("rolls.npz", "rolls.npy"):
        result = invoke("score", run / "saved_model", tmp_path / name, "-o", tmp_path / f"{name}.csv")
        assert result.exit_code == 0, result.output
        tables.append(pd.read_csv(tmp_path / f"{name}.csv"))
    pd.testing.assert_frame_equal(*tables)
    assert (tables[0].standard_error > 0).all() and tables[0].effective_sample_size.between(1, 8).all()
    np.save(tmp_path / "flat.npy", rolls.reshape(5, -1))
    (tmp_path / "rolls.csv").write_text("1,0\n")
    for name, expected in (("flat.npy", r"shape [n, time, 8]"), ("rolls.csv", "a .npy or .npz file of sequences")):
        refused = invoke("score", run / "saved_model", tmp_path / name, "-o", tmp_path / "none.csv")
        assert refused.exit_code == 1 and expected in " ".join(refused.output.split()), refused.output


def test_endpoints(run, rolls):
    model = runs.load_model(run)
    endpoints = tf.saved_model.load(str(run / "saved_model")).signatures
    lengths = np.array([8, 3, 5, 8, 1], np.int32)
    x = data.pad(rolls, lengths)
    given = {"x": tf.constant(rolls), "lengths": tf.constant(lengths)}
    scores = endpoints["log_likelihood_seeded"](**given, seed=tf.constant([0, 7]))
    again = endpoints["log_likelihood_seeded"](x=tf.constant(x), lengths=tf.fill([5], 8), seed=tf.constant([0, 7]))
    np.testing.assert_array_equal(scores["log_likelihood"], again["log_likelihood"])
    own = np.mean([model.log_likelihood(x, 64, seed=i).numpy() for i in range(4)], axis=0)
    np.testing.assert_allclose(scores["log_likelihood"], own, atol=1.0)  # estimates of 32 and 256 particles
    filtered = endpoints["filter"](**given)
    assert filtered["mean"].shape == (5, 8, 2) and filtered["effective_sample_size"].shape == (5, 8)
    drawn = endpoints["forecast"](**given, seed=tf.constant([0, 1]))["x"].numpy()
    assert drawn.shape == (5, 32, 8) and set(np.unique(drawn)) <= {0, 1}


def test_sequences_and_networks_must_match(tmp_path):
    for options, expected in (
        (("--dataset", "digit_rows"), "Expected network vrnn or deep-markov with sequences. Received: 'mlp'"),
        (("--network", "vrnn"), "Expected sequences with network 'vrnn'. Received: shape (8, 8, 1)"),
        ((*SMALL, "--prior", "vamp"), "Expected no prior with network 'vrnn'. Received: 'vamp'"),
        ((*SMALL, "--diagnose"), "Expected no diagnose with network 'vrnn'"),
        ((*SMALL, "--hidden-sizes", "4x5"), "Expected one hidden width"),
        ((*SMALL, "--latent-sizes", "4,5"), "Expected one latent size with network 'vrnn'"),
        (("--objective", "fivo"), "Expected a model of sequences with Filtering"),
    ):
        refused = invoke("train", *options, "-o", tmp_path / "run")
        assert refused.exit_code == 1 and expected in " ".join(refused.output.split()), refused.output
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("objective", ["elbo", "iwae", "dreg", "rws"])
def test_other_objectives(objective):
    """With `auto`, 8 of 10 samples are differentiated where the objective can choose."""
    config = runs.Config(
        dataset="digit_rows", network="deep-markov", objective=objective, num_samples=10, latent_sizes=(2,),
        batch_size=50, epochs=1,
    )  # fmt: skip
    splits = data.load("digit_rows", 50)
    model = runs.build(config, splits)
    assert isinstance(model, sequences.StateSpaceModel) and not isinstance(model, iwae_tf.IWAE)
    history = model.fit(splits.validation, epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] and model.objective == objectives.get(objective, 10, None, "auto")


def test_a_search(tmp_path):
    result = invoke(
        "tune", "--dataset", "digit_rows", "--network", "vrnn", "--objective", "fivo", "--num-samples", "2,3",
        "--latent-size", "2", "--hidden-size", "3", "--max-trials", "2", "--epochs", "1", "--batch-size", "500",
        "--val-samples", "5", "--val-observations", "10", "--test-samples", "5", "-o", tmp_path / "search",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "nats per step over 250 sequences" in result.output
    assert runs.Config.read(tmp_path / "search" / "best").network == "vrnn"
    assert set(pd.read_csv(tmp_path / "search" / "trials.csv").num_samples) <= {2, 3}
