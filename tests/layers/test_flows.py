"""Flows as posteriors and as priors: their densities, one pass for both, and life inside a model."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import iwae_tf
from iwae_tf import layers, objectives
from iwae_tf.layers.flow_steps import PlanarStep
from iwae_tf.layers.masked import MADE

MASKED = {"step_hidden": (12,), "context_size": 5}
POSTERIORS = {
    "iaf": (layers.InverseAutoregressiveFlow, {"num_steps": 3, **MASKED}),
    "realnvp": (layers.RealNVP, {"num_steps": 3, **MASKED}),
    "planar": (layers.PlanarFlow, {"num_steps": 3}),
}
PRIORS = ("maf", "realnvp")
posteriors = pytest.mark.parametrize("name", POSTERIORS)
priors = pytest.mark.parametrize("kind", PRIORS)


def inputs(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


def make(name, event_shape=4, **kwargs):
    layer, options = POSTERIORS[name]
    return layer(event_shape, **{**options, "seed": 0, **kwargs})


def bent(layer, input_shape=None, scale=0.3):
    """Builds a layer and moves its weights, so that no step is the identity."""
    layer.build(input_shape)
    rng = np.random.default_rng(1)
    for v in layer.trainable_variables:
        v.assign_add(scale * rng.normal(size=v.shape))
    return layer


def bent_prior(kind, event_shape=4, **kwargs):
    return bent(layers.AutoregressiveFlow(event_shape, num_steps=3, hidden=(12,), kind=kind, seed=0, **kwargs))


def log_det_by_autodiff(function, x):
    """Computes log |det| of the Jacobian of a function of `[n, *event]` with NumPy."""
    x = tf.identity(x)  # or the cache would return what no tape has seen
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    size = int(np.prod(x.shape[1:]))
    return np.linalg.slogdet(tape.batch_jacobian(y, x).numpy().reshape(-1, size, size))[1]


def model_of(posterior, prior=None, objective=None, **kwargs):
    return iwae_tf.IWAE(
        encoder=[posterior],
        decoder=[layers.IndependentBernoulli((8, 8, 1), hidden=(16,))],
        prior=prior or layers.StandardNormal(4),
        objective=objective or objectives.ImportanceWeighted(5),
        preprocessing=layers.StochasticBinarization(),
        seed=0,
        **kwargs,
    )


def model_of_all(prior="maf", **kwargs):
    """A model of three layers with a flow of each kind for q, and one for p(z_3)."""
    # A hidden layer's tanh keeps the scales of one layer from running away with those of the next.
    hidden = {"hidden": (8,), **kwargs}
    encoder = [make(name, size, num_steps=2, **hidden) for name, size in zip(POSTERIORS, (4, 3, 2), strict=True)]
    return iwae_tf.IWAE(
        encoder=encoder,
        decoder=[
            layers.IndependentNormal(3, **hidden),
            layers.IndependentNormal(4, **hidden),
            layers.IndependentBernoulli((8, 8, 1), **hidden),
        ],
        prior=layers.AutoregressiveFlow(2, 2, kind=prior, **hidden),
        objective=objectives.ImportanceWeighted(5),
        preprocessing=layers.StochasticBinarization(**kwargs),
        seed=0,
        **kwargs,
    )


# ------------------------------------------------------------------------------------------ densities


@posteriors
def test_starts_as_the_diagonal_gaussian_of_the_same_seed(name):
    flow, gaussian = make(name)(inputs(7, 6)), layers.IndependentNormal(4, seed=0)(inputs(7, 6))
    z = flow.sample(5, seed=(1, 2))
    np.testing.assert_allclose(z, gaussian.sample(5, seed=(1, 2)), atol=1e-5)
    np.testing.assert_allclose(flow.log_prob(z), gaussian.log_prob(z), atol=1e-4)
    np.testing.assert_allclose(flow.mean(), gaussian.mean(), atol=1e-5)


@posteriors
@pytest.mark.parametrize("event_shape", [1, 4, (2, 3)])
def test_density_is_that_of_the_change_of_variables(name, event_shape):
    q = bent(make(name, event_shape), (None, 6))(inputs(7, 6))
    x = q.distribution.sample(seed=(1, 2))
    z = q.sample(seed=(1, 2))
    np.testing.assert_allclose(z, q.bijector.forward(x), atol=1e-6)
    assert np.abs(z - x).max() > 0.1, "not the identity"
    expected = q.distribution.log_prob(x) - log_det_by_autodiff(q.bijector.forward, x)
    np.testing.assert_allclose(q.log_prob(z), expected, atol=2e-4)


@posteriors
def test_moments(name):
    """The mean of 50 mirrored pairs lies within 5 standard errors of independent draws, the deviation within 40 %."""
    q = bent(make(name), (None, 6))(inputs(7, 6))
    z = q.sample(20_000, seed=(1, 2)).numpy()
    assert (np.abs(q.mean() - z.mean(0)) < 5 * z.std(0) / 10).all()
    assert (np.abs(q.stddev() / z.std(0) - 1) < 0.4).all()
    np.testing.assert_array_equal(q.mean(), q.mean())


def test_coupling_flow_has_an_inverse():
    q = bent(layers.RealNVP((2, 3), seed=0, **POSTERIORS["realnvp"][1]), (None, 6))(inputs(7, 6))
    z = q.sample(5, seed=(1, 2))
    np.testing.assert_allclose(q.log_prob(tf.identity(z)), q.log_prob(z), atol=1e-4)
    np.testing.assert_allclose(q.bijector.inverse(tf.identity(z)), q.distribution.sample(5, seed=(1, 2)), atol=1e-4)


@pytest.mark.parametrize("name", ["iaf", "planar"])
def test_one_way_flows_say_so(name):
    q = make(name)(inputs(7, 6))
    z = q.sample(seed=(1, 2))
    with pytest.raises(NotImplementedError, match=r"a z that this flow drew.*Received: another"):
        q.log_prob(tf.identity(z))


def test_planar_steps_are_invertible_whatever_the_heads_say():
    """Along w the slope of a step is 1 + h' w.u^, where w.u^ > -1, even if w.u is far below that."""
    u, w = inputs(200, 2, seed=1) * 5.0, inputs(200, 2)
    assert tf.reduce_min(tf.reduce_sum(u * w, -1)) < -10
    step = PlanarStep(u, w, tf.zeros(200))
    np.testing.assert_allclose(step.gain, 1 + tf.reduce_sum(step.u * w, -1), atol=1e-4)
    assert (step.gain.numpy() > 0).all()
    assert np.isfinite(step.forward(inputs(50, 200, 2, seed=2))[1]).all()


