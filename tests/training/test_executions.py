import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import iwae_tf
from iwae_tf import data, layers, objectives
from iwae_tf.layers import rules
from iwae_tf.training import executions

from ..fixtures import small_model

XLA = True


@pytest.fixture(scope="module")
def train(digits):
    return np.concatenate(list(digits.train.as_numpy_iterator()))[:250]


def compiled(steps="auto", jit_compile=False, **kwargs):
    model = small_model(**kwargs)
    model.compile(keras.optimizers.SGD(1e-2), steps_per_execution=steps, jit_compile=jit_compile)
    return model


def start_again(model, seed):
    """Gives a model of `small_model` the weights that another seed gives, and its optimiser none of its past."""
    fresh = small_model(seed=seed)
    for each in (model, fresh):
        each.build((None, 8, 8, 1))
    model.set_weights(fresh.get_weights())
    model.optimizer.build(model.trainable_variables)
    for variable in model.optimizer.variables:
        if variable is not model.optimizer.learning_rate:
            variable.assign(np.zeros_like(variable))


def batches(x, size):
    return tf.data.Dataset.from_tensor_slices(x).batch(size)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_number_of_steps_does_not_change_the_numbers(train, jit_compile):
    """250 rows in batches of 20: twelve full ones and one of ten; executions that end short, and a partial batch."""
    histories = []
    for steps in (1, 5) if jit_compile else (1, 5, 50):
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
        model.compile(keras.optimizers.SGD(1e-2), **mode)
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
        seen, event_shape = (), ()

        def get_metrics_result(self):
            return {}

        def rules(self, x):
            return [rules.finite(x)]

        def step(self, data):
            self.seen = (*self.seen, tuple(np.asarray(part).tolist() for part in data if part is not None))

    x, weight = np.arange(11), np.arange(11) / 2
    recorder = Recorder()
    recorder.run_eagerly = True
    data = tf.data.Dataset.from_tensor_slices((x, x, weight)).batch(3)
    iterator = iter(data.concatenate(data.take(1)))  # sizes 3 3 3 2 3
    function = executions.make_function(recorder, recorder.step, 2)
    function.largest = 0  # a recorder has no layers to ask of the first batch
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
    pipeline = batches(train, 20)
    model.fit(pipeline, validation_data=pipeline, epochs=2, verbose=0)
    assert traces, "the objective has been traced"
    count = len(traces)
    assert count <= 4, "one program each for full and partial batches, in training and in validation"
    model.fit(pipeline, validation_data=pipeline, epochs=2, verbose=0)
    assert len(traces) == count
    model.objective = Counting(5)
    model.fit(pipeline, verbose=0)
    assert len(traces) > count, "a new objective is compiled anew"


