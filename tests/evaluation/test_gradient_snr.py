import numpy as np
import pytest
import tensorflow as tf

from iwae_tf import evaluation, layers, objectives, random
from iwae_tf.training import gradients

from ..fixtures import small_model

IWAE = objectives.ImportanceWeighted


def test_moments_are_those_of_the_gradients_one_by_one(x):
    model = small_model(preprocessing=layers.StochasticBinarization("threshold"))
    table = evaluation.gradient_snr(model, x, 5, seed=3)
    seed = random.fold_in(random.as_seed(3), 1)
    processed = model.preprocess(model.as_input(x), seed)
    repeats = [gradients.compute(model, model.objective, processed, random.fold_in(seed, i))[0] for i in range(5)]
    encoder = len(model.encoder[0].trainable_variables)
    for network, part in (("encoder", slice(encoder)), ("decoder", slice(encoder, None))):
        g = np.array([np.concatenate([np.ravel(v) for v in repeat[part]]) for repeat in repeats], np.float64)
        mean, variance = g.mean(0), g.var(0, ddof=1)
        row = table[table.network == network].iloc[0]
        assert row.objective == repr(model.objective)
        moved = variance > 0
        np.testing.assert_allclose(row.snr, (abs(mean)[moved] / np.sqrt(variance[moved])).mean(), rtol=1e-2)
        np.testing.assert_allclose(row.variance, variance.sum(), rtol=1e-3)
        np.testing.assert_allclose(row.squared_norm, (mean**2).sum(), rtol=1e-3)


def test_zero_variance_where_q_is_exact(linear_gaussian):
    """With the exact posterior every path gradient is zero, and the gradients of theta are not."""
    x = linear_gaussian.sample(20)
    path, plain = IWAE(4, "path"), IWAE(4)
    table = evaluation.gradient_snr(linear_gaussian.model(), x, 50, [path, plain]).set_index(["objective", "network"])
    assert table.variance[repr(path), "encoder"] < 1e-8 * table.variance[repr(plain), "encoder"]
    # Of the exact bound the gradient for phi is zero too, so that its ratio is that of noise, 0.8 / sqrt(50).
    assert 0.05 < table.snr[repr(plain), "encoder"] < 0.2


def test_snr_grows_and_falls_with_k_as_it_must(linear_gaussian):
    """Rainforth et al.: as sqrt(k) for theta, as 1 / sqrt(k) for phi, and as sqrt(k) again when doubly reparameterised.

    From k = 16 to 256 these are factors of 4; a factor of 2 leaves room for noise and for terms of higher order.
    """
    x, model = linear_gaussian.sample(10), linear_gaussian.model(posterior_error=0.2)
    forms = ("reparameterized", "doubly_reparameterized")
    table = evaluation.gradient_snr(model, x, 2000, [IWAE(k, form) for form in forms for k in (16, 256)])
    snr = table.set_index(["objective", "network"]).snr
    for form, network, grows in (
        (forms[0], "decoder", True),
        (forms[0], "encoder", False),
        (forms[1], "encoder", True),
    ):
        few, many = (snr[repr(IWAE(k, form)), network] for k in (16, 256))
        assert (many > 2 * few) if grows else (2 * many < few)


def test_every_objective_and_depth(x):
    model = small_model(2, objectives.get("nvil", 4))  # with a network for its baseline
    model.compile("sgd", jit_compile=False)  # which compiles 22 programs the faster; the other tests are with XLA
    before = [tf.identity(v) for v in model.variables]
    choices = [objectives.get(name, 4) for name in objectives.NAMES if name != "fivo"]
    table = evaluation.gradient_snr(model, x[:3], 3, choices)
    assert list(table.objective[::2]) == [repr(o) for o in choices]
    assert np.isfinite(table[["snr", "variance", "squared_norm"]]).all(axis=None)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.variables, strict=True))


@pytest.mark.parametrize(("num_repeats", "error"), [(1, "2 or more"), (0, "2 or more"), (2.5, "integer")])
def test_bad_arguments(model, x, num_repeats, error):
    with pytest.raises(ValueError, match=error):
        evaluation.gradient_snr(model, x, num_repeats)
    with pytest.raises(ValueError, match="shape"):
        evaluation.gradient_snr(model, x[:, :4], 2)