def test_planar_step_without_a_direction_is_a_shift():
    u, z = inputs(7, 2), inputs(7, 2, seed=1)
    y, log_det = PlanarStep(u, tf.zeros([7, 2]), tf.ones(7)).forward(z)
    np.testing.assert_allclose(y, z + u * np.tanh(1.0), atol=1e-6)
    np.testing.assert_allclose(log_det, np.zeros(7), atol=1e-6)


@posteriors
@pytest.mark.parametrize("leading", [(7,), (3, 7)])
def test_leading_axes(name, leading):
    layer = bent(make(name, (2, 2)), (None, 6))
    x = inputs(*leading, 6)
    q = layer(x)
    assert q.batch_shape == leading and q.event_shape == (2, 2)
    z = q.sample(5, seed=(1, 2))
    assert z.shape == (5, *leading, 2, 2) and q.log_prob(z).shape == (5, *leading)
    assert q.reparameterization_type == tfd.FULLY_REPARAMETERIZED
    noise = q.distribution.sample(5, seed=(1, 2))
    alone = layer(x[..., 2:3, :]).bijector.forward(noise[..., 2:3, :, :])
    np.testing.assert_allclose(z[..., 2:3, :, :], alone, atol=1e-5)


# ------------------------------------------------------------------------------------------ one pass


@pytest.fixture
def evaluations(monkeypatch):
    """A list that grows with every evaluation of a masked network."""
    bind, counted = MADE.bind, []

    def counting(self, context=None):
        evaluate = bind(self, context)
        return lambda z: counted.append(self) or evaluate(z)

    monkeypatch.setattr(MADE, "bind", counting)
    return counted


