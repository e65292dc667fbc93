import keras
import numpy as np
import pytest
import tensorflow as tf

import iwae_tf
from iwae_tf import layers, objectives, random

from .fixtures import small_model
from .layers.test_layers import Plain

LOGS = {"loss", "elbo", "reconstruction", "kl", "effective_sample_size"}


def fit(model, x, epochs=1, compile_args=None, **kwargs):
    model.compile(keras.optimizers.SGD(1e-2), **({"jit_compile": False} if compile_args is None else compile_args))
    return model.fit(x, epochs=epochs, verbose=0, **kwargs).history


@pytest.fixture(scope="module")
def train(digits):
    """The first hundred training images."""
    return np.concatenate(list(digits.train.as_numpy_iterator()))[:100]


# --------------------------------------------------------------------------- the log weights and the loss


def test_log_weights_are_log_p_minus_log_q(x):
    """Against the densities written out with TFP, for one draw of two layers."""
    model = small_model(num_layers=2)
    seed = random.as_seed(5)
    seen = model.preprocess(x, seed)
    (q1, q2), (z1, z2) = model.infer(model.posterior(seen), 3, random.fold_in(seed, 1))
    p1, px = model.decoder[0](z2), model.decoder[1](z1)
    log_p = model.prior().log_prob(z2) + p1.log_prob(z1) + px.log_prob(seen)
    expected = log_p - q1.log_prob(z1) - q2.log_prob(z2)
    np.testing.assert_allclose(model.log_weights(x, 3, seed=seed), expected, rtol=1e-5)
    assert z1.shape == (3, 20, 8) and z2.shape == (3, 20, 7)


def test_upper_layers_see_the_sample_below_not_its_mean(x):
    model = small_model(num_layers=2)
    (_, q2), (z1, _) = model.infer(model.posterior(model.preprocess(x, random.as_seed(0))), 3, random.as_seed(0))
    np.testing.assert_allclose(q2.mean(), model.encoder[1](z1).mean(), rtol=1e-6)


@pytest.mark.parametrize("compile_args", [{}, {"jit_compile": True}, {"run_eagerly": True}])
def test_loss_is_the_bound_of_the_log_weights(x, compile_args):
    """evaluate's loss is the mean of -(logsumexp log w - log k) over the batch, in every mode of execution."""
    model = small_model()
    model.compile("sgd", **compile_args)
    losses = [model.evaluate(x, batch_size=20, verbose=0, return_dict=True)["loss"] for _ in range(30)]
    bounds = [-float(tf.reduce_mean(model.objective.bound(model.log_weights(x, 5)))) for _ in range(30)]
    spread = np.std(losses, ddof=1) + np.std(bounds, ddof=1)
    assert abs(np.mean(losses) - np.mean(bounds)) < 5 * spread / 30**0.5  # false alarm below 1e-5


def test_logs_are_consistent(model, train):
    history = fit(model, train, epochs=2)
    assert set(history) == LOGS
    np.testing.assert_allclose(history["elbo"], np.subtract(history["reconstruction"], history["kl"]), rtol=1e-5)
    assert (np.negative(history["loss"]) > history["elbo"]).all()
    assert 1 <= history["effective_sample_size"][0] <= 5


def test_training_raises_the_bound(digits):
    model = small_model(mean=digits.mean)
    model.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    history = model.fit(digits.train, epochs=5, validation_data=digits.validation, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] - 1
    assert history["val_loss"][-1] < history["val_loss"][0]


@pytest.mark.parametrize("num_layers", [1, 3, 5])  # 2 and 4 in many other tests, 7 in test_hierarchy.py
def test_any_depth(num_layers, train):
    model = small_model(num_layers)
    history = fit(model, train)
    assert np.isfinite(history["loss"]).all()
    assert len(model.latent_shapes) == num_layers
    assert model.sample(3, seed=0).shape == (3, 8, 8, 1)


def test_kl_weight_tempers_the_log_weights(model, x):
    at = {}
    for weight in (0.0, 0.5, 1.0):
        model.kl_weight.assign(weight)
        at[weight] = model.log_weights(x, 4, seed=1).numpy()
    np.testing.assert_allclose(at[0.5], (at[0.0] + at[1.0]) / 2, rtol=1e-4)
    score = model.log_likelihood(x, 10, seed=1)
    model.kl_weight.assign(0.0)
    np.testing.assert_array_equal(model.log_likelihood(x, 10, seed=1), score)


