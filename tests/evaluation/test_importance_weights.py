import numpy as np
import pytest

from iwae_tf import evaluation


def test_exact_posteriors_have_equal_weights(linear_gaussian):
    table = evaluation.importance_weights(linear_gaussian.model(), linear_gaussian.sample(6), 40)
    np.testing.assert_allclose(table.effective_sample_size, 40, rtol=1e-3)
    np.testing.assert_allclose(table.entropy, np.log(40), rtol=1e-3)
    np.testing.assert_allclose(table.largest, 1 / 40, rtol=1e-2)
    assert (table.noticeable == 40).all() and (table.spread < 1e-3).all()


def test_spread_of_a_posterior_that_is_off(linear_gaussian):
    """log w is normal with the variance of sum_u (0.3 / v_u) (z_u - m_u): 0.3^2 sum_u 1 / v_u; five standard errors."""
    table = evaluation.importance_weights(linear_gaussian.model(0.3), linear_gaussian.sample(10), 4000)
    deviation = (0.3**2 / linear_gaussian.posterior_variance).sum() ** 0.5
    np.testing.assert_allclose(table.spread, deviation, rtol=5 / 8000**0.5)
    np.testing.assert_allclose(table.effective_sample_size, 4000 / np.exp(deviation**2), rtol=0.5)


def test_bad_number_of_samples(model, x):
    with pytest.raises(ValueError, match="num_samples"):
        evaluation.importance_weights(model, x, 0)