def test_auto_makes_few_executions_of_equal_length(train):
    assert executions.steps_per_execution(2980) == 100
    assert executions.steps_per_execution(149) == 75
    assert executions.steps_per_execution(65) == 65
    assert executions.steps_per_execution(None) == 10
    assert executions.steps_per_execution(2980, exact=True) == 20
    assert executions.steps_per_execution(2980, batch_bytes=executions.MOST_BYTES // 5) == 5
    assert executions.steps_per_execution(2980, batch_bytes=executions.MOST_BYTES * 2) == 1
    model = compiled()
    model.fit(batches(train, 2), verbose=0)
    assert model.steps_per_execution == 63
    assert int(model.optimizer.iterations) == 125


@pytest.mark.parametrize(("steps", "weighted"), [(4, False), (13, True)])
def test_whole_executions_are_the_same_as_batches(train, steps, weighted):
    """Data that come by the execution train bit for bit as those that come by the batch, a partial one included."""
    arrays = (train, None, np.linspace(0, 1, len(train), dtype=np.float32)) if weighted else train
    whole, single = data.batches(arrays, 20, seed=3), data.batches(arrays, 20, seed=3)
    del single.executions
    validation = data.batches(train[:50], 20, shuffle=False)
    plain = batches(train[:50], 20)
    one, other = compiled(steps), compiled(steps)
    # One epoch: Keras makes two iterators for every further one where it has no steps_per_epoch, and with them orders.
    a = one.fit(whole, validation_data=validation, verbose=0).history
    b = other.fit(single, validation_data=plain, verbose=0).history
    assert a == b
    assert int(one.optimizer.iterations) == 13
    for x, y in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(x, y)
    one.fit(whole, validation_data=validation, epochs=2, verbose=0)
    assert int(one.optimizer.iterations) == 39


def test_a_large_batch_is_shared_out(train):
    x, weights = tf.constant(train[:20]), tf.linspace(0.0, 1.0, 20)
    assert [len(share[0]) for share in executions.split_batch(x, 50)] == [10, 10]
    for whole in (executions.split_batch(x, 5), executions.split_batch(x[:19], 50)):
        assert len(whole) == 1
    halves = executions.split_batch((x, None, weights), 50)
    np.testing.assert_array_equal(np.concatenate([share[0] for share in halves]), x)
    np.testing.assert_array_equal(np.concatenate([share[2] for share in halves]), weights)


def test_the_fast_path_learns_the_same(train, monkeypatch):
    """Five seeds with and without XLA, halves and long executions: losses agree (paired t-test, false alarms 1e-3)."""
    seeds, losses = range(5), []
    for fast in (True, False):
        monkeypatch.setattr(executions, "FEWEST_ROWS", 500 if fast else 10**9)
        model = compiled("auto" if fast else 1, fast, objective=objectives.ImportanceWeighted(25))
        for seed in seeds:  # all with the one program
            start_again(model, seed)
            losses.append(model.fit(train, batch_size=20, epochs=4, verbose=0).history["loss"])
    fast, plain = np.reshape(losses, [2, len(seeds), -1])
    assert (fast[:, -1] < fast[:, 0] - 1).all(), "it has learnt"
    difference = (fast - plain)[:, -1]
    assert np.abs(difference.mean()) < 8.61 * difference.std(ddof=1) / np.sqrt(len(seeds))
    assert np.abs(difference.mean()) < 0.5


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_step_of_two_halves_is_that_of_the_whole(train, jit_compile):
    """Without chance (the posterior's scale is all but 0) the halves give the gradient of the whole, weights too."""
    weights = tf.linspace(0.0, 1.0, 20)
    models = []
    for fewest in (1, 10**9):
        model = small_model(objective=objectives.ELBO(2, analytic_kl=True))  # log q of a sample would bring chance in
        model.compile(keras.optimizers.SGD(0.1), jit_compile=jit_compile)  # Adam would blow rounding up
        model.optimizer.build(model.trainable_variables)
        model.preprocessing.mode = "threshold"
        model.encoder[0].heads[1].bias.assign(tf.fill([model.encoder[0].event_shape[0]], -16.0))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(executions, "FEWEST_ROWS", fewest)
            tf.function(model.train_step, jit_compile=jit_compile)((tf.constant(train[:20]), None, weights))
        models.append(model)
    for a, b in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)
    logs = [model.get_metrics_result() for model in models]
    np.testing.assert_allclose(logs[0]["loss"], logs[1]["loss"], rtol=1e-5)


class Remembering(layers.IndependentNormal):
    """A layer that keeps something of the batch, as batch normalisation does."""

    def build(self, input_shape):
        super().build(input_shape)
        self.rows = self.add_weight(shape=(), trainable=False, name="rows")

    def call(self, inputs):
        self.rows.assign(float(inputs.shape[0]))
        return super().call(inputs)


def test_a_network_with_state_sees_the_whole_batch(train, monkeypatch):
    monkeypatch.setattr(executions, "FEWEST_ROWS", 1)
    for layer, rows in ((Remembering(2), 20), (layers.IndependentNormal(2), 10)):
        model = iwae_tf.IWAE([layer], [layers.IndependentBernoulli((8, 8, 1))], layers.StandardNormal(2))
        model.compile()
        seen = []
        layer.distribution = lambda seen=seen, make=layer.distribution, **p: seen.append(len(p["loc"])) or make(**p)
        model.train_step((tf.cast(train[:20] > 0, tf.float32), None, None))
        assert set(seen) == {rows}


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
    model.compile("sgd")
    assert model.jit_compile
    with pytest.warns(UserWarning, match="XLA cannot compile") as caught:
        history = model.fit(train, epochs=2, verbose=0).history
    assert len([w for w in caught if "XLA" in str(w.message)]) == 1
    assert not model.jit_compile and np.isfinite(history["loss"]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(train, verbose=0)