def test_beta(x):
    """beta-VAE: E log p(x|z) - beta KL."""
    model = small_model(objective=objectives.ELBO(num_samples=2, beta=3.0))
    model.compile("sgd")
    logs = model.evaluate(x, verbose=0, return_dict=True)
    np.testing.assert_allclose(-logs["loss"], logs["reconstruction"] - 3 * logs["kl"], rtol=1e-5)


@pytest.mark.parametrize("num_layers", [1, 3])
def test_analytic_kl_has_the_same_mean_and_less_variance(x, num_layers):
    losses = {}
    for analytic in (False, True):
        model = small_model(num_layers, objectives.ELBO(num_samples=50, analytic_kl=analytic), seed=1)
        model.compile("sgd", run_eagerly=False)
        losses[analytic] = [model.evaluate(x, verbose=0, return_dict=True)["kl"] for _ in range(20)]
    spread = np.std(losses[False], ddof=1) + np.std(losses[True], ddof=1)
    assert abs(np.mean(losses[False]) - np.mean(losses[True])) < 5 * spread / 20**0.5  # false alarm below 1e-5
    if num_layers == 1:  # with more, the Monte Carlo part of the layers below outweighs what the top one saves
        assert np.std(losses[True]) < np.std(losses[False])


# --------------------------------------------------------------------------- gradients


def test_gradient_is_that_of_the_definition(x):
    """train_step's gradient against autodiff of -mean(logsumexp(log w) - log k) written out, same seed."""
    model = small_model(num_layers=2)
    model.compile("sgd")
    seed = tf.cast(model.seed_generator.state.value, tf.int32)
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(tf.reduce_logsumexp(model.log_weights(x, 5, seed=seed), 0) - np.log(5.0))
    expected = tape.gradient(loss, model.trainable_variables)
    for actual, value in zip(model._gradients(x), expected, strict=True):
        np.testing.assert_allclose(actual, value, rtol=1e-3, atol=1e-5)


def test_path_gradients_equal_their_definition(x):
    """STL and DReG, three layers, against a separate backward pass for every sample."""
    for gradient, factor in (("path", lambda w: w), ("doubly_reparameterized", lambda w: w**2)):
        model = small_model(3, objectives.ImportanceWeighted(4, gradient))
        model.compile("sgd")
        seed = tf.cast(model.seed_generator.state.value, tf.int32)
        actual = model._gradients(x)
        seen = model.preprocess(x, seed)

        def log_weights(seen=seen, seed=seed, model=model):
            _, z = model.infer(model.posterior(seen), 4, random.fold_in(seed, 1))
            frozen = model.get_weights()
            held = small_model(3)
            held.set_weights(frozen)  # another set of variables: the density's parameters are constants
            fixed = [held.encoder[0](seen), held.encoder[1](z[0]), held.encoder[2](z[1])]
            return model.score(seen, z, fixed).log_weights()

        w = tf.nn.softmax(log_weights(), 0)
        phi = [v for layer in model.encoder for v in layer.trainable_variables]
        with tf.GradientTape() as tape:
            surrogate = -tf.reduce_mean(tf.reduce_sum(factor(w) * log_weights(), 0))
        expected = {id(v): g for v, g in zip(phi, tape.gradient(surrogate, phi), strict=True)}
        for v, g in zip(model.trainable_variables, actual, strict=True):
            if id(v) in expected:
                np.testing.assert_allclose(g, expected[id(v)], rtol=2e-3, atol=1e-5)


