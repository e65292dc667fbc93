"""A batch that is not finite: found, named, and kept from the model."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

import iwae_tf
from iwae_tf import callbacks, data, layers, objectives

BATCH, ROWS = 10, 75  # seven batches, and a partial one
#: The batch that is spoilt, which is the second of an execution, and where.
BAD, WHERE = 4, [3, 7]


def rows(spoilt=()):
    x = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)
    for batch in spoilt:
        x[[BATCH * batch + row for row in WHERE]] = 1e30  # whose square is infinite
    return x


def make(num_layers=1):
    objective = objectives.ImportanceWeighted(4)
    model = iwae_tf.mlp((4,), (2,) * num_layers, ((5,),) * num_layers, likelihood="normal", objective=objective, seed=0)
    model.compile(keras.optimizers.SGD(1e-2), steps_per_execution=3)
    return model


def fit(model, x, *watchers, weights=None, epochs=1):
    arrays = x if weights is None else (x, None, weights)
    return model.fit(data.batches(arrays, BATCH, shuffle=False), epochs=epochs, callbacks=watchers, verbose=0).history


def assert_same(model, other):
    for one, two in zip(
        [*model.variables, *model.optimizer.variables], [*other.variables, *other.optimizer.variables], strict=True
    ):
        np.testing.assert_array_equal(one, two, err_msg=one.path)


@pytest.mark.parametrize("weights", [None, np.linspace(0.5, 1, ROWS, dtype=np.float32)], ids=["", "weights"])
def test_what_is_skipped_might_not_have_been(weights, caplog):
    guard, model = callbacks.NonFiniteGuard("skip"), make()
    with caplog.at_level(logging.WARNING):
        history = fit(model, rows([BAD]), guard, weights=weights)
    assert guard.skipped == [{"epoch": 0, "step": BAD, "layer": f"p(x|z1) ({model.decoder[0].name})", "rows": WHERE}]
    assert f"for rows 3, 7 of 10, at step {BAD} of epoch 0; the batch is skipped" in caplog.text
    kept = np.r_[: BATCH * BAD, BATCH * (BAD + 1) : ROWS]
    other = make()
    assert fit(other, rows()[kept], weights=None if weights is None else weights[kept]) == history
    assert_same(model, other)
    assert model.train_function.guard is None


def test_stops_where_it_was_before():
    model, other = make(), make()
    with pytest.raises(FloatingPointError, match=r"in p\(x\|z1\) \(.*\) for rows 3, 7 of 10, at step 4.*learning rate"):
        fit(model, rows([BAD]), callbacks.NonFiniteGuard())
    fit(other, rows()[: BATCH * BAD])
    for one, two in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(one, two)
    assert np.isfinite(fit(model, rows())["loss"]).all(), "it can be trained further"


def test_without_a_guard_the_model_is_lost():
    model = make()
    assert not np.isfinite(fit(model, rows([BAD]))["loss"]).all()
    assert not all(np.isfinite(weight).all() for weight in model.get_weights())


def test_too_many_in_a_row(caplog):
    guard = callbacks.NonFiniteGuard("skip", max_skipped=3)
    with caplog.at_level(logging.WARNING), pytest.raises(FloatingPointError, match="3 batches in a row"):
        fit(make(), rows([1, 3, 4, 5]), guard)
    assert len(guard.skipped) == 4 and len(caplog.records) == 3


def test_names_the_layer_of_the_encoder():
    model = make(num_layers=2)
    model.encoder[1].heads[0].kernel.assign(np.full((5, 2), np.nan))
    with pytest.raises(FloatingPointError, match=r"in q\(z2\|z1\) \(.*\) for rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 of 10"):
        fit(model, rows(), callbacks.NonFiniteGuard())


class RootOfNothing(keras.layers.Layer):
    """Finite itself, unlike its gradient."""

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

    def call(self, inputs):
        return inputs + tf.sqrt(self.scale * 0.0)


def test_names_the_weight_whose_gradient_it_is():
    model = iwae_tf.IWAE(
        [layers.IndependentNormal(2)], [layers.IndependentNormal(4, network=RootOfNothing())],
        layers.StandardNormal(2), objective=objectives.ELBO(), seed=0,
    )  # fmt: skip
    model.compile("sgd")
    with pytest.raises(FloatingPointError, match=r"the gradient of .*scale, at step 0"):
        fit(model, rows(), callbacks.NonFiniteGuard())


def test_names_the_row_of_the_second_half():
    """Large batches are shared out in halves, with a seed for each."""
    x = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    x[170] = 1e30
    model = make()
    model.objective = objectives.ImportanceWeighted(10)
    with pytest.raises(FloatingPointError, match="for rows 170 of 200"):
        model.fit(data.batches(x, 200, shuffle=False), callbacks=[callbacks.NonFiniteGuard()], verbose=0)


@pytest.mark.parametrize("arguments", [{"action": "ignore"}, {"max_skipped": 0}])
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        callbacks.NonFiniteGuard(**arguments)
