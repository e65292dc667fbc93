import numpy as np
import pytest

from iwae_tf import evaluation

from ..fixtures import small_model


def test_gap_of_a_posterior_that_is_off_is_amortisation(linear_gaussian):
    """The best diagonal Gaussian is the posterior itself, and q is off by 0.3 in both means."""
    x = linear_gaussian.sample(6)
    table = evaluation.inference_gaps(linear_gaussian.model(0.3), x, num_steps=400, learning_rate=0.05)
    kl = (0.3**2 / (2 * linear_gaussian.posterior_variance)).sum()
    np.testing.assert_allclose(table.amortization_gap, kl, atol=0.1)
    np.testing.assert_allclose(table.approximation_gap, 0, atol=0.05)
    np.testing.assert_allclose(
        table.elbo + table.amortization_gap + table.approximation_gap, table.log_likelihood, rtol=1e-5
    )


def test_one_stochastic_layer_only(x):
    with pytest.raises(ValueError, match=r"one stochastic layer. Received: 2"):
        evaluation.inference_gaps(small_model(2), x)