@pytest.mark.parametrize("name", ["iaf", "realnvp"])
@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_sample_and_density_take_one_evaluation(name, jit_compile, evaluations):
    layer = bent(make(name), (None, 6))

    def score(x):
        q = layer(x)
        z = q.sample(5, seed=(1, 2))
        return q.log_prob(z)

    run = score if jit_compile is None else tf.function(score, jit_compile=jit_compile)
    run(inputs(7, 6))
    assert evaluations == layer.networks


@priors
def test_density_of_a_prior_takes_one_evaluation(kind, evaluations):
    layer = bent_prior(kind)
    layer().log_prob(inputs(5, 7, 4))
    assert evaluations == layer.networks


def test_backward_pass_goes_through_each_network_once():
    """A product forward is two backward; the first product of a chain with respect to weights and to z."""
    layer = bent(make("iaf"), (None, 6))

    @tf.function
    def gradients(x):
        with tf.GradientTape() as tape:
            q = layer(x)
            z = q.sample(5, seed=(1, 2))
            loss = tf.reduce_mean(q.log_prob(z) + tf.reduce_sum(z**2, -1))
        return tape.gradient(loss, layer.trainable_variables)

    operations = gradients.get_concrete_function(inputs(7, 6)).graph.get_operations()
    forward = 3 * (1 + 2) + 3  # per step the context and two layers; the heads
    assert sum(op.type == "MatMul" for op in operations) == 3 * forward - 3  # x has no gradient


@posteriors
def test_the_same_draw_and_density_compiled_and_not(name):
    layer = bent(make(name), (None, 6))

    def draw(x):
        q = layer(x)
        z = q.sample(5, seed=(1, 2))
        return z, q.log_prob(z)

    expected = draw(inputs(7, 6))
    spec = [tf.TensorSpec([None, 6])]
    for jit_compile in (False, True):
        for a, b in zip(tf.function(draw, spec, jit_compile=jit_compile)(inputs(7, 6)), expected, strict=True):
            np.testing.assert_allclose(a, b, atol=2e-4)


def test_several_draws_are_remembered_and_forgotten():
    q = make("iaf")(inputs(7, 6))
    first, second = q.sample(2, seed=(1, 2)), q.sample(2, seed=(3, 4))
    assert q.log_prob(first).shape == q.log_prob(second).shape == (2, 7)
    kept = len(q.bijector._cache)
    del first
    assert len(q.bijector._cache) == kept - 1


# ------------------------------------------------------------------------------------------ priors


@priors
@pytest.mark.parametrize("event_shape", [1, 4, (2, 3)])
def test_prior_density_is_that_of_the_change_of_variables(kind, event_shape):
    p = bent_prior(kind, event_shape)()
    assert p.batch_shape == () and p.event_shape == (event_shape if isinstance(event_shape, tuple) else (event_shape,))
    z = inputs(7, *p.event_shape)
    noise = p.bijector.inverse(z)
    assert np.abs(noise - z).max() > 0.1, "not the identity"
    expected = p.distribution.log_prob(noise) + log_det_by_autodiff(p.bijector.inverse, z)
    np.testing.assert_allclose(p.log_prob(z), expected, atol=1e-4)


@priors
@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_prior_samples_are_its_own_inverse(kind, jit_compile):
    layer = bent_prior(kind)

    def draw(n):
        z = layer().sample(n, seed=(1, 2))
        return z, layer().log_prob(z), layer().bijector.inverse(tf.identity(z))

    run = draw if jit_compile is None else tf.function(draw, jit_compile=jit_compile)
    z, log_prob, noise = run(9)
    np.testing.assert_allclose(noise, layer().distribution.sample(9, seed=(1, 2)), atol=1e-4)
    np.testing.assert_allclose(log_prob, layer().log_prob(z), atol=1e-4)


@priors
def test_prior_starts_as_the_standard_normal(kind):
    p, standard = layers.AutoregressiveFlow(4, kind=kind)(), layers.StandardNormal(4)()
    z = p.sample(9, seed=(1, 2))
    np.testing.assert_allclose(z, standard.sample(9, seed=(1, 2)), atol=1e-5)
    np.testing.assert_allclose(p.log_prob(z), standard.log_prob(z), atol=1e-5)
    np.testing.assert_allclose(p.mean(), tf.zeros(4), atol=1e-6)