def test_estimators_agree_on_the_generative_gradient(x):
    grads = []
    for gradient in ("reparameterized", "path", "doubly_reparameterized"):
        model = small_model(2, objectives.ImportanceWeighted(5, gradient))
        model.compile("sgd")
        named = zip(model.trainable_variables, model._gradients(x), strict=True)
        theta = {id(v) for layer in model.decoder for v in layer.trainable_variables}
        grads.append([g.numpy() for v, g in named if id(v) in theta])
    for other in grads[1:]:
        for a, b in zip(grads[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)


def test_doubly_reparameterized_has_the_mean_of_the_reparameterized_and_less_variance(linear_gaussian):
    x = linear_gaussian.sample(10)
    draws = {}
    for gradient in ("reparameterized", "doubly_reparameterized"):
        model = linear_gaussian.model(0.1, objectives.ImportanceWeighted(8, gradient))
        model.compile("sgd")
        step = tf.function(lambda m=model: m._gradients(tf.constant(x))[:2])
        draws[gradient] = np.array([np.concatenate([g.numpy().ravel() for g in step()]) for _ in range(400)])
    plain, doubly = draws["reparameterized"], draws["doubly_reparameterized"]
    error = np.sqrt((plain.var(0, ddof=1) + doubly.var(0, ddof=1)) / 400)
    assert (abs(plain.mean(0) - doubly.mean(0)) < 5 * error).all()  # 12 comparisons: false alarm below 1e-5
    assert doubly.var(0).sum() < 0.5 * plain.var(0).sum()


# --------------------------------------------------------------------------- as any Keras model


def test_partial_batch_and_sample_weight(train):
    """Rows of weight 0 do not count: the gradient of a batch with them equals that of the rest, rescaled."""
    model = small_model(preprocessing=layers.StochasticBinarization("threshold"))
    model.compile("sgd")
    weights = np.r_[np.ones(20), np.zeros(13)].astype(np.float32)
    logs = model.evaluate(train[:33], sample_weight=weights, batch_size=33, verbose=0, return_dict=True)
    assert np.isfinite(logs["loss"])
    state = model.seed_generator.state.numpy()
    weighted = model._gradients((train[:33], None, weights))
    model.seed_generator.state.assign(state)
    all_rows = model._gradients((train[:33], None, np.ones(33, np.float32)))
    assert any(abs(a - b).numpy().max() > 1e-4 for a, b in zip(weighted, all_rows, strict=True))
    fit(small_model(), train, batch_size=32, sample_weight=np.ones(100))  # 100 = 3 x 32 + 4


def test_every_row_counts_once_in_evaluate(x):
    model = small_model(objective=objectives.ELBO(1), preprocessing=layers.StochasticBinarization("threshold"))
    model.compile("sgd")
    model.evaluate(x, batch_size=7, verbose=0)
    assert float(model.metrics[0].count) == len(x)


@pytest.mark.parametrize("compile_args", [{}, {"jit_compile": True, "steps_per_execution": 3}, {"run_eagerly": True}])
def test_modes_of_execution(train, compile_args):
    history = fit(small_model(), train, epochs=2, compile_args=compile_args, batch_size=30, validation_split=0.2)
    assert set(history) == LOGS | {f"val_{name}" for name in LOGS}
    assert np.isfinite(history["loss"]).all()


def test_kinds_of_data(train):
    model = small_model()
    fit(model, tf.data.Dataset.from_tensor_slices(train).batch(20))
    fit(model, tf.data.Dataset.from_tensor_slices((train, np.arange(100))).batch(20))
    fit(model, train.astype(np.float64) / 255, validation_data=train[:7])
    fit(model, tf.constant(train), validation_data=(train[:7], train[:7]))
    fit(model, train, y=train)
    fit(model, ((batch,) for batch in [train[:20]] * 3))
    assert model.predict(train, verbose=0).shape == train.shape


def test_callbacks_and_learning_rate_schedule(train):
    stop = keras.callbacks.EarlyStopping("val_loss", patience=0, min_delta=1e9)
    model = small_model()
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(1e-3, 10, 0.5), clipnorm=1.0))
    history = model.fit(train, epochs=5, validation_split=0.2, callbacks=[stop], verbose=0)
    assert len(history.epoch) == 2


