"""Options of training: where it starts, and how it ends."""

import dataclasses
import math

import keras
import numpy as np
import pandas as pd
import pytest

import iwae_tf
from iwae_tf import reproductions, runs
from iwae_tf.runs import loading
from iwae_tf.training.early_stopping import WEIGHTS, BestEpoch

SMALL = runs.Config(latent_sizes=(3,), hidden_sizes=((8,),), num_samples=2, epochs=1, test_samples=10)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "first"
    metrics = runs.train(SMALL, path, verbose=0, evaluate=False)
    return path, metrics


def test_a_run_without_evaluation_can_be_evaluated_later(trained, tmp_path):
    path, metrics = trained
    assert set(metrics) == {"training"} and not (path / "saved_model").exists() and not (path / "samples.png").exists()
    with pytest.raises(ValueError, match=r"Expected an evaluated run.*first; evaluate it"):
        runs.compare([path, path], tmp_path / "comparison")
    metrics = runs.evaluate(path, verbose=0)
    assert metrics["test"]["num_observations"] == 250 and (path / "samples.png").exists()


def test_a_run_starts_from_another(trained, tmp_path):
    """A second training with no learning rate to speak of keeps the weights of the first, under another objective."""
    path, _ = trained
    config = dataclasses.replace(SMALL, objective="elbo", start_from=str(path), learning_rate=1e-12)
    runs.train(config, tmp_path / "second", verbose=0, evaluate=False)
    first, second = (runs.load_model(run) for run in (path, tmp_path / "second"))
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(first.get_weights(), second.get_weights(), strict=True))
    assert type(second.objective).__name__ == "ELBO"


def test_a_run_cannot_start_from_another_network(trained, tmp_path):
    config = dataclasses.replace(SMALL, latent_sizes=(4,), start_from=str(trained[0]))
    with pytest.raises(ValueError, match=r"Expected a run of the same networks in .*first"):
        runs.train(config, tmp_path / "other", verbose=0)
    with pytest.raises(FileNotFoundError, match="Expected the folder of a run"):
        runs.train(dataclasses.replace(SMALL, start_from="nowhere"), tmp_path / "other", verbose=0)
    assert not list(tmp_path.iterdir())


def test_the_cosine_schedule():
    config = dataclasses.replace(SMALL, schedule="cosine", epochs=4, learning_rate=0.2)
    epochs, (schedule,) = runs.schedules(config)
    rates = [schedule.schedule(epoch, None) for epoch in range(5)]
    assert epochs == 4
    np.testing.assert_allclose(rates, [0.2, 0.1 * (1 + math.sqrt(0.5)), 0.1, 0.1 * (1 - math.sqrt(0.5)), 0], atol=1e-12)


def test_the_moving_average_of_weights(trained, tmp_path):
    """With momentum 1 the average stays what it is after the first step, which Adam keeps below the learning rate."""
    config = dataclasses.replace(SMALL, ema=1.0)
    runs.train(config, tmp_path / "average", verbose=0, evaluate=False)
    keras.utils.set_random_seed(config.seed)
    initial = runs.build(config, loading.load(config)).get_weights()
    average, final = (runs.load_model(path).get_weights() for path in (tmp_path / "average", trained[0]))
    distances = [max(np.abs(a - b).max() for a, b in zip(initial, w, strict=True)) for w in (average, final)]
    assert 0 < distances[0] <= 1.01e-3 and distances[1] > 0.01
    with pytest.raises(ValueError, match=r"ema must be a number in \[0, 1\]. Received: ema=1.5"):
        dataclasses.replace(SMALL, ema=1.5)


def test_the_first_epochs_have_fewer_samples(tmp_path):
    config = dataclasses.replace(SMALL, num_samples=4, first_samples=2, first_epochs=1, epochs=3)
    runs.train(config, tmp_path / "whole", verbose=0, evaluate=False)
    history = pd.read_csv(tmp_path / "whole" / "history.csv")
    assert history.epoch.tolist() == [0, 1, 2] and history.effective_sample_size[0] <= 2
    assert runs.load_model(tmp_path / "whole").objective.num_samples == 4
    shorter = dataclasses.replace(config, epochs=2)
    runs.train(shorter, tmp_path / "shorter", verbose=0, evaluate=False)
    other = pd.read_csv(tmp_path / "shorter" / "history.csv")
    np.testing.assert_array_equal(other.loss, history.loss[:2])
    for options in ({"first_epochs": 1}, {"first_samples": 1}):
        with pytest.raises(ValueError, match=r"Expected first_samples with first_epochs, or neither. Received: .*=1"):
            dataclasses.replace(SMALL, **options)


