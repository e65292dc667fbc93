"""Tables of log-likelihoods, their summary, and going on after an interruption."""

import re

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from iwae_tf import evaluation
from iwae_tf.estimates import likelihood

from ..fixtures import small_model


def test_log_likelihood_has_a_row_per_observation(trained, digits):
    table = evaluation.log_likelihood(trained, digits.test, num_samples=100)
    columns = ["log_likelihood", "standard_error", "effective_sample_size", "pareto_k", "jackknife"]
    assert list(table.columns) == columns
    assert len(table) == 240 and table.notna().all().all()
    assert table.effective_sample_size.between(1, 100.01).all()
    pd.testing.assert_frame_equal(table, evaluation.log_likelihood(trained, digits.test, num_samples=100))
    assert not table.equals(evaluation.log_likelihood(trained, digits.test, num_samples=100, seed=1))


def test_scores_are_the_models_own(x):
    """Whatever the batches, bit for bit."""
    model = small_model()
    table = evaluation.log_likelihood(model, tf.data.Dataset.from_tensor_slices((x, x)).batch(7), 300, seed=4)
    for name, values in likelihood.estimate(model, x, 300, 4).scores().items():
        np.testing.assert_array_equal(table[name], values.numpy().astype(np.float64))


def test_noise_averages_out_over_rows(trained):
    """200 images that are all but black, 20 seeds: the errors of the mean are a row's over sqrt(200), or 0.07 of it;
    with noise shared by a batch of 100 they would be 0.71 of it."""
    black = np.zeros((200, 64), np.uint8)
    black[np.arange(200), np.arange(200) % 64] = 1 + np.arange(200) // 64  # each differs in one pixel
    black[:, -1] = 2  # or it would be a mask
    images = black.reshape(200, 8, 8, 1)
    tables = [evaluation.log_likelihood(trained, images, 20, seed=seed) for seed in range(20)]
    means, rows = [table.log_likelihood.mean() for table in tables], tables[0].log_likelihood
    assert np.std(means) < 0.2 * np.std(rows)


def test_each_row_gets_a_binarisation_of_its_own(trained):
    """Of its content: equal rows have the same."""
    grey = np.full((6, 8, 8, 1), 128, np.uint8)
    assert evaluation.log_likelihood(trained, grey, num_samples=50).log_likelihood.nunique() == 1
    grey[:, 0, 0, 0] += np.arange(6, dtype=np.uint8)
    assert evaluation.log_likelihood(trained, grey, num_samples=50).log_likelihood.nunique() == 6


def table_of(pareto_k, jackknife):
    return pd.DataFrame(
        {
            "log_likelihood": [-1.0, -3.0],
            "standard_error": [3.0, 4.0],
            "effective_sample_size": [2.0, 4.0],
            "pareto_k": pareto_k,
            "jackknife": jackknife,
        }
    )


def test_summarize():
    table = table_of([0.5, 0.8], [-0.5, -2.5])
    summary = evaluation.summarize(table)
    assert summary["log_likelihood"] == -2 and summary["num_observations"] == 2
    np.testing.assert_allclose(summary["standard_error"], 2**0.5 / 2**0.5)
    np.testing.assert_allclose([summary["low"], summary["high"]], [-3.96, -0.04])
    assert summary["sampling_error"] == 2.5, "of the mean of two independent estimates: sqrt(3^2 + 4^2) / 2"
    assert summary["effective_sample_size"] == 3
    assert summary["unreliable"] == 0.5 and summary["jackknife"] == -1.5
    assert np.isnan(evaluation.summarize(table[:1])["standard_error"])


@pytest.mark.parametrize(
    "pareto_k, jackknife, verdict",
    [
        ([0.1, 0.2], [-0.95, -2.95], "Can be trusted: 0% of the observations"),
        ([0.1, 0.2], [-0.8, -2.8], r"Fair, and probably low.*\+0.20 nats"),
        ([0.1, 0.9], [-0.5, -2.5], "Only a lower bound: 50% of the observations.*evaluation.ais"),
        ([np.nan, np.nan], [-1.0, -3.0], "Too few samples to judge"),
    ],
)
def test_verdict(pareto_k, jackknife, verdict):
    assert re.match(verdict, evaluation.summarize(table_of(pareto_k, jackknife))["verdict"])


def test_interrupted_work_goes_on(trained, digits, tmp_path, monkeypatch):
    """Half of the batches, the last of them cut short in the file, and the rest later: the table of one go."""
    path = tmp_path / "scores.csv"
    whole = evaluation.log_likelihood(trained, digits.test, 50)
    evaluation.log_likelihood(trained, digits.test.take(4), 50, path=path)
    path.write_bytes(path.read_bytes()[:-30])
    scored = []
    program = likelihood.get_program(trained)
    counting = lambda x, *args, **kwargs: scored.append(x) or program(x, *args, **kwargs)  # noqa: E731
    monkeypatch.setitem(trained.programs, ("likelihood", 0), counting)
    table = evaluation.log_likelihood(trained, digits.test, 50, path=path)
    pd.testing.assert_frame_equal(table, whole)
    assert len(scored) == len(digits.test) - 3
    pd.testing.assert_frame_equal(evaluation.log_likelihood(trained, digits.test, 50, path=path), whole)
    with pytest.raises(ValueError, match=r"to hold rows of .*'num_samples': 60.*Received: .*'num_samples': 50"):
        evaluation.log_likelihood(trained, digits.test, 60, path=path)
    with pytest.raises(ValueError, match="to be of these data"):
        evaluation.log_likelihood(trained, digits.validation, 50, path=path)
    with pytest.raises(ValueError, match=r"to hold rows of .*'model'"):
        evaluation.log_likelihood(small_model(2), digits.test, 50, path=path)


def test_bad_arguments(trained, x):
    with pytest.raises(ValueError, match="num_samples"):
        evaluation.log_likelihood(trained, x, num_samples=0)
    with pytest.raises(TypeError, match=r"array or a tf.data.Dataset"):
        evaluation.log_likelihood(trained, "x")
