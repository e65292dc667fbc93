"""Active units against exact variances, and the model without the others against the whole and a smaller one."""

import numpy as np
import pytest

import iwae_tf
from iwae_tf import evaluation, layers

from ..fixtures import GaussianChain, small_model


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


def test_activity_of_exact_posteriors():
    """Var_x(E[z_l | x]) of a chain is (cov(z_l, x) / var(x))^2 var(x); the rest is the noise of single samples."""
    chain = GaussianChain(2)
    model, x = chain.model(), chain.sample(4000)
    covariances = chain.slope * chain.variances[1], chain.slope**2  # of x with z_1, and with z_2
    expected = [c**2 / chain.variances[2] for c in covariances]
    averaged = evaluation.active_units(model, x, num_samples=200).groupby("layer").activity.mean()
    # 8000 squares: a standard error of 1.6 %.
    np.testing.assert_allclose(averaged, expected, rtol=0.08)
    once = evaluation.active_units(model, x).groupby("layer").activity.mean()
    # E[z_2 | z_1] varies with z_1 itself, so with one sample there is more.
    np.testing.assert_allclose(once[2], chain.slope**2 / chain.variances[1], rtol=0.08)
    assert once[2] > 1.3 * averaged[2]


def test_copies_of_a_unit_are_one_direction(x):
    model = small_model()
    kernel = model.encoder[0].heads[0].kernel
    kernel.assign(np.repeat(kernel.numpy()[:, :1], 8, axis=1) * 10)
    assert evaluation.active_units(model, x).active.sum() == 8
    rotated = evaluation.active_units(model, x, rotated=True)
    assert list(rotated.active) == [True] + [False] * 7
    np.testing.assert_allclose(rotated.activity.sum(), evaluation.active_units(model, x).activity.sum(), rtol=1e-4)


def test_nothing_is_lost_without_units_that_say_nothing(x):
    """Units that the decoder ignores and q leaves at the prior: the log weights are the same with and without."""
    model = small_model(preprocessing=layers.StochasticBinarization("threshold"))
    dead = [1, 4]
    for head in model.encoder[0].heads:
        for weight in head.weights:
            value = weight.numpy()
            value[..., dead] = 0
            weight.assign(value)
    first = next(weight for weight in model.decoder[0].weights if weight.shape == (8, 16))
    value = first.numpy()
    value[dead] = 0
    first.assign(value)
    units = evaluation.active_units(model, x, threshold=1e-6)
    assert list(units.index[~units.active]) == dead
    without = evaluation.without_inactive(model, x, units, 200)
    whole = evaluation.log_likelihood(model, x, 200)
    np.testing.assert_allclose(without.log_likelihood, whole.log_likelihood, atol=1e-3)
    # Without a unit that counts something is lost; without all of them x is independent of z.
    none = evaluation.without_inactive(model, x, units.assign(active=False), 200)
    assert (none.standard_error < 1e-3).all()


def test_units_are_taken_out_of_every_layer(trained, digits):
    units = evaluation.active_units(trained, digits.test, num_samples=10)
    kept = evaluation.without_inactive(trained, digits.test, units.assign(active=True), 100)
    whole = evaluation.log_likelihood(trained, digits.test, 100)
    np.testing.assert_allclose(kept, whole, rtol=1e-4)
    few = units.assign(active=units.layer == 2)
    assert (
        evaluation.without_inactive(trained, digits.test, few, 100).log_likelihood.mean() < kept.log_likelihood.mean()
    )


def test_bad_arguments(trained, x):
    with pytest.raises(ValueError, match="at least two observations"):
        evaluation.active_units(trained, x[:1])
    with pytest.raises(ValueError, match="num_samples"):
        evaluation.active_units(trained, x, num_samples=0)
    units = evaluation.active_units(trained, x)
    with pytest.raises(ValueError, match=r"a row for each of \[8, 7\] units. Received: \[8\]"):
        evaluation.without_inactive(trained, x, units[units.layer == 1])
    full = iwae_tf.mlp((8, 8, 1), (3,), ((8,),), posterior="full", preprocessing=layers.StochasticBinarization())
    units = evaluation.active_units(full, x)
    with pytest.raises(ValueError, match="independent units"):
        evaluation.without_inactive(full, x, units, 10)
