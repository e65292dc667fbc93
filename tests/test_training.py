import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from iwae_tf import layers, objectives, training

from .conftest import small_model


@pytest.fixture(scope="module")
def train(digits):
    return np.concatenate(list(digits.train.as_numpy_iterator()))[:250]


def compiled(steps="auto", jit_compile=False, **kwargs):
    model = small_model(**kwargs)
    model.compile(keras.optimizers.Adam(1e-3), steps_per_execution=steps, jit_compile=jit_compile)
    return model


def batches(x, size):
    return tf.data.Dataset.from_tensor_slices(x).batch(size)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_number_of_steps_does_not_change_the_numbers(train, jit_compile):
    """250 rows in batches of 20: twelve full ones and one of ten; executions that end short, and a partial batch."""
    histories = []
    for steps in (1, 5, 50):
        model = compiled(steps, jit_compile)
        histories.append(model.fit(batches(train, 20), validation_data=batches(train[:50], 20), epochs=2, verbose=0))
        assert int(model.optimizer.iterations) == 26
    for other in histories[1:]:
        for name, values in histories[0].history.items():
            np.testing.assert_allclose(values, other.history[name], rtol=2e-4, err_msg=name)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_eager_graph_and_xla_give_the_same_numbers(train, num_layers):
    """Draws are the same in all three, so curves agree up to rounding."""
    histories = []
    for mode in ({"run_eagerly": True}, {"jit_compile": False}, {"jit_compile": True}):
        model = small_model(num_layers)
        model.compile(keras.optimizers.Adam(1e-3), **mode)
        histories.append(model.fit(train, batch_size=50, validation_split=0.2, epochs=2, verbose=0).history)
    for other in histories[1:]:
        for name, values in histories[0].items():
            np.testing.assert_allclose(values, other[name], rtol=1e-3, err_msg=name)


def test_one_program_step_is_the_train_step(train):
    """Against train_step called by hand, batch by batch: the same weights."""
    by_fit, by_hand = compiled(7), compiled(7)
    by_fit.fit(batches(train, 20), verbose=0)
    step = tf.function(by_hand.train_step)
    for x in batches(train, 20):
        step(x)
    for a, b in zip(by_fit.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_every_batch_is_seen_once_in_order_with_its_weights():
    class Recorder(keras.Model):
        seen = ()

        def get_metrics_result(self):
            return {}

        def step(self, data):
            self.seen = (*self.seen, tuple(np.asarray(part).tolist() for part in data if part is not None))

    x, weight = np.arange(11), np.arange(11) / 2
    recorder = Recorder()
    recorder.run_eagerly = True
    data = tf.data.Dataset.from_tensor_slices((x, x, weight)).batch(3)
    iterator = iter(data.concatenate(data.take(1)))  # sizes 3 3 3 2 3
    function = training.make_function(recorder, recorder.step, 2)
    for _ in range(3):
        function(iterator)
    with pytest.raises(StopIteration):
        function(iterator)
    expected = [(x[i : i + 3].tolist(), weight[i : i + 3].tolist()) for i in (0, 3, 6, 9, 0)]
    assert list(recorder.seen) == expected


def test_second_fit_traces_nothing(train):
    traces = []

    class Counting(objectives.ImportanceWeighted):
        def bound(self, log_weights):
            traces.append(log_weights.shape)
            return super().bound(log_weights)

    model = compiled(objective=Counting(5))
    data = batches(train, 20)
    model.fit(data, validation_data=data, epochs=2, verbose=0)
    assert traces, "the objective has been traced"
    count = len(traces)
    assert count <= 4, "one program each for full and partial batches, in training and in validation"
    model.fit(data, validation_data=data, epochs=2, verbose=0)
    assert len(traces) == count
    model.objective = Counting(5)
    model.fit(data, verbose=0)
    assert len(traces) > count, "a new objective is compiled anew"


def test_auto_divides_the_epoch(train):
    assert training.steps_per_execution(2980) == 20
    assert training.steps_per_execution(65) == 65
    assert training.steps_per_execution(1200) == 100
    assert training.steps_per_execution(None) == 10
    model = compiled()
    model.fit(batches(train, 10), verbose=0)
    assert model.steps_per_execution == 25


def test_callbacks_see_every_execution_and_can_stop(train):
    class Watch(keras.callbacks.Callback):
        ends: tuple = ()

        def on_train_batch_end(self, batch, logs=None):
            self.ends = (*self.ends, batch)
            if batch >= 5:
                self.model.stop_training = True

    watch = Watch()
    model = compiled(3)
    model.fit(batches(train, 20), epochs=3, callbacks=[watch], verbose=0)
    assert watch.ends == (2, 5)
    assert int(model.optimizer.iterations) == 6


def test_steps_per_epoch(train):
    model = compiled(4)
    history = model.fit(batches(train, 20).repeat(), steps_per_epoch=10, epochs=2, verbose=0)
    assert int(model.optimizer.iterations) == 24, "as in Keras, whole executions of four"
    assert len(history.epoch) == 2


class Uncompilable(layers.IndependentNormal):
    """A layer with an operation that XLA does not have."""

    def call(self, inputs):
        tf.strings.as_string(tf.reduce_sum(inputs))
        inputs = tf.py_function(lambda x: x, [inputs], inputs.dtype) * 1.0
        return super().call(tf.reshape(inputs, [-1, 8, 8, 1]))


def test_falls_back_from_xla_with_one_warning(train):
    from iwae_tf import IWAE

    model = IWAE(
        [Uncompilable(4)],
        [layers.IndependentBernoulli((8, 8, 1))],
        layers.StandardNormal(4),
        objective=objectives.ImportanceWeighted(3),
        preprocessing=layers.StochasticBinarization(),
        seed=0,
    )
    model.compile("adam")
    assert model.jit_compile
    with pytest.warns(UserWarning, match="XLA cannot compile") as caught:
        history = model.fit(train, epochs=2, verbose=0).history
    assert len([w for w in caught if "XLA" in str(w.message)]) == 1
    assert not model.jit_compile and np.isfinite(history["loss"]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(train, verbose=0)
