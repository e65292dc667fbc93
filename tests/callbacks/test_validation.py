"""The metric that models of different objectives are compared by."""

import keras
import numpy as np
import pytest

from iwae_tf import callbacks, evaluation, objectives

from ..fixtures import small_model


def test_is_the_log_likelihood_of_the_first_observations_in_every_epoch(digits):
    model = small_model(mean=digits.mean)
    model.compile("sgd")
    scores = callbacks.ValidationLogLikelihood(digits.validation, num_samples=50, num_observations=30, seed=3)
    history = model.fit(digits.train, epochs=2, callbacks=[scores], verbose=0).history["val_log_likelihood"]
    x = np.concatenate([np.asarray(part) for part in digits.validation])[:30]
    expected = evaluation.log_likelihood(model, x, num_samples=50, seed=3).log_likelihood.mean()
    assert len(history) == 2 and history[0] < history[1]
    np.testing.assert_allclose(history[1], expected, rtol=1e-6)


def test_averages_the_last_epochs(digits):
    model = small_model(mean=digits.mean)
    model.compile(keras.optimizers.Adam(1e-3))
    each, mean = (callbacks.ValidationLogLikelihood(digits.validation, 10, 10, num_epochs=n) for n in (1, 2))
    scores = []
    record = keras.callbacks.LambdaCallback(on_epoch_end=lambda _, logs: scores.append(logs["val_log_likelihood"]))
    history = model.fit(digits.train.take(2), epochs=3, callbacks=[each, record, mean], verbose=0).history
    expected = [scores[0], np.mean(scores[:2]), np.mean(scores[1:])]
    assert len(set(scores)) == 3
    np.testing.assert_allclose(history["val_log_likelihood"], expected, rtol=1e-6)


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


@pytest.mark.parametrize("name", ["num_samples", "num_observations", "num_epochs"])
def test_bad_numbers(name, digits):
    with pytest.raises(ValueError, match=name):
        callbacks.ValidationLogLikelihood(digits.validation, **{name: 0})
