"""Layers that behave differently in training: dropout, batch normalisation, augmentation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import iwae_tf
from iwae_tf import layers, objectives, random
from iwae_tf.training import executions, gradients
from iwae_tf.training.executions import get_variables

X = np.random.default_rng(0).normal(2, 3, size=(40, 6)).astype(np.float32)
OBJECTIVES = {
    "elbo": objectives.ELBO(3),
    "iwae": objectives.ImportanceWeighted(4),
    "dreg": objectives.ImportanceWeighted(4, "doubly_reparameterized"),
    "stl": objectives.ImportanceWeighted(4, "path"),
    "wake-sleep": objectives.ReweightedWakeSleep(4),
    "piwae": objectives.PIWAE(2, 2),
}


class Phases(keras.layers.Layer):
    """Counts the calls in training and outside of it, in variables that a compiled loop keeps."""

    def build(self, input_shape):
        self.calls = self.add_weight(shape=(2,), initializer="zeros", trainable=False, name="calls")
        self.built = True

    def call(self, inputs, training=None):
        self.calls.assign_add([1.0, 0.0] if training else [0.0, 1.0])
        return inputs

    def compute_output_shape(self, input_shape):
        return input_shape


class Mine(keras.layers.Layer):
    """A user's own stochastic layer."""

    def __init__(self, phases, **kwargs):
        super().__init__(**kwargs)
        self.phases, self.inner = phases, layers.IndependentNormal(2)

    def call(self, inputs, training=None):
        return self.inner(self.phases(inputs))


class MyPrior(layers.StandardNormal):
    """A prior with a layer in it."""

    def __init__(self, phases, **kwargs):
        super().__init__(2, **kwargs)
        self.phases = phases

    def call(self, *args):
        self.phases(tf.zeros([1]))
        return super().call(*args)


def watched(objective):
    """A model with a `Phases` in q's network, a user's own layer, p's network, the prior and the preprocessing."""
    parts = {name: Phases(name=name) for name in ("network", "own", "decoder", "prior", "preprocessing")}
    model = iwae_tf.IWAE(
        [layers.IndependentNormal(3, network=parts["network"]), Mine(parts["own"])],
        [layers.IndependentNormal(3), layers.IndependentNormal(6, network=parts["decoder"])],
        MyPrior(parts["prior"]),
        objective=objective,
        preprocessing=parts["preprocessing"],
        seed=0,
    )
    model.compile("sgd")
    model.predict(X[:4], verbose=0)
    return model, parts


def calls(parts):
    counts = {name: part.calls.numpy() for name, part in parts.items()}
    for part in parts.values():
        part.calls.assign([0.0, 0.0])
    return counts


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_layer_sees_the_phase(name, tmp_path):
    model, parts = watched(OBJECTIVES[name])
    model.fit(X, batch_size=20, epochs=2, verbose=0, shuffle=False)
    model.fit(X, batch_size=20, verbose=0, shuffle=False)
    calls(parts)
    model.train_step((tf.constant(X), None, None))
    for part, (inside, outside) in calls(parts).items():
        assert inside > 0 and outside == 0, part
    uses = {
        "evaluate": lambda: model.evaluate(X, verbose=0),
        "log_weights": lambda: model.log_weights(X, 2),
        "log_likelihood": lambda: model.log_likelihood(X, 2),
        "reconstruct": lambda: model.reconstruct(X),
        "sample": lambda: model.sample(2),
        "predict": lambda: model.predict(X, verbose=0),
        "encode": lambda: model.encode(X),
        "active_units": lambda: iwae_tf.evaluation.active_units(model, X),
    }
    for use, run in uses.items():
        run()
        assert all(inside == 0 for inside, _ in calls(parts).values()), use


