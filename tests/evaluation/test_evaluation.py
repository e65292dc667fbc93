import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from iwae_tf import evaluation, layers, likelihood

from ..conftest import small_model


def test_log_likelihood_has_a_row_per_observation(trained, digits):
    table = evaluation.log_likelihood(trained, digits.test, num_samples=100)
    assert list(table.columns) == ["log_likelihood", "standard_error", "effective_sample_size"]
    assert len(table) == 240 and table.notna().all().all()
    assert table.effective_sample_size.between(1, 100.01).all()
    pd.testing.assert_frame_equal(table, evaluation.log_likelihood(trained, digits.test, num_samples=100))
    assert not table.equals(evaluation.log_likelihood(trained, digits.test, num_samples=100, seed=1))


def test_log_likelihood_is_the_models_where_nothing_is_drawn(x):
    model = small_model(preprocessing=layers.StochasticBinarization("threshold"))
    expected = likelihood.estimate(model, x, 300, seed=4)._asdict()
    for data in (x, tf.data.Dataset.from_tensor_slices((x, x)).batch(7)):
        table = evaluation.log_likelihood(model, data, num_samples=300, seed=4)
        for name, values in expected.items():
            np.testing.assert_allclose(table[name], values, rtol=1e-6)


def test_each_row_gets_a_binarisation_of_its_own(trained):
    grey = np.full((6, 8, 8, 1), 128, np.uint8)
    assert evaluation.log_likelihood(trained, grey, num_samples=50).log_likelihood.nunique() == 6
    assert len(set(trained.log_likelihood(grey, 50, seed=0).numpy())) == 1


def test_summarize():
    table = pd.DataFrame(
        {"log_likelihood": [-1.0, -3.0], "standard_error": [3.0, 4.0], "effective_sample_size": [2.0, 4.0]}
    )
    summary = evaluation.summarize(table)
    assert summary["log_likelihood"] == -2 and summary["num_observations"] == 2
    np.testing.assert_allclose(summary["standard_error"], 2**0.5 / 2**0.5)
    np.testing.assert_allclose(summary["sampling_error"], 12.5**0.5)
    assert summary["effective_sample_size"] == 3
    assert np.isnan(evaluation.summarize(table[:1])["standard_error"])


def test_active_units_of_every_layer(trained, digits):
    table = evaluation.active_units(trained, digits.test)
    assert list(table.layer) == [1] * 8 + [2] * 7 and list(table.unit) == [*range(8), *range(7)]
    np.testing.assert_array_equal(table.active, table.activity > 0.01)
    assert evaluation.active_units(trained, digits.test, threshold=1e9).active.sum() == 0


def test_a_unit_that_ignores_x_is_inactive(x):
    model = small_model()
    loc = model.encoder[0].heads[0]
    kernel = loc.kernel.numpy()
    kernel[:, 2] = 0
    loc.kernel.assign(kernel)
    table = evaluation.active_units(model, x)
    assert table.activity[2] < 1e-10 and not table.active[2]


def test_bad_arguments(trained, x):
    with pytest.raises(ValueError, match="num_samples"):
        evaluation.log_likelihood(trained, x, num_samples=0)
    with pytest.raises(TypeError, match=r"array or a tf.data.Dataset"):
        evaluation.log_likelihood(trained, "x")
    with pytest.raises(ValueError, match="at least two observations"):
        evaluation.active_units(trained, x[:1])
