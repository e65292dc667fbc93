"""The metric that models of different objectives are compared by."""

import keras
import numpy as np
import pytest

from iwae_tf import callbacks, objectives, random

from ..conftest import small_model


def test_is_the_log_likelihood_of_the_first_observations_in_every_epoch(digits):
    model = small_model(mean=digits.mean)
    model.compile("adam")
    scores = callbacks.ValidationLogLikelihood(digits.validation, num_samples=50, num_observations=30, seed=3)
    history = model.fit(digits.train, epochs=2, callbacks=[scores], verbose=0).history["val_log_likelihood"]
    x = np.concatenate([np.asarray(part) for part in digits.validation])[:30]
    parts = [model.log_likelihood(x[5 * i :][:5], 50, random.fold_in(random.as_seed(3), i)) for i in range(6)]
    assert len(history) == 2 and history[0] < history[1]
    np.testing.assert_allclose(history[1], np.mean(parts), rtol=1e-6)


def test_is_less_noisy_than_with_one_noise_for_all(digits):
    """The spread over 12 seeds of the mean of 100 rows (false alarms below 1e-3, for normal errors)."""
    model = small_model(objective=objectives.ImportanceWeighted(50), mean=digits.mean)
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(digits.train, epochs=3, verbose=0)
    x = np.concatenate([np.asarray(part) for part in digits.validation])[:100]
    one, ours = [], []
    for seed in range(12):
        scores = callbacks.ValidationLogLikelihood(x, num_samples=20, num_observations=100, seed=seed)
        scores.set_model(model)
        scores.on_train_begin()
        logs = {}
        scores.on_epoch_end(0, logs)
        ours.append(logs["val_log_likelihood"])
        one.append(np.mean(model.log_likelihood(x, 20, seed=seed)))
    assert np.std(ours) < 0.7 * np.std(one)


def test_does_not_depend_on_the_objective_as_the_loss_does(digits):
    """One model under two objectives that do not train it: the bounds differ, log p^ does not."""
    seen = []
    for objective in (objectives.ELBO(), objectives.ImportanceWeighted(20)):
        model = small_model(objective=objective, mean=digits.mean)
        model.compile(keras.optimizers.SGD(0.0))
        scores = callbacks.ValidationLogLikelihood(digits.validation, num_samples=50, num_observations=30)
        logs = model.fit(digits.train.take(2), validation_data=digits.validation, callbacks=[scores], verbose=0).history
        seen.append((logs["val_log_likelihood"][0], logs["val_loss"][0]))
    assert seen[0][0] == seen[1][0]
    assert seen[0][1] > seen[1][1] + 0.1


def test_other_callbacks_see_it(digits):
    model = small_model(mean=digits.mean)
    model.compile(keras.optimizers.SGD(0.0))
    watch = [
        callbacks.ValidationLogLikelihood(digits.validation, num_samples=20, num_observations=20),
        keras.callbacks.EarlyStopping("val_log_likelihood", mode="max", patience=1),
    ]
    history = model.fit(digits.train.take(2), epochs=9, callbacks=watch, verbose=0).history
    assert len(history["val_log_likelihood"]) == 2, "the same seed and weights, so no better from epoch to epoch"


@pytest.mark.parametrize("name", ["num_samples", "num_observations"])
def test_bad_numbers(name, digits):
    with pytest.raises(ValueError, match=name):
        callbacks.ValidationLogLikelihood(digits.validation, **{name: 0})