def test_patience_ends_with_the_best_weights(tmp_path):
    """A learning rate of 0.3 soon makes things worse; an interrupt after the last epoch changes nothing."""
    config = dataclasses.replace(SMALL, epochs=30, patience=2, learning_rate=0.3)
    runs.train(config, tmp_path / "whole", verbose=0, evaluate=False)
    losses = pd.read_csv(tmp_path / "whole" / "history.csv").val_loss
    assert len(losses) == losses.argmin() + 3 < 30
    shorter = dataclasses.replace(config, epochs=int(losses.argmin()) + 1)
    runs.train(shorter, tmp_path / "shorter", verbose=0, evaluate=False)
    whole, best = (runs.load_model(tmp_path / name).get_weights() for name in ("whole", "shorter"))
    assert all(np.array_equal(a, b) for a, b in zip(whole, best, strict=True))
    assert not (tmp_path / "whole" / "best_weights.npz").exists()
    for options in ({"ema": 0.9}, {"first_epochs": 1, "first_samples": 1}):
        with pytest.raises(ValueError, match="Expected patience without first_epochs and ema"):
            dataclasses.replace(config, **options)


def test_patience_without_a_finite_loss(tmp_path):
    """Training ends, and the weights stay as they are; a finite loss after others is the best."""
    model = keras.Sequential([keras.layers.Dense(1)])
    model.build((None, 1))
    best = BestEpoch(tmp_path, 2)
    best.set_model(model)
    model.stop_training = False
    for epoch in range(3):
        best.on_epoch_end(epoch, {"val_loss": float("nan")})
    assert model.stop_training and best.has_ended
    best.on_train_end()
    best.on_epoch_end(3, {"val_loss": 1.0})
    assert not best.has_ended and (tmp_path / WEIGHTS).exists()


def test_patience_survives_an_interrupt(tmp_path, monkeypatch):
    config = dataclasses.replace(SMALL, epochs=30, patience=2, learning_rate=0.3)
    runs.train(config, tmp_path / "unbroken", verbose=0, evaluate=False)
    with monkeypatch.context() as patch:
        patch.setattr(iwae_tf.IWAE, "save", lambda *_, **__: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            runs.train(config, tmp_path / "broken", verbose=0, evaluate=False)
    metrics = runs.train(config, tmp_path / "broken", verbose=0, evaluate=False, resume=True)
    unbroken, broken = (runs.load_model(tmp_path / name).get_weights() for name in ("unbroken", "broken"))
    assert all(np.array_equal(a, b) for a, b in zip(unbroken, broken, strict=True))
    assert metrics["training"]["epochs"] == len(pd.read_csv(tmp_path / "unbroken" / "history.csv"))


def test_diagnoses_at_an_interval(tmp_path):
    config = dataclasses.replace(SMALL, epochs=3, diagnose=True, diagnose_every=2)
    runs.train(config, tmp_path / "run", verbose=0, evaluate=False)
    budget = reproductions.Budget("small", ("digits",), {})
    assert reproductions.TrainedRun(tmp_path / "run", config, budget).diagnostics.index.tolist() == [2, 3]
    with pytest.raises(ValueError, match=r"Expected diagnose with diagnose_every. Received: diagnose_every=2"):
        dataclasses.replace(config, diagnose=False)


def test_a_training_resumed_at_its_end_still_takes_the_average(tmp_path, monkeypatch):
    """The kill comes after the last checkpoint, before the model is saved."""
    config = dataclasses.replace(SMALL, ema=0.99)
    runs.train(config, tmp_path / "unbroken", verbose=0, evaluate=False)
    with monkeypatch.context() as patch:
        patch.setattr(iwae_tf.IWAE, "save", lambda *_, **__: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            runs.train(config, tmp_path / "broken", verbose=0, evaluate=False)
    runs.train(config, tmp_path / "broken", verbose=0, evaluate=False, resume=True)
    unbroken, broken = (runs.load_model(tmp_path / name).get_weights() for name in ("unbroken", "broken"))
    assert all(np.array_equal(a, b) for a, b in zip(unbroken, broken, strict=True))
