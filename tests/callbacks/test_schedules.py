import numpy as np
import pytest

from iwae_tf import objectives
from iwae_tf.callbacks import BurdaSchedule, Temperature, WarmUp

from ..fixtures import small_model


def test_the_papers_schedule():
    schedule = BurdaSchedule()
    assert schedule.epochs == 3280
    rates = [schedule.schedule(epoch, None) for epoch in (0, 1, 3, 4, 12, 13, 3279)]
    powers = [0, 1, 1, 2, 2, 3, 7]
    np.testing.assert_allclose(rates, [1e-3 * 10 ** (-i / 7) for i in powers])


def test_sets_the_learning_rate(x):
    model = small_model()
    model.compile("sgd")
    schedule = BurdaSchedule(2, initial=0.01)
    history = model.fit(x, epochs=schedule.epochs, callbacks=[schedule], verbose=0).history
    np.testing.assert_allclose(history["learning_rate"], [0.01] + [0.01 * 10 ** (-1 / 7)] * 3, rtol=1e-6)


def test_bad_number_of_stages():
    with pytest.raises(ValueError, match="num_stages"):
        BurdaSchedule(0)


def test_linear_warm_up():
    warm_up = WarmUp(epochs=4, start=0.2)
    np.testing.assert_allclose([warm_up.weight(epoch) for epoch in range(6)], [0.2, 0.4, 0.6, 0.8, 1, 1])
    assert all(
        WarmUp(n, start).weight(e) == 1.0 for n in (1, 3, 7) for start in (0.0, 0.3, 1.0) for e in (n, n + 1, 99)
    )


def test_cyclical_warm_up():
    """Four cycles, each of which rises in its first half and stays at 1 in its second."""
    warm_up = WarmUp(epochs=16, schedule="cyclical")
    np.testing.assert_array_equal([warm_up.weight(epoch) for epoch in range(18)], [0, 0.5, 1, 1] * 4 + [1, 1])
    uneven = [WarmUp(epochs=10, start=0.1, schedule="cyclical").weight(epoch) for epoch in range(10)]
    assert min(uneven) >= 0.1 and max(uneven) == 1.0 and sum(weight < 0.5 for weight in uneven) == 4


@pytest.mark.parametrize("objective", [objectives.ELBO(), objectives.ImportanceWeighted(5)], ids=repr)
def test_warm_up_sets_the_weight_of_each_epoch(x, objective):
    """On the whole epoch, of two executions here, and on the loss but not on the logged ELBO."""
    model = small_model(objective=objective)
    model.compile("sgd", steps_per_execution=2, run_eagerly=True)
    history = model.fit(x, batch_size=5, epochs=4, callbacks=[WarmUp(3)], verbose=0).history
    np.testing.assert_allclose(history["kl_weight"], [0, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(history["elbo"], np.subtract(history["reconstruction"], history["kl"]), rtol=1e-5)
    if objective == objectives.ELBO():
        tempered = np.multiply(history["kl_weight"], history["kl"]) - history["reconstruction"]
        np.testing.assert_allclose(history["loss"], tempered, rtol=1e-5)
    assert model.kl_weight.numpy() == 1


def test_warm_up_at_one_is_none_bit_for_bit(x):
    def train(*callbacks):
        model = small_model()
        model.compile("sgd", jit_compile=False)
        history = model.fit(x, batch_size=10, epochs=2, callbacks=list(callbacks), verbose=0).history
        return history["loss"], model.get_weights()

    (loss, weights), (expected_loss, expected) = train(WarmUp(5, start=1.0)), train()
    assert loss == expected_loss
    for a, b in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_warm_up_goes_on_where_fit_left_off(x):
    model = small_model()
    model.compile("sgd", run_eagerly=True)
    model.fit(x, epochs=1, callbacks=[WarmUp(4)], verbose=0)
    history = model.fit(x, initial_epoch=1, epochs=3, callbacks=[WarmUp(4)], verbose=0).history
    assert history["kl_weight"] == [0.25, 0.5] and model.kl_weight.numpy() == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs must be a positive integer. Received: epochs=0"),
        ({"epochs": 3, "start": 1.5}, r"start must be a number in \[0, 1\]. Received: start=1.5"),
        ({"epochs": 3, "schedule": "cosine"}, "linear, cyclical. Received: 'cosine'"),
        ({"epochs": 7, "schedule": "cyclical"}, "two epochs per cycle. Received: epochs=7, cycles=4"),
    ],
)
def test_bad_warm_up(arguments, message):
    with pytest.raises(ValueError, match=message):
        WarmUp(**arguments)


def test_temperatures_fall_by_a_factor():
    schedule = Temperature(4, start=2.0, end=0.5)
    temperatures = [schedule.temperature(epoch) for epoch in range(6)]
    np.testing.assert_allclose(temperatures, [2, 2**0.5, 1, 0.5**0.5, 0.5, 0.5])


def test_all_temperatures_are_set_in_each_epoch(x):
    """Those of q, of the conditional and of the prior; the program that is compiled once follows."""
    model = small_model(2, objectives.ImportanceWeighted(5), posterior="relaxed-bernoulli")
    model.compile("sgd", jit_compile=True)
    options = {"batch_size": 20, "verbose": 0, "callbacks": [Temperature(2, start=1.0, end=0.25)]}
    history = model.fit(x, epochs=3, **options).history
    np.testing.assert_allclose(history["temperature"], [1, 0.5, 0.25])
    assert [float(t) for t in model.temperatures] == [0.25] * 4
    first = model.log_weights(x, 3, seed=0)
    model.temperatures[0].assign(0.9)
    assert np.abs(model.log_weights(x, 3, seed=0) - first).max() > 0.1


def test_temperatures_that_cannot_be(x):
    for start, end in ((0.0, 0.5), (1.0, -1.0), (float("inf"), 0.5)):
        with pytest.raises(ValueError, match=r"Expected (start|end) to be a positive number. Received"):
            Temperature(3, start, end)
    model = small_model()
    model.compile("sgd")
    with pytest.raises(ValueError, match="Expected a model with relaxed variables"):
        model.fit(x, verbose=0, callbacks=[Temperature(2)])
