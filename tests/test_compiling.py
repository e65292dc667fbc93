import logging

import numpy as np
import tensorflow as tf

from iwae_tf import compiling, evaluation, objectives

from .fixtures import small_model


def test_functions_of_one_definition_are_counted_apart():
    """Ten models would make ten such functions; TensorFlow warns when five are traced."""
    records = []
    handler = logging.Handler()
    handler.emit = records.append

    def make(number, wrap):
        return wrap(lambda x: x + number)

    tf.get_logger().addHandler(handler)
    try:
        assert [make(i, compiling.function)(tf.constant(1)).numpy() for i in range(10)] == list(range(1, 11))
        assert not records
        for i in range(10):
            make(i, tf.function)(tf.constant(1))
        assert "retracing" in records[0].getMessage(), "or this test sees nothing"
    finally:
        tf.get_logger().removeHandler(handler)


def test_programs_are_kept_until_the_model_is_compiled_anew():
    model, traced = small_model(), []

    def add(c):
        def function(x):
            traced.append(c)
            return x + c

        return compiling.cached_program(model, function, c)(tf.constant(1)).numpy()

    assert [add(c) for c in (1, 2, 1)] == [2, 3, 2]
    assert traced == [1, 2]
    model.compile()
    assert add(1) == 2 and traced == [1, 2, 1]


def test_kept_programs_see_the_weights_as_they_are(x):
    model, other = small_model(seed=0), small_model(seed=1)
    calls = (
        lambda m: evaluation.bounds(m, x, [5]).bound[0],
        lambda m: evaluation.gradient_snr(m, x, 2).variance[0],
        lambda m: evaluation.importance_weights(m, x, 5).largest.mean(),
        lambda m: evaluation.ais(m, x[:2], 2, 2).log_likelihood[0],
    )
    first = [call(model) for call in calls]
    model.set_weights(other.get_weights())
    np.testing.assert_allclose([call(model) for call in calls], [call(other) for call in calls], rtol=1e-4)
    assert len(model.programs) == len(calls)
    assert not np.isclose(first, [call(model) for call in calls]).any()


def test_objectives_without_arguments_are_told_apart(x):
    class Scaled(objectives.ImportanceWeighted):
        def __init__(self, scale):
            super().__init__(5)
            self.scale = scale

        def bound(self, log_weights):
            return self.scale * super().bound(log_weights)

    model = small_model()
    assert evaluation.gradient_snr(model, x, 2, [Scaled(1.0), Scaled(2.0)]).shape == (4, 5)
    assert len(model.programs) == 2
