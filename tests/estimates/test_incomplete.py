"""Data with missing entries, in models of any kind; the linear-Gaussian one has exact marginals and conditionals."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import iwae_tf
from iwae_tf import data, layers, objectives, scoring
from iwae_tf.estimates import imputation

from ..fixtures import _assign, small_model

HOLES = np.array([[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [1, 0, 1, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)


@pytest.fixture(scope="module")
def x(linear_gaussian):
    return np.where(HOLES, np.nan, linear_gaussian.sample(5))


@pytest.fixture(scope="module")
def model(linear_gaussian):
    """The model; q is the prior, which covers the posterior given any of the entries."""
    model = iwae_tf.IWAE(
        encoder=[layers.IndependentNormal(2)],
        decoder=[layers.IndependentNormal(5)],
        prior=layers.StandardNormal(2),
        incomplete=True,
        seed=0,
    )
    _assign(model.encoder[0], np.zeros((5, 2)), np.zeros(2), np.zeros(2))
    source = linear_gaussian.model().decoder[0]
    model.decoder[0].set_weights(source.get_weights())
    return model


def conditional_mean(exact, row):
    """E[x_missing | x_observed] of one row, and log p(x_observed)."""
    m, o = np.isnan(row), ~np.isnan(row)
    covariance = exact.covariance[np.ix_(o, o)]
    difference = (row - exact.b)[o]
    solved = np.linalg.solve(covariance, difference)
    mean = exact.b[m] + exact.covariance[np.ix_(m, o)] @ solved
    return mean, -0.5 * (difference @ solved + np.linalg.slogdet(2 * np.pi * covariance)[1])


def test_likelihood_is_that_of_what_is_there(model, linear_gaussian, x):
    """Within five standard errors of the exact marginal; of nothing it is 0, whatever the samples."""
    estimate = iwae_tf.estimates.likelihood.estimate(model, x, 20_000, seed=0)
    exact = [conditional_mean(linear_gaussian, row.astype(np.float64))[1] for row in x]
    assert (abs(estimate.log_likelihood - exact) < 5 * estimate.standard_error + 1e-4).numpy().all()
    assert (estimate.standard_error.numpy() < 0.1).all()
    assert abs(estimate.log_likelihood[4]) < 1e-5


def test_imputation_is_the_conditional_mean(model, linear_gaussian, x):
    """A chunk holds 500 samples: the last of 41 is not full.

    Five times the spread over ten seeds, Student's t with nine degrees: a false alarm in less than 0.01.
    """
    filled = model.impute(x, 20_100, seed=0).numpy()
    spread = np.std([model.impute(x, 20_100, seed=s) for s in range(1, 11)], axis=0, ddof=1)
    assert (spread[HOLES] > 0).all() and spread.max() < 0.05
    for row, found, error in zip(x, filled, spread, strict=True):
        missing = np.isnan(row)
        exact, _ = conditional_mean(linear_gaussian, row.astype(np.float64))
        assert (abs(found[missing] - exact) < 5 * error[missing].max(initial=0)).all()
        np.testing.assert_array_equal(found[~missing], row[~missing])
    np.testing.assert_array_equal(model.impute(x[1:3], 20_100, seed=0), filled[1:3])


def test_imputation_with_and_without_xla(model, x):
    found = []
    for jit_compile in (True, False):
        model.compile(jit_compile=jit_compile)
        found.append(model.impute(x, 700, seed=0))
    np.testing.assert_allclose(*found, rtol=1e-4)


@pytest.mark.parametrize("k", [1, 9, 10, 11, 37])
def test_average_equals_all_at_once(k):
    rng = np.random.default_rng(0)
    log_weights, values = (4 * rng.normal(size=(4, 10)) - 500).astype(np.float32), rng.normal(size=(4, 10, 3))
    values = values.astype(np.float32)
    run = tf.function(
        lambda n: imputation.average(
            lambda i: (tf.constant(log_weights)[i], tf.constant(values)[i]), n, 10, tf.zeros([3])
        )
    )
    w = np.exp(log_weights.reshape(-1)[:k].astype(np.float64) + 500)
    expected = (w[:, np.newaxis] * values.reshape(-1, 3)[:k]).sum(0) / w.sum()
    np.testing.assert_allclose(run(tf.constant(k)), expected, rtol=1e-4)


def test_complete_data_have_the_same_bound(linear_gaussian):
    x = linear_gaussian.sample(6)
    models = [linear_gaussian.model(0.3) for _ in range(2)]
    complete, incomplete = (model.log_weights for model in models)
    models[1].incomplete = True
    np.testing.assert_allclose(complete(x, 7, seed=0), incomplete(x, 7, seed=0), rtol=1e-6)
    np.testing.assert_array_equal(models[1].impute(x, 10), x)


def grey(x, share=0.3):
    """Digits as floats with holes."""
    values = (x / 255).astype(np.float32)
    values[np.random.default_rng(0).random(values.shape) < share] = np.nan
    return values


def test_digits_with_holes_train(digits):
    """Two layers and path gradients, which ask for the densities of the posteriors anew."""
    x = grey(np.concatenate(list(digits.train.take(20).as_numpy_iterator())))
    objective = objectives.ImportanceWeighted(5, gradient="doubly_reparameterized")
    model = small_model(2, objective, incomplete=True, mean=digits.mean)
    model.compile(keras.optimizers.Adam(3e-3))
    losses = model.fit(x, batch_size=20, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0] - 1
    filled = model.impute(x[:5], 20, seed=0).numpy()
    np.testing.assert_array_equal(filled[~np.isnan(x[:5])], x[:5][~np.isnan(x[:5])])
    assert filled.min() >= 0 and filled.max() <= 1


def test_imputation_of_digits_beats_the_mean(digits):
    whole = (np.concatenate(list(digits.train.take(40).as_numpy_iterator())) / 255).astype(np.float32)
    x = whole.copy()
    missing = np.random.default_rng(0).random(x.shape) < 0.3
    x[missing] = np.nan
    model = small_model(incomplete=True, mean=digits.mean)
    model.compile(keras.optimizers.Adam(3e-3))
    model.fit(x, batch_size=20, epochs=60, verbose=0)
    some = slice(0, 40)
    mean = np.broadcast_to(np.nanmean(x, 0), x.shape)
    errors = [
        np.mean((found[some] - whole[some])[missing[some]] ** 2) for found in (model.impute(x[some], 200).numpy(), mean)
    ]
    assert errors[0] < 0.8 * errors[1]


def test_binarization_draws_the_others():
    model = small_model(incomplete=True)
    values = np.full((4, 8, 8, 1), 0.5, np.float32)
    values[0] = np.nan
    seen = model.preprocess(tf.constant(values), tf.constant([0, 1])).numpy()
    assert np.isnan(seen[0]).all() and set(np.unique(seen[1:])) == {0.0, 1.0}


def test_saved_models(digits, tmp_path):
    model = small_model(incomplete=True)
    x = grey(next(iter(digits.test)).numpy()[:3])
    expected = model.log_likelihood(x, 50, seed=0)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    assert again.incomplete
    np.testing.assert_array_equal(again.log_likelihood(x, 50, seed=0), expected)
    np.testing.assert_array_equal(again.impute(x, 50, seed=0), model.impute(x, 50, seed=0))
    path = iwae_tf.export(model, tmp_path / "m", 50)
    np.save(tmp_path / "x.npy", x)
    scoring.score(path, tmp_path / "x.npy", tmp_path / "scores.parquet")
    np.testing.assert_array_equal(pd.read_parquet(tmp_path / "scores.parquet").log_likelihood, expected)


@pytest.mark.parametrize("preprocessing", [None, layers.StochasticBinarization()])
def test_other_models_refuse_nan(preprocessing, digits):
    x = grey(next(iter(digits.test)).numpy()[:3])
    model = small_model(preprocessing=preprocessing)
    for method in (model.fit, model.log_likelihood, model.impute, model.reconstruct):
        with pytest.raises(ValueError, match="Expected finite data"):
            method(x)


def test_scores_of_other_models_refuse_nan(digits, tmp_path):
    x = grey(next(iter(digits.test)).numpy()[:3])
    model = small_model()
    model.encode(np.nan_to_num(x))
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(ValueError, match=r"None of 3 rows .* Expected floats in \[0, 1\]. Received: nan"):
        scoring.score(iwae_tf.export(model, tmp_path / "m", 10), tmp_path / "x.npy", tmp_path / "scores.csv")


@pytest.mark.parametrize("value, message", [(np.inf, "finite data"), (1.5, r"in \[0, 1\]")])
def test_what_is_there_is_looked_at(value, message, digits):
    x = grey(next(iter(digits.test)).numpy()[:3])
    x[0, 0, 0, 0] = value
    with pytest.raises(ValueError, match=message):
        small_model(incomplete=True).encode(x)


def test_splits_of_incomplete_arrays():
    x = np.arange(40, dtype=np.float32).reshape(20, 2)
    x[3, 0] = np.nan
    splits = data.from_arrays(x, incomplete=True)
    assert splits.mean.shape == (2,) and np.isfinite(splits.mean).all()
    rows = np.concatenate([b for part in (splits.train, splits.validation, splits.test) for b in part])
    assert np.isnan(rows).sum() == 1
    x[3, 0] = np.inf
    with pytest.raises(ValueError, match="finite"):
        data.from_arrays(x, incomplete=True)


def test_bad_number_of_samples(model, x):
    with pytest.raises(ValueError, match="num_samples"):
        model.impute(x, 0)


def test_an_encoder_that_cannot_read_what_its_likelihood_admits(tmp_path):
    """Refused wherever it comes: in an array, in a later batch of a stream, in an export."""
    x = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    columns = {"a": "real", "b": "real"}
    model = iwae_tf.IWAE(
        [layers.IndependentNormal(2)], [layers.Heterogeneous(columns)], layers.StandardNormal(2),
        objectives.ELBO(), seed=0,
    )  # fmt: skip
    model.compile("sgd")
    model.fit(x, verbose=0)
    scorer = tf.saved_model.load(str(iwae_tf.export(model, tmp_path / "m", 5)))
    x[15, 0] = np.nan
    with pytest.raises(ValueError, match="an encoder that reads NaN"):
        model.fit(x, verbose=0)
    with pytest.raises(ValueError, match="an encoder that reads NaN"):
        model.fit(tf.data.Dataset.from_tensor_slices(x).batch(5), verbose=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="finite numbers"):
        scorer.log_likelihood(x=tf.constant(x))