@priors
def test_prior_learns_a_curved_density(kind):
    """z_2 = z_1^2 + noise: a flow comes closer than the best Gaussian."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=2000)
    z = np.stack([first, first**2 + 0.3 * rng.normal(size=2000)], 1).astype(np.float32)
    gaussian = -0.5 * np.linalg.slogdet(2 * np.pi * np.e * np.cov(z.T))[1]
    layer = layers.AutoregressiveFlow(2, num_steps=3, hidden=(16,), kind=kind, seed=0)
    layer.build()
    optimizer = keras.optimizers.Adam(1e-2)
    optimizer.build(layer.trainable_variables)

    @tf.function(jit_compile=True)
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(layer().log_prob(z))
        optimizer.apply(tape.gradient(loss, layer.trainable_variables), layer.trainable_variables)
        return loss

    for _ in range(150):
        loss = step()
    assert -loss > gaussian + 0.3


# ------------------------------------------------------------------------------------------ in a model


@posteriors
def test_posterior_beats_the_best_diagonal_gaussian(name):
    """Of a Gaussian with correlation 0.95 the best diagonal one stays -log(1 - 0.95^2) / 2 = 1.16 nats short."""
    layer = make(name, 2, num_steps=4)
    one = tf.ones([1, 1])
    layer.build((None, 1))
    optimizer = keras.optimizers.Adam(2e-2)
    optimizer.build(layer.trainable_variables)
    precision = tf.constant(np.linalg.inv([[1, 0.95], [0.95, 1]]), tf.float32)
    constant = -0.5 * np.log((2 * np.pi) ** 2 * (1 - 0.95**2))

    def gap(n, seed):
        q = layer(one)
        z = q.sample(n, seed=seed)
        log_p = constant - 0.5 * tf.einsum("...i,ij,...j->...", z, precision, z)
        return tf.reduce_mean(q.log_prob(z) - log_p)

    @tf.function(jit_compile=True)
    def step(i):
        with tf.GradientTape() as tape:
            loss = gap(64, tf.stack([i, 0]))
        optimizer.apply(tape.gradient(loss, layer.trainable_variables), layer.trainable_variables)

    for i in range(400):
        step(tf.constant(i))
    assert gap(5000, (0, 1)) < 0.6


@pytest.mark.parametrize("gradient", ["path", "doubly_reparameterized"])
def test_objectives_that_ask_for_the_density_of_any_z(gradient, x):
    objective = objectives.ImportanceWeighted(5, gradient=gradient)
    model = model_of(make("realnvp"), objective=objective)
    model.compile("sgd")
    assert all(np.isfinite(g).all() for g in model._gradients(tf.constant(x)))
    for name in ("iaf", "planar"):
        model = model_of(make(name), objective=objective)
        model.compile("sgd")
        with pytest.raises(ValueError, match=r"density for any z, which ImportanceWeighted.*this flow drew"):
            model.fit(x, verbose=0)


@posteriors
def test_no_closed_form_of_the_kl(name, x):
    model = model_of(make(name), objective=objectives.ELBO(analytic_kl=True))
    model.compile("sgd")
    with pytest.raises(ValueError, match=r"whose KL has a closed form.*Received: Flow"):
        model.fit(x, verbose=0)


def test_gradients_stop_at_held_parameters():
    """With `stop_weight_gradients=True` the density of z has a gradient for z and none for the steps' networks."""
    layer = bent(make("realnvp"), (None, 6))
    x, z = inputs(7, 6), inputs(5, 7, 4)
    with tf.GradientTape() as tape:
        tape.watch(z)
        weights = [tf.stop_gradient(v) for v in layer.trainable_variables]
        held = layer.stateless_call(weights, layer.non_trainable_variables, x)[0].log_prob(z)
    for_z, *for_weights = tape.gradient(held, [z, *layer.trainable_variables])
    assert for_weights == [None] * len(layer.trainable_variables)
    with tf.GradientTape() as tape:
        tape.watch(z)
        log_prob = layer(x).log_prob(z)
    np.testing.assert_allclose(held, log_prob, atol=1e-5)
    np.testing.assert_allclose(for_z, tape.gradient(log_prob, z), atol=1e-4)