def test_same_seed_same_history(train):
    def run(seed, x=train):
        model = small_model(seed=seed)
        history = fit(model, x, epochs=2, batch_size=20, validation_split=0.1)
        return history, model.get_weights()

    (first, weights), (second, again), (other, _) = run(0), run(0), run(1)
    assert first == second
    for a, b in zip(weights, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert first["loss"] != other["loss"]


def test_same_seed_same_history_from_a_dataset(digits):
    def run(seed):
        splits = iwae_tf.data.load("digits", seed=seed)
        return fit(small_model(seed=seed), splits.train, epochs=2, validation_data=splits.validation)

    assert run(0) == run(0)
    assert run(0) != run(1)


def test_noise_differs_between_steps_and_repeats_with_a_seed(model, x):
    assert (model.log_weights(x, 3).numpy() != model.log_weights(x, 3).numpy()).all()
    np.testing.assert_array_equal(model.log_weights(x, 3, seed=4), model.log_weights(x, 3, seed=4))
    np.testing.assert_array_equal(model.sample(4, seed=4), model.sample(4, seed=4))
    np.testing.assert_array_equal(model.reconstruct(x, seed=4), model.reconstruct(x, seed=4))


def test_switching_the_objective_keeps_weights_and_optimizer(train):
    model = small_model(objective=objectives.ELBO())
    fit(model, train)
    iterations, weights = int(model.optimizer.iterations), model.get_weights()
    model.objective = objectives.ImportanceWeighted(7)
    for a, b in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    model.fit(train, verbose=0)
    assert int(model.optimizer.iterations) > iterations
    assert model.metrics[-1].result() > 1, "the new objective draws seven samples"


def test_save_and_load(train, x, tmp_path):
    model = small_model(num_layers=2, mean=0.3)
    fit(model, train)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    assert again.objective == model.objective and again.data_dtype == "uint8"
    np.testing.assert_array_equal(again.log_likelihood(x, 20, seed=1), model.log_likelihood(x, 20, seed=1))
    first, second = (m.fit(train, batch_size=20, epochs=2, verbose=0).history for m in (model, again))
    assert first == second, "training goes on as if there had been no reload: optimiser, seeds and order"
    assert again.steps_per_execution == model.steps_per_execution > 1


def test_save_and_load_of_a_float64_model(x, tmp_path):
    keras.config.set_dtype_policy("float64")
    try:
        model = small_model()
        assert model.log_weights(x, 3, seed=0).dtype == tf.float64
        model.save(tmp_path / "m.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.log_weights(x, 3, seed=0), model.log_weights(x, 3, seed=0))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains(train, policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = small_model(2, objectives.ImportanceWeighted(5, "doubly_reparameterized"))
        history = fit(model, train, epochs=2)
        weights = model.log_weights(train[:4], 3)
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(history["loss"]).all() and weights.dtype == tf.float32


def test_layers_of_a_users_own(train, tmp_path):
    """Any Keras layer that returns a distribution, built by the first data that the model sees."""
    model = iwae_tf.IWAE(
        encoder=[layers.IndependentNormal(4, hidden=(8,)), Plain(3)],
        decoder=[Plain(4), layers.IndependentBernoulli((8, 8, 1), hidden=(8,))],
        prior=layers.StandardNormal(3),
        objective=objectives.ImportanceWeighted(5, "doubly_reparameterized"),
        preprocessing=layers.StochasticBinarization(),
        seed=0,
    )
    history = fit(model, train, epochs=3)
    assert history["loss"][-1] < history["loss"][0]
    assert model.log_weights(train[:6], 3).shape == (3, 6)
    model.objective = objectives.ELBO(5)
    fit(model, train, compile_args={"jit_compile": True})
    path = iwae_tf.export(model, tmp_path / "saved_model", 10)
    scores = tf.saved_model.load(str(path)).signatures["serving_default"](x=tf.constant(train[:10]))
    np.testing.assert_array_equal(scores["log_likelihood"], model.log_likelihood(train[:10], 10, seed=0))


class GaussianPixels(keras.layers.Layer):
    """A user's own likelihood."""

    def build(self, input_shape):
        self.dense = keras.layers.Dense(4)
        self.dense.build(input_shape)

    def call(self, z):
        from .layers.test_layers import tfd

        return tfd.Independent(tfd.Normal(self.dense(z), 1.0), 1)


def test_likelihood_of_a_users_own_is_built_by_the_data():
    x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    model = iwae_tf.IWAE([layers.IndependentNormal(2)], [GaussianPixels()], layers.StandardNormal(2), seed=0)
    assert not model.built
    fit(model, x)
    assert model.event_shape == (4,) and model.reconstruct(x).shape == (30, 4)


def test_summary_counts_the_weights(model, capsys):
    model.summary()
    output = capsys.readouterr().out
    assert "independent_normal" in output and f"{model.count_params():,} parameters" in output


def test_encode_and_shapes(model, x):
    q = model.encode(x)
    assert q.batch_shape == (20,) and q.event_shape == (8,)
    assert model(x).shape == model.reconstruct(x).shape == (20, 8, 8, 1)
    assert model.sample(1).shape == (1, 8, 8, 1)


# --------------------------------------------------------------------------- bad input

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 1), dtype=np.uint8)
BAD = {
    "shape": (IMAGES[:, :7], ValueError, r"shape \[n, 8, 8, 1\]. Received: shape \(\w+, 7, 8, 1\)"),
    "flat": (IMAGES.reshape(10, 64), ValueError, "Received: shape"),
    "one": (IMAGES[0], ValueError, "Received: shape"),
    "empty": (IMAGES[:0], ValueError, "at least one observation"),
    "range": (IMAGES.astype(np.float32), ValueError, r"floats in \[0, 1\]. Received: values from 0 to 255"),
    "negative": (-IMAGES.astype(np.float32) / 255, ValueError, r"in \[0, 1\]"),
    "nan": (np.full((3, 8, 8, 1), np.nan, np.float32), ValueError, "NaN"),
    "infinite": (np.full((3, 8, 8, 1), np.inf, np.float32), ValueError, "infinite"),
    "integers": (IMAGES.astype(np.int32), TypeError, "uint8"),
    "text": (np.full((3, 8, 8, 1), "a"), TypeError, "numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data(model, case):
    x, error, message = BAD[case]
    model.compile("sgd")
    calls = [model.fit, model.evaluate, model.predict, model.encode, model.reconstruct, model.log_likelihood]
    calls += [lambda x: model.log_weights(x, 3), lambda x: model.fit(IMAGES, validation_data=(x, None))]
    if case != "text" and len(x):
        calls.append(lambda x: model.fit(tf.data.Dataset.from_tensor_slices(x).batch(5)))
    for call in calls:
        with pytest.raises(error, match=message):
            call(x)


def test_not_compiled(model):
    for call in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=r"compile\(\)"):
            call(IMAGES)


def test_empty_dataset(model):
    model.compile("sgd")
    with pytest.raises(ValueError, match="an empty dataset"):
        model.fit(tf.data.Dataset.from_tensor_slices(IMAGES).take(0).batch(5))


def test_values_for_a_bernoulli_without_preprocessing():
    model = small_model(preprocessing=None)
    with pytest.raises(ValueError, match="Bernoulli likelihood"):
        model.log_weights(IMAGES, 3)
    assert model.log_weights(IMAGES > 127, 3).shape == (3, 10)


@pytest.mark.parametrize("k", [0, -5, 2.5])
def test_bad_number_of_samples(model, k):
    for call in (model.log_weights, model.log_likelihood):
        with pytest.raises(ValueError, match="num_samples must be a positive integer"):
            call(IMAGES, k)
    with pytest.raises(ValueError, match="n must be a positive integer"):
        model.sample(k)


def test_bad_architecture():
    normal, bernoulli = layers.IndependentNormal, layers.IndependentBernoulli
    with pytest.raises(ValueError, match="as many encoder as decoder layers"):
        iwae_tf.IWAE([normal(3), normal(2)], [bernoulli(4)], layers.StandardNormal(2))
    with pytest.raises(ValueError, match="at least one"):
        iwae_tf.IWAE([], [], layers.StandardNormal(2))
    with pytest.raises(ValueError, match="agree on the event shapes"):
        iwae_tf.IWAE([normal(3)], [bernoulli(4)], layers.StandardNormal(2))
    with pytest.raises(ValueError, match="agree on the event shapes"):
        iwae_tf.IWAE([normal(3), normal(2)], [normal(4), bernoulli(4)], layers.StandardNormal(2))
    with pytest.raises(TypeError, match="Keras layer"):
        iwae_tf.IWAE([lambda x: x], [bernoulli(4)], layers.StandardNormal(2))
    with pytest.raises(TypeError, match="Objective"):
        iwae_tf.IWAE([normal(3)], [bernoulli(4)], layers.StandardNormal(3), objective="iwae")
    with pytest.raises(ValueError, match="one sequence of widths for each latent size"):
        iwae_tf.mlp((8, 8, 1), (3, 2), ((4,),))


def test_no_loss_to_compile(model):
    for name in ("loss", "loss_weights"):
        with pytest.raises(ValueError, match=f"Expected no {name}"):
            model.compile("sgd", **{name: "mse"})