def normalised(objective, rate=0.0, layer=keras.layers.BatchNormalization, ladder=False):
    keras.utils.set_random_seed(0)
    network = [keras.layers.Dense(8, "tanh"), layer(), keras.layers.Dropout(rate, seed=1)]
    model = iwae_tf.IWAE(
        [layers.IndependentNormal(2, network=keras.Sequential(network))],
        [layers.IndependentNormal(6, hidden=(8,), scale="shared")],
        layers.StandardNormal(2),
        objective=objective,
        seed=0,
        ladder=ladder,
    )
    model.compile(keras.optimizers.SGD(0.0))
    return model


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_batch_normalisation_learns_each_batch_once(name, jit_compile):
    """Against the moving averages of the hidden layer by hand, with k samples, DReG and long executions."""
    model = normalised(OBJECTIVES[name])
    model.compile(keras.optimizers.SGD(0.0), jit_compile=jit_compile, steps_per_execution=3)
    dense, norm, _ = model.encoder[0].network.layers
    hidden = np.tanh(X @ dense.kernel.numpy() + dense.bias.numpy())
    model.fit(X, batch_size=10, epochs=2, shuffle=False, verbose=0)
    mean, variance = np.zeros(8), np.ones(8)
    for batch in [*hidden.reshape(4, 10, 8)] * 2:
        mean = 0.99 * mean + 0.01 * batch.mean(0)
        variance = 0.99 * variance + 0.01 * batch.var(0)
    if name == "wake-sleep":  # whose sleep, off by default, would show q its dreams
        assert model.objective.sleep == 0
    np.testing.assert_allclose(norm.moving_mean, mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(norm.moving_variance, variance, rtol=1e-4)


def test_evaluation_uses_the_moving_averages():
    model = normalised(objectives.ELBO(50))
    before = model.evaluate(X, verbose=0)
    model.encoder[0].network.layers[1].moving_mean.assign(np.full(8, 3.0))
    assert abs(model.evaluate(X, verbose=0)[0] - before[0]) > 0.1
    np.testing.assert_array_equal(model.encoder[0].network.layers[1].moving_mean, 3.0)


@pytest.mark.parametrize("ladder", [False, True])
@pytest.mark.parametrize("gradient", ["path", "doubly_reparameterized"])
def test_the_density_of_a_sample_has_the_dropout_that_drew_it(gradient, ladder):
    """The bound of the path gradients, which ask the encoder anew, is that of the same samples drawn once."""
    losses = []
    for kind in ("reparameterized", gradient):
        model = normalised(objectives.ImportanceWeighted(4, kind), rate=0.5, ladder=ladder)
        x, seed = tf.constant(X), random.as_seed(3)
        with model.phase(training=True):
            _, values = gradients.compute(model, model.objective, x, seed)
        losses.append(values["loss"])
        states = [v.numpy() for v in model.state()]
        losses.append(np.concatenate([np.ravel(state) for state in states]))
    np.testing.assert_allclose(losses[0], losses[2], rtol=1e-5)
    np.testing.assert_array_equal(losses[1], losses[3], err_msg="the seeds have gone on by one call, not by two")


def test_dropout_drops_in_fit_and_nowhere_else():
    model = normalised(objectives.ELBO(1), rate=0.5)
    x, seed = tf.constant(X), random.as_seed(0)
    with model.phase(training=True):
        means = [model.posterior(x).mean().numpy() for _ in range(2)]
    assert (means[0] != means[1]).any()
    np.testing.assert_array_equal(model.encode(X).mean(), model.encode(X).mean())
    one = model.log_weights(X, 2, seed=seed)
    np.testing.assert_array_equal(one, model.log_weights(X, 2, seed=seed))


def test_chosen_samples_refuse_networks_with_state():
    model = normalised(objectives.ImportanceWeighted(4, backward_samples=1))
    with pytest.raises(ValueError, match=r"backward_samples. Received: some with state, .*, such as dropout"):
        model.fit(X, verbose=0)


def test_halves_are_for_networks_without_state(monkeypatch):
    monkeypatch.setattr(executions, "FEWEST_ROWS", 1)
    model = normalised(objectives.ELBO(1))
    assert model.state()
    frozen = iwae_tf.mlp((6,), (2,), ((4,),), likelihood="normal", objective=objectives.ELBO(1))
    frozen.encoder[0].trainable = False
    assert not frozen.state(), "frozen weights are no state"


def test_augmentation_in_training_alone():
    images = np.random.default_rng(0).random((20, 8, 8, 1)).astype(np.float32)
    shift = keras.layers.RandomTranslation(0.5, 0.5, fill_mode="constant", seed=0)
    model = iwae_tf.mlp((8, 8, 1), (2,), ((8,),), objective=objectives.ELBO(1), preprocessing=shift, seed=0)
    model.compile("sgd")
    history = model.fit(images, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    np.testing.assert_allclose(model.preprocess(images, random.as_seed(0)), images, atol=1e-6)
    with model.phase(training=True):
        assert np.abs(model.preprocess(images, random.as_seed(0)) - images).max() > 0.1


def test_a_resumed_training_is_the_unbroken_one(tmp_path):
    """Moving averages and the seeds of dropout are among what a checkpoint keeps."""
    unbroken, broken = (normalised(objectives.ELBO(2), rate=0.3) for _ in range(2))

    def data():
        return iwae_tf.data.batches(X, 10, seed=0)

    for model in (unbroken, broken):
        model.compile(keras.optimizers.SGD(1e-2))
    unbroken.fit(data(), epochs=3, verbose=0)
    broken.fit(data(), epochs=1, verbose=0)
    state = [v.numpy() for v in get_variables(broken)]
    resumed = normalised(objectives.ELBO(2), rate=0.3)
    resumed.compile(keras.optimizers.SGD(1e-2))
    resumed.build_optimizer()
    for variable, value in zip(get_variables(resumed), state, strict=True):
        variable.assign(value)
    resumed.fit(data(), initial_epoch=1, epochs=3, verbose=0)
    for one, other in zip(get_variables(unbroken), get_variables(resumed), strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.path)


def test_saved_averages_score_the_same(tmp_path):
    model = normalised(objectives.ELBO(2), rate=0.3)
    model.compile(keras.optimizers.SGD(1e-2))
    model.fit(X, epochs=3, verbose=0)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    scores = model.log_likelihood(X, 20, seed=0)
    np.testing.assert_array_equal(again.log_likelihood(X, 20, seed=0), scores)
    exported = tf.saved_model.load(str(iwae_tf.export(model, tmp_path / "m", 20)))
    np.testing.assert_allclose(exported.log_likelihood(tf.constant(X))["log_likelihood"], scores, rtol=1e-6)
