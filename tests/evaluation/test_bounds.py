import numpy as np
import pytest

from iwae_tf import evaluation


def test_bounds_rise_to_the_likelihood(linear_gaussian):
    x = linear_gaussian.sample(40)
    table = evaluation.bounds(linear_gaussian.model(0.6), x, (50, 1, 5, 1500))
    assert list(table.num_samples) == [1, 5, 50, 1500]
    assert table.bound.is_monotonic_increasing
    exact = linear_gaussian.log_prob(x).mean()
    np.testing.assert_allclose(table.bound.iloc[-1], exact, atol=0.05)
    kl = (0.6**2 / (2 * linear_gaussian.posterior_variance)).sum()
    assert abs(table.bound[0] - (exact - kl)) < 5 * table.sampling_error[0]
    assert np.isnan(table.sampling_error.iloc[-1]) and table.sampling_error[:3].gt(0).all()


def test_bad_counts(model, x):
    for counts in ((), (0,), (2.5,)):
        with pytest.raises(ValueError, match="num"):
            evaluation.bounds(model, x, counts)
