"""The scikit-learn estimator: scikit-learn's own checks, the model behind it, and its place in a pipeline."""

import os

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import estimator_checks_generator

from iwae_tf import IWAEEstimator

SMALL = {"latent_sizes": (2,), "hidden_sizes": ((8,),), "num_samples": 2, "likelihood_samples": 5, "epochs": 1}
WINE = load_wine().data
#: Checks of the suite. The others take minutes, because each fits the model several times; IWAE_TF_ALL runs them all.
QUICK = (
    "check_dict_unchanged", "check_estimator_sparse_tag", "check_estimators_pickle", "check_fit2d_1sample",
    "check_get_params_invariance", "check_methods_subset_invariance", "check_n_features_in",
    "check_no_attributes_set_in_init", "check_parameters_default_constructible", "check_set_params",
    "check_transformer_general",
)  # fmt: skip


def checks():
    """Returns scikit-learn's checks by their names."""
    every = {check.func.__name__: check for _, check in estimator_checks_generator(IWAEEstimator(**SMALL))}
    return {name: check for name, check in every.items() if os.environ.get("IWAE_TF_ALL") or name in QUICK}


@pytest.mark.parametrize("name", CHECKS := checks())
def test_scikit_learns_checks(name):
    CHECKS[name](IWAEEstimator(**SMALL, random_state=0))


def test_every_check_is_known():
    assert set(QUICK) <= set(CHECKS)


@pytest.fixture(scope="module")
def fitted():
    return IWAEEstimator((2,), ((32,),), epochs=30, batch_size=20, random_state=0, contamination=0.05).fit(WINE)


def test_it_is_the_model_behind_it(fitted):
    """Scores are log-likelihoods in the units of the data, codes are means of q, and the threshold is a quantile."""
    x = WINE.astype(np.float32)
    scores = fitted.score_samples(WINE)
    np.testing.assert_array_equal(scores, fitted.model_.log_likelihood(x, 500, seed=0).numpy())
    np.testing.assert_array_equal(fitted.transform(WINE), fitted.model_.encode(x).mean().numpy())
    assert fitted.score(WINE) == scores.mean()
    assert (fitted.predict(WINE) == -1).sum() == 9, "a twentieth of 178 rows"
    np.testing.assert_allclose(fitted.decision_function(WINE), scores - np.quantile(scores, 0.05))
    assert fitted.get_feature_names_out().tolist() == ["iwaeestimator0", "iwaeestimator1"]


def test_it_finds_novelties_and_draws_rows(fitted):
    """Each column of the others is shuffled: the same margins without what connects them (0.5 would be chance)."""
    rng = np.random.default_rng(0)
    shuffled = np.stack([rng.permutation(column) for column in WINE.T], 1)
    labels = np.repeat([1, 0], len(WINE))
    assert roc_auc_score(labels, fitted.decision_function(np.concatenate([WINE, shuffled]))) > 0.75
    draws = fitted.sample(2000, random_state=0)
    assert draws.shape == (2000, 13)
    error = abs(draws.mean(0) - WINE.mean(0)) / WINE.std(0)
    assert (error < 0.25).all(), error
    np.testing.assert_array_equal(draws, fitted.sample(2000, random_state=0))


def test_frames_of_any_columns():
    frame = pd.DataFrame({"age": [30, 41, None, 58] * 5, "town": ["York", None, "Hull", "Hull"] * 5})
    estimator = IWAEEstimator(**SMALL, columns={"age": "positive"}, random_state=0).fit(frame)
    assert [column.kind for column in estimator.columns_] == ["positive", "category"]
    assert estimator.feature_names_in_.tolist() == ["age", "town"]
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.predict(frame[["town", "age"]])


def test_pipelines_and_clones():
    pipeline = make_pipeline(FunctionTransformer(np.log), IWAEEstimator(**SMALL, random_state=3))
    pipeline.set_params(iwaeestimator__epochs=2)
    first, second = (clone(pipeline).fit(WINE).score_samples(WINE) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"contamination": 0.0}, r"contamination must be in \(0, 0.5\]"),
        ({"epochs": 0}, "epochs must be a positive integer"),
        ({"objective": "no"}, "must be one of"),
        ({"columns": {5: "real", 99: "real"}}, "Expected columns of the frame"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        IWAEEstimator(**{**SMALL, **arguments}).fit(WINE)
