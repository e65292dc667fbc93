"""KerasTuner's tuners on real digits; a search that "finishes" says nothing, so the trials are looked at."""

import warnings

import numpy as np
import pytest

from iwae_tf import tuning
from iwae_tf.tuning.finalists import read_history


def run(name, digits, folder, epochs=1, space=None, **kwargs):
    """The tuner after a search on a few batches of digits."""
    space = space or {"num_samples": [1, 2, 3], "learning_rate": (1e-3, 1e-2)}
    small = {"depth": 1, "latent_size": 3, "hidden_size": 8, "val_samples": 20, "val_observations": 20}
    hypermodel = tuning.IWAEHyperModel(digits.event_shape, digits.mean, **small, **space)
    tuner = tuning.make_tuner(name, hypermodel, folder, epochs=epochs, **kwargs)
    tuner.search(digits.train.take(20), validation_data=digits.validation, epochs=epochs, verbose=0)
    return tuner


def test_bayesian_search(digits, tmp_path):
    tuner = run("bayesian", digits, tmp_path, max_trials=3, num_initial_points=2)
    table = tuning.trials(tmp_path)
    assert list(table.status) == ["COMPLETED"] * 3 and table.message.isna().all()
    assert list(table.trial) == [0, 1, 2] and table.score.between(-60, -15).all()
    assert table.score.nunique() == 3 and (table.epochs == 1).all() and table.seconds.between(0, 60).all()
    assert tuple(table.loc[0, ["num_samples", "learning_rate"]]) == (1, 1e-3), "the defaults, or the next to them"
    assert tuner.oracle.get_best_trials()[0].score == table.score.max(), "the largest is the best"
    best = table.loc[table.score.idxmax()]
    hp = tuner.get_best_hyperparameters()[0]
    assert tuner.hypermodel.config(hp.values).num_samples == best.num_samples
    scores = tuner.get_best_models()[0].log_likelihood(next(iter(digits.validation)), 20, seed=0)
    assert abs(np.mean(scores) - best.score) < 3, "the weights of its best epoch"


def test_hyperband_goes_on_with_the_best_of_a_round(digits, tmp_path):
    tuner = run("hyperband", digits, tmp_path, epochs=3, max_trials=5)
    table = tuning.trials(tmp_path)
    assert list(table.status) == ["COMPLETED"] * 5
    assert table.learning_rate[0] == 1e-3 and table.epochs[0] in (2, 3), "the defaults, outside of the rounds"
    assert list(table.epochs[1:4]) == [1] * 3 and table.epochs[4] in (2, 3)
    first = table[1:4].loc[table.score[1:4].idxmax()]
    assert tuple(table.loc[4, ["num_samples", "learning_rate"]]) == (first.num_samples, first.learning_rate)
    assert table.score[4] > first.score - 0.5, "two more epochs from its weights, which gain little by now"
    trial = next(t for t in tuner.oracle.trials.values() if int(t.trial_id) == 4)
    history = read_history(tuner, trial)
    assert list(history.epoch) == list(range(int(table.epochs[4]))) and history.seconds.is_monotonic_increasing
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = tuner.load_model(trial)
    assert int(model.optimizer.iterations.numpy()) == table.epochs[4] * 20, "and from the state of its optimiser"


def test_no_such_tuner_and_bad_numbers(tmp_path):
    hypermodel = tuning.IWAEHyperModel((8, 8, 1), hidden_size=4)
    for arguments, message in (
        ({"name": "grid"}, "random, bayesian, hyperband"),
        ({"name": "random", "max_trials": 0}, "max_trials"),
        ({"name": "hyperband", "epochs": 0}, "epochs"),
        ({"name": "hyperband", "factor": 1}, "factor"),
    ):
        with pytest.raises(ValueError, match=message):
            tuning.make_tuner(hypermodel=hypermodel, folder=tmp_path, **arguments)
    with pytest.raises(FileNotFoundError, match="Expected the folder of a search"):
        tuning.trials(tmp_path)
    assert not list(tmp_path.iterdir())
