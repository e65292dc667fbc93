import numpy as np
import pytest

from iwae_tf.callbacks import BurdaSchedule

from .conftest import small_model


def test_the_papers_schedule():
    schedule = BurdaSchedule()
    assert schedule.epochs == 3280
    rates = [schedule.schedule(epoch, None) for epoch in (0, 1, 3, 4, 12, 13, 3279)]
    powers = [0, 1, 1, 2, 2, 3, 7]
    np.testing.assert_allclose(rates, [1e-3 * 10 ** (-i / 7) for i in powers])


def test_sets_the_learning_rate(x):
    model = small_model()
    model.compile("adam")
    schedule = BurdaSchedule(2, initial=0.01)
    history = model.fit(x, epochs=schedule.epochs, callbacks=[schedule], verbose=0).history
    np.testing.assert_allclose(history["learning_rate"], [0.01] + [0.01 * 10 ** (-1 / 7)] * 3, rtol=1e-6)


def test_bad_number_of_stages():
    with pytest.raises(ValueError, match="num_stages"):
        BurdaSchedule(0)