def test_saved_and_exported(tmp_path, x):
    model = model_of_all()
    rng = np.random.default_rng(1)
    for v in model.trainable_variables:
        v.assign_add(0.1 * rng.normal(size=v.shape))
    scores = model.log_likelihood(x, 50, seed=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.log_likelihood(x, 50, seed=0), scores, rtol=1e-6)
    np.testing.assert_allclose(again.sample(3, seed=0), model.sample(3, seed=0), atol=1e-5)
    endpoints = tf.saved_model.load(str(iwae_tf.export(model, tmp_path / "exported", num_samples=50))).signatures
    np.testing.assert_allclose(endpoints["serving_default"](x=tf.constant(x))["log_likelihood"], scores, rtol=1e-5)
    codes = endpoints["encode"](x=tf.constant(x))
    assert codes["mean"].shape == codes["stddev"].shape == (20, 4)


@priors
def test_prior_in_a_model(kind, x):
    model, twin = (
        model_of(layers.IndependentNormal(4, hidden=(16,)), layers.AutoregressiveFlow(4, 2, (12,), kind))
        for _ in range(2)
    )
    model.compile("sgd")
    found = dict(zip((v.path for v in model.trainable_variables), model._gradients(tf.constant(x)), strict=True))
    twin.build((None, 8, 8, 1))
    for a, b in zip(model.weights, twin.weights, strict=True):
        np.testing.assert_array_equal(a, b)  # the prior has its seed of the model
    # The last layers start at zero, and what is below them learns from the second step on.
    assert any(np.any(found[v.path]) for v in model.prior.trainable_variables)
    assert np.isfinite(model.sample(3, seed=0)).all()


def test_wake_sleep_draws_from_a_flow(x):
    model = iwae_tf.IWAE(
        encoder=[make("realnvp")],
        decoder=[layers.IndependentBernoulli((8, 8, 1))],
        prior=layers.AutoregressiveFlow(4, 2, (8,)),
        objective=objectives.ReweightedWakeSleep(5, sleep=0.5),
        preprocessing=layers.StochasticBinarization(),
        seed=0,
    )
    model.compile("sgd")
    assert np.isfinite(model.fit(x, verbose=0).history["loss"]).all()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_precision(policy, x):
    model = model_of_all(prior="realnvp", dtype=policy)
    model.compile("sgd", jit_compile=policy != "float64")
    assert np.isfinite(model.fit(x, verbose=0).history["loss"]).all()
    assert model.encode(x).dtype == ("float64" if policy == "float64" else "float32")


# ------------------------------------------------------------------------------------------ arguments


@pytest.mark.parametrize(
    "layer",
    [
        layers.InverseAutoregressiveFlow((2, 2), 3, (8,), 5, forget_bias=1.0, hidden=(4,), activation="elu", seed=2),
        layers.RealNVP(3, 2, (8, 8), 7),
        layers.PlanarFlow(3, 5, hidden=(4,)),
        layers.AutoregressiveFlow((2, 2), 3, (8,), "realnvp", "elu", seed=2),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_config_round_trip(layer):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is type(layer) and again.get_config() == layer.get_config()


@pytest.mark.parametrize(
    "layer, bad",
    [
        (layers.InverseAutoregressiveFlow, {"num_steps": 0}),
        (layers.InverseAutoregressiveFlow, {"step_hidden": (0,)}),
        (layers.InverseAutoregressiveFlow, {"context_size": 1.5}),
        (layers.InverseAutoregressiveFlow, {"forget_bias": float("nan")}),
        (layers.RealNVP, {"num_steps": "2"}),
        (layers.PlanarFlow, {"num_steps": True}),
        (layers.AutoregressiveFlow, {"num_steps": (2,)}),
        (layers.AutoregressiveFlow, {"hidden": -1}),
        (layers.AutoregressiveFlow, {"kind": "glow"}),
    ],
)
def test_bad_arguments(layer, bad):
    with pytest.raises(ValueError, match=rf"{next(iter(bad))}.*Received: "):
        layer(3, **bad)
