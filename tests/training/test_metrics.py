"""Metrics of a user's own in `compile`, and losses of a user's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import iwae_tf
from iwae_tf import layers, log_weights, objectives
from iwae_tf.metrics import LogWeightMean

from ..fixtures import small_model

WEIGHTS = np.linspace(0.1, 2.0, 20).astype(np.float32)


@keras.saving.register_keras_serializable(package="tests")
def bound(values):
    return log_weights.log_mean_exp(values)


def largest_error(x, reconstruction):
    return tf.reduce_max(abs(x - reconstruction), axis=(1, 2, 3))


@pytest.mark.parametrize("mode", [{"steps_per_execution": 2}, {"jit_compile": True}, {"run_eagerly": True}])
def test_metrics_compare_x_with_its_reconstruction(mode, x):
    """In training and in evaluation, with and without sample weights."""
    model = small_model(preprocessing=layers.StochasticBinarization("threshold"))
    _, scale = model.encoder[0].heads
    scale.kernel.assign(tf.zeros_like(scale.kernel))
    scale.bias.assign(tf.fill(scale.bias.shape, -30.0))  # z is the mean of q
    metrics = ["mse", largest_error, keras.metrics.AUC(20, name="auc")]
    weighted = [keras.metrics.MeanAbsoluteError()]
    model.compile(keras.optimizers.SGD(0.0), metrics=metrics, weighted_metrics=weighted, **mode)
    binary, means = x > 127, model.predict(x, verbose=0)
    errors = abs(binary - means)
    expected = {
        "mse": (errors**2).mean(),
        "largest_error": errors.max((1, 2, 3)).mean(),
        "mean_absolute_error": np.average(errors.mean((1, 2, 3)), weights=WEIGHTS),
    }
    logs = model.evaluate(x, batch_size=5, sample_weight=WEIGHTS, verbose=0, return_dict=True)
    history = model.fit(x, batch_size=5, sample_weight=WEIGHTS, verbose=0).history
    for name, value in expected.items():
        np.testing.assert_allclose([logs[name], history[name][0]], value, rtol=1e-5, err_msg=name)
    assert logs["auc"] == pytest.approx(history["auc"][0]) and 0 < logs["auc"] < 1
    model.compile("sgd")
    assert "mse" not in model.test_on_batch(x, return_dict=True)


@pytest.mark.parametrize(
    "objective", [objectives.ImportanceWeighted(5), objectives.ImportanceWeighted(20, backward_samples=5)]
)
def test_metrics_of_log_weights(objective, x):
    model = small_model(objective=objective)
    model.compile("sgd", metrics=[LogWeightMean(bound)], steps_per_execution=2)
    history = model.fit(x, batch_size=5, sample_weight=WEIGHTS, validation_data=x, verbose=0).history
    for prefix in ("", "val_"):
        np.testing.assert_allclose(history[f"{prefix}bound"], np.negative(history[f"{prefix}loss"]), rtol=1e-5)
    model.compile("sgd", metrics=[LogWeightMean(bound, name="again")])
    logs = model.evaluate(x, verbose=0, return_dict=True)
    assert "again" in logs and "bound" not in logs


def test_metrics_do_not_change_the_training(x):
    weights = []
    for metrics in (None, ["mse", LogWeightMean(bound)]):
        model = small_model()
        model.compile("sgd", metrics=metrics)
        model.fit(x, batch_size=5, epochs=2, verbose=0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_metrics_are_saved(x, tmp_path):
    model = small_model()
    model.compile("sgd", metrics=["mse", LogWeightMean(bound)])
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    expected, logs = (m.evaluate(x, verbose=0, return_dict=True) for m in (model, again))
    assert logs == pytest.approx(expected) and {"mse", "bound"} <= set(logs)


def test_metrics_under_a_strategy(x):
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = small_model()
        with pytest.raises(ValueError, match=r"several replicas. Received: \['mse'\]"):
            model.compile("sgd", metrics=["mse"])
        model.compile("sgd", metrics=[LogWeightMean(bound)])
    logs = model.evaluate(x, verbose=0, return_dict=True)
    assert logs["bound"] == pytest.approx(-logs["loss"], rel=1e-5)


def test_metrics_that_are_refused(model):
    with pytest.raises(ValueError, match=r"names other than loss, elbo.*Received: 'kl'"):
        model.compile("sgd", metrics=["kl"])
    with pytest.raises(ValueError, match=r"metrics must be a list of metrics. Received: 'mse'"):
        model.compile("sgd", metrics="mse")
    with pytest.raises(TypeError, match=r"a function of log weights. Received: 'mse'"):
        LogWeightMean("mse")


@pytest.mark.parametrize("name", ["iwae", "dreg", "rws"])
def test_the_loss_has_the_gradient_of_the_objective(name, x):
    """For a tape of a user's own, whatever its form, and before `compile`; all but `loss` is logged."""
    model, other = (small_model(objective=objectives.get(name, 5)) for _ in range(2))
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x)
    expected, metrics = other.compute_gradients((tf.constant(x), None, None), other.next_seed(), scale=False)
    assert float(loss) == pytest.approx(metrics["loss"].numpy().mean(), rel=1e-5)
    gradients = tape.gradient(loss, model.trainable_variables)
    for one, exact in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(one, exact, rtol=1e-5, atol=1e-7)
    logs = model.get_metrics_result()
    assert float(logs["elbo"]) == pytest.approx(metrics["elbo"].numpy().mean(), rel=1e-5)
    assert logs["loss"] == 0


class Decaying(iwae_tf.IWAE):
    """A loss with a term of a user's own."""

    def compute_loss(self, x, y, y_pred, sample_weight, training=True):
        decay = tf.add_n([tf.reduce_sum(tf.convert_to_tensor(v) ** 2) for v in self.trainable_variables])
        return super().compute_loss(x, y, y_pred, sample_weight, training) + 0.1 * decay


def test_a_loss_of_a_users_own_is_followed(x):
    model, base = small_model(), small_model()
    own = Decaying.from_config(model.get_config())
    own.set_weights(base.get_weights())
    before = base.trainable_variables[0].numpy()
    decay = 0.1 * sum((v.numpy() ** 2).sum() for v in base.trainable_variables)
    for each in (base, own):
        each.compile(keras.optimizers.SGD(0.5), steps_per_execution=2)
    logs, expected = (each.evaluate(x, verbose=0, return_dict=True) for each in (own, base))
    assert logs.pop("loss") == pytest.approx(expected.pop("loss") + decay, rel=1e-5)
    assert logs == pytest.approx(expected, rel=1e-5), "of the same draws"
    history, reference = (each.fit(x, verbose=0).history for each in (own, base))
    assert history["loss"][0] == pytest.approx(reference["loss"][0] + decay, rel=1e-5)
    step = own.trainable_variables[0].numpy() - base.trainable_variables[0].numpy()
    np.testing.assert_allclose(step, -0.5 * 0.1 * 2 * before, rtol=1e-3, atol=1e-6)
