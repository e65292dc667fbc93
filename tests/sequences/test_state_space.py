"""Models of sequences against the Kalman filter, and against what padding, seeds and batches must not change."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import iwae_tf
from iwae_tf import callbacks, data, evaluation, layers, objectives, random, sequences
from iwae_tf.sequences.resampling import draw_ancestors
from iwae_tf.training import gradients

T, A, SCALE = 12, 0.9, 0.3
SYSTEMATIC = {"resampling": "systematic"}


def kalman(num_steps=T, a=((A,),), c=((1.0,),)):
    a, c = np.float32(a), np.float32(c)
    n, m = len(a), len(c)
    return tfd.LinearGaussianStateSpaceModel(
        num_steps, a, tfd.MultivariateNormalDiag(tf.zeros(n), tf.ones(n)), c,
        tfd.MultivariateNormalDiag(tf.zeros(m), tf.fill([m], SCALE)),
        tfd.MultivariateNormalDiag(tf.zeros(n), tf.ones(n)),
    )  # fmt: skip


def chain(objective=None, proposal="optimal", **kwargs):
    return sequences.linear_gaussian(
        [[A]], [[1.0]], 1.0, SCALE, proposal=proposal, objective=objective, seed=0, **kwargs
    )


@pytest.fixture(scope="module")
def x():
    return kalman().sample(6, seed=(0, 1)).numpy()


def log_mean(log_weights):
    return np.logaddexp.reduce(np.asarray(log_weights, np.float64), 0) - np.log(len(log_weights))


@pytest.mark.parametrize("proposal", ["optimal", "bootstrap"])
@pytest.mark.parametrize("when", ["ess", "always", "never"])
def test_the_estimate_of_the_likelihood_is_unbiased(proposal, when, x):
    """Over 500 filters of 8 particles the mean of exp(estimate) / p(x) is 1: 5 sigma, false alarms below 1e-4."""
    model = chain(proposal=proposal)
    repeated = np.repeat(x[:, :3], 500, axis=0)
    exact = np.repeat(kalman(3).log_prob(x[:, :3]).numpy(), 500)
    filtering = objectives.Filtering(8, when=when)
    options = {"filtering": filtering} if filtering.filters else {}
    terms = model.terms(None, model.posterior(tf.constant(repeated)), 8, random.as_seed(0), **options)
    ratios = np.exp(log_mean(terms.log_weights()) - exact).reshape(6, 500)
    errors = ratios.std(1) / 500**0.5
    assert (np.abs(ratios.mean(1) - 1) < 5 * errors).all() and (errors < 0.5).all()


def test_more_particles_and_resampling_tighten_the_bound():
    """T = 100: the bound rises with k, and resampling gains more than 5 nats."""
    x = kalman(100).sample(20, seed=(0, 2)).numpy()
    model, exact = chain(proposal="bootstrap"), kalman(100).log_prob(x).numpy().mean()
    steps = model.posterior(tf.constant(x))

    def bound(k, when):
        filtering = objectives.Filtering(k, when=when, **SYSTEMATIC)
        options = {"filtering": filtering} if filtering.filters else {}
        return log_mean(model.terms(None, steps, k, random.as_seed(0), **options).log_weights()).mean()

    few, many, without = bound(16, "ess"), bound(256, "ess"), bound(256, "never")
    assert without + 5 < few < many < exact + 0.5


def test_three_dimensions_against_kalman():
    a = 0.9 * np.linalg.qr(np.random.default_rng(0).normal(size=[3, 3]))[0]
    c = np.eye(3)
    exact = kalman(8, a, c)
    x = exact.sample(4, seed=(0, 3)).numpy()
    model = sequences.linear_gaussian(a, c, 1.0, SCALE, seed=0)
    scores = model.log_likelihood(x, 4000, seed=0).numpy()
    np.testing.assert_allclose(scores, exact.log_prob(x), atol=0.2)
    filtered = model.filter(x, 4000, seed=0)
    _, means, covariances, *_ = exact.forward_filter(x)
    np.testing.assert_allclose(filtered.mean, means, atol=0.05)
    variances = np.broadcast_to(tf.linalg.diag_part(covariances), [4, 8, 3])
    np.testing.assert_allclose(filtered.stddev**2, variances, atol=0.02)


def test_the_optimal_proposal_of_one_step_has_no_variance(x):
    model = chain()
    weights = model.log_weights(x[:, :1], 50, seed=0).numpy()
    np.testing.assert_allclose(weights, np.broadcast_to(kalman(1).log_prob(x[:, :1]), weights.shape), atol=1e-4)


def test_padding_batch_and_lengths_change_no_score(x):
    model = chain(objectives.Filtering(8))
    scores = model.log_likelihood(x, 50, seed=0).numpy()
    padded = data.pad(list(x), num_steps=T + 7)
    np.testing.assert_array_equal(model.log_likelihood(padded, 50, seed=0), scores)
    np.testing.assert_array_equal(model.log_likelihood(x[2:4], 50, seed=0), scores[2:4])
    lengths = [T, 5, T, 1, 3, T]
    cut = model.log_likelihood(x, 50, seed=0, lengths=lengths).numpy()
    mask = np.arange(T) < np.array(lengths)[:, np.newaxis]
    np.testing.assert_array_equal(model.log_likelihood(x, 50, seed=0, lengths=mask), cut)
    np.testing.assert_array_equal(
        model.log_likelihood([r[:n] for r, n in zip(x, lengths, strict=True)], 50, seed=0), cut
    )
    ragged = tf.RaggedTensor.from_tensor(x, lengths=lengths)
    np.testing.assert_array_equal(model.log_likelihood(ragged, 50, seed=0), cut)
    np.testing.assert_array_equal(cut[[0, 2, 5]], scores[[0, 2, 5]])
    np.testing.assert_allclose(cut[3], kalman(1).log_prob(x[3, :1]), atol=1e-4)


def test_nothing_is_resampled_at_or_past_the_end(x):
    model = chain(objectives.Filtering(8, when="always"))
    filtered = model.filter(data.pad(list(x), lengths=[T, 5, T, 1, 3, T]), 8, seed=0)
    expected = np.arange(T) < np.array([T, 5, T, 1, 3, T])[:, np.newaxis] - 1
    np.testing.assert_array_equal(filtered.resampled, expected)


@pytest.mark.parametrize("scheme", ["multinomial", "systematic", "stratified"])
def test_each_particle_has_descendants_in_proportion_to_its_weight(scheme):
    """20,000 draws of 5 ancestors: means within 5 standard errors, false alarms below 1e-5."""
    log_weights = tf.math.log(tf.constant([0.05, 0.5, 0.0, 0.25, 0.2])[:, tf.newaxis] * tf.ones([1, 20_000]))
    ancestors = draw_ancestors(log_weights, scheme, random.as_seed(0)).numpy()
    counts = np.stack([(ancestors == i).sum(0) for i in range(5)])
    expected = 5 * np.array([0.05, 0.5, 0.0, 0.25, 0.2])
    assert (np.abs(counts.mean(1) - expected) <= 5 * counts.std(1) / 20_000**0.5 + 1e-12).all()
    assert counts[2].max() == 0
    if scheme == "systematic":  # never further than one from its mean
        assert (np.abs(counts - expected[:, np.newaxis]) < 1 + 1e-5).all()


def test_no_gradient_goes_through_ancestors():
    log_weights = tf.Variable(random.normal([4, 3], random.as_seed(0)))
    with tf.GradientTape() as tape:
        ancestors = draw_ancestors(log_weights, "systematic", random.as_seed(0))
        total = tf.reduce_sum(tf.cast(ancestors, tf.float32))
    assert tape.gradient(total, log_weights) is None


def small(objective, incomplete=False, cell="lstm"):
    return sequences.vrnn((5,), 3, 4, cell, mean=np.full(5, 0.2), objective=objective, seed=0, incomplete=incomplete)


def binary(n=6, steps=7):
    return (np.random.default_rng(0).random([n, steps, 5]) < 0.3).astype(np.float32)


def test_never_resampling_is_iwae_and_one_particle_the_elbo():
    notes, values = binary(), {}
    for name, objective in {
        "never": objectives.Filtering(4, when="never"), "iwae": objectives.ImportanceWeighted(4),
        "one": objectives.Filtering(1), "elbo": objectives.ELBO(1),
    }.items():  # fmt: skip
        model = small(objective)
        model.compile("sgd")
        model.fit(notes, batch_size=6, epochs=2, verbose=0)
        values[name] = model.get_weights()
    for a, b in (("never", "iwae"), ("one", "elbo")):
        assert all(np.array_equal(u, v) for u, v in zip(values[a], values[b], strict=True))


def test_one_step_is_iwae():
    """With T = 1 a deep Markov model is an IWAE with the same layers."""
    x = binary(steps=1)
    parts = {"hidden": (4,), "activation": "relu"}
    chain = sequences.StateSpaceModel(
        layers.IndependentNormal(3), layers.IndependentBernoulli(5, **parts), layers.IndependentNormal(3, **parts),
        layers.StandardNormal(3), objective=objectives.ImportanceWeighted(50), seed=0,
    )  # fmt: skip
    chain.build((None, 1, 5))
    model = iwae_tf.IWAE(
        [layers.IndependentNormal(3, **parts)],
        [layers.IndependentBernoulli(5, **parts)],
        layers.StandardNormal(3),
        seed=0,
    )
    model.build((None, 5))
    encoder, decoder = model.encoder[0], model.decoder[0]
    for mine, other in ((chain.proposal, encoder), (chain.emission, decoder)):
        for v, w in zip(mine.variables, other.variables, strict=True):
            w.assign(v[:5] if tuple(v.shape) != tuple(w.shape) else v)  # the first z_0 is 0
    z = random.normal([50, 6, 3], random.as_seed(0))
    expected = model.score(x[:, 0], [z], model.posteriors(x[:, 0], [z]))
    terms = chain.posteriors(tf.constant(x), [z[:, :, tf.newaxis]])[0].terms
    np.testing.assert_allclose(terms.log_weights(), expected.log_weights(), atol=1e-4)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_fit_evaluate_predict_save(cell, tmp_path):
    x, runs = binary(), []
    for _ in range(2):
        model = small(objectives.Filtering(4), cell=cell)
        model.compile(keras.optimizers.Adam(0.01))
        runs.append(model.fit(x, validation_data=x, batch_size=3, epochs=20, verbose=0).history)
    assert runs[0] == runs[1]
    assert runs[0]["loss"][-1] < runs[0]["loss"][0] and 1 <= runs[0]["effective_sample_size"][-1] <= 4
    logs = model.evaluate(x, verbose=0, return_dict=True)
    assert set(logs) == {"loss", "elbo", "reconstruction", "kl", "effective_sample_size", "loss_per_step", "resampled"}
    assert 0 <= logs["resampled"] < 1 and logs["loss_per_step"] < logs["loss"]
    assert model.predict(x, verbose=0).shape == x.shape
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.log_likelihood(x, 8, seed=0), model.log_likelihood(x, 8, seed=0))


@pytest.mark.parametrize("name", ["elbo", "iwae", "stl", "dreg", "miwae", "renyi", "ciwae"])
def test_other_objectives_work_on_the_summed_log_weights(name):
    model = small(objectives.get(name, 4))
    model.compile("adam")
    assert np.isfinite(model.fit(binary(), verbose=0).history["loss"]).all()


def test_compiled_and_eager_agree():
    losses = []
    for eager in (False, True):
        model = small(objectives.Filtering(4))
        model.compile("sgd", run_eagerly=eager)
        losses.append(model.fit(binary(), batch_size=3, epochs=2, verbose=0).history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_missing_steps_are_predicted():
    """A missing step in the middle adds nothing to the likelihood: that of the Kalman filter without it."""
    x = kalman(3).sample(4, seed=(0, 4)).numpy()
    model = chain(incomplete=True)
    gap = x.copy()
    gap[:, 1] = np.nan
    joint = kalman(3).joint_distribution if hasattr(kalman(3), "joint_distribution") else None
    del joint
    covariance = np.array([[1 + SCALE**2, A**2], [A**2, 1 + A**2 + A**4 + SCALE**2]])
    exact = tfd.MultivariateNormalFullCovariance(np.zeros(2), covariance).log_prob(x[:, [0, 2], 0].astype(np.float64))
    np.testing.assert_allclose(model.log_likelihood(gap, 20_000, seed=0), exact, atol=0.05)


def test_forecasts_and_samples_have_the_moments_of_the_model(x):
    """20,000 draws: within 5 standard errors of the Kalman filter's moments, false alarms below 1e-4."""
    model = chain(objectives.Filtering(8))
    drawn = model.forecast(x[:2], 2, 20_000, seed=0).numpy()[..., 0]
    _, means, covariances, *_ = kalman().forward_filter(x[:2])
    mean, variance = means[:, -1, 0].numpy(), float(covariances[-1, 0, 0])
    for step in range(2):
        mean, variance = A * mean, A**2 * variance + 1
        # Particles of one filter share its error, which is larger than that of independent draws.
        np.testing.assert_allclose(drawn[:, :, step].mean(0), mean, atol=0.05)
        np.testing.assert_allclose(drawn[:, :, step].std(0), (variance + SCALE**2) ** 0.5, rtol=0.03)
    samples = model.sample(20_000, 3, seed=0).numpy()[..., 0]
    np.testing.assert_allclose(samples.std(0), kalman(3).stddev()[:, 0], rtol=0.03)
    np.testing.assert_allclose(samples.mean(0), 0, atol=5 * 2 / 20_000**0.5)


def test_bounds_of_sequences(x):
    model = chain(objectives.Filtering(4), proposal="bootstrap")
    padded = data.pad(list(x), lengths=[T, 5, T, 1, 3, T])
    table = evaluation.sequence_bounds(model, padded, 64)
    assert list(table.index) == ["elbo", "iwae", "fivo"] and table.per_step.is_monotonic_increasing
    scores = model.log_likelihood(padded, 64, seed=random.fold_in(random.as_seed(0), 0)).numpy()
    assert table.per_sequence["fivo"] == pytest.approx(scores.mean(), rel=1e-5)
    assert table.per_step["fivo"] == pytest.approx(scores.sum() / 45, rel=1e-5)
    over_time = evaluation.effective_sample_size_over_time(model, padded, 64)
    assert over_time.num_sequences.tolist() == [6, *[5] * 2, *[4] * 2, *[3] * 7]
    assert over_time.effective_sample_size.between(1, 64).all() and over_time.resampled.iloc[-1] == 0


def test_bad_input():
    with pytest.raises(ValueError, match="Expected an initial layer, which returns p"):
        sequences.StateSpaceModel(layers.IndependentNormal(2), layers.IndependentNormal(2))
    with pytest.raises(ValueError, match="Expected a model of sequences with Filtering"):
        iwae_tf.mlp((8, 8, 1), (2,), ((4,),), objective=objectives.Filtering(4))
    with pytest.raises(ValueError, match="resampling must be one of multinomial, systematic, stratified"):
        objectives.Filtering(4, resampling="residual")
    with pytest.raises(ValueError, match=r"Expected data of shape \[n, time, 1\]. Received: shape \(2, 3, 2\)"):
        chain().log_likelihood(np.zeros([2, 3, 2]), 4)
    with pytest.raises(ValueError, match="C, all in units"):
        sequences.linear_gaussian(np.eye(2), [[1.0, 1.0], [0.0, 1.0]])


def test_lists_and_ragged_tensors():
    """Scores and reconstructions keep the order of the list."""
    parts = [part[: n + 2] for n, part in enumerate(binary())]
    model = small(objectives.Filtering(3))
    model.compile("adam")
    history = model.fit(parts, validation_data=parts, batch_size=4, epochs=2, verbose=0).history
    assert len(history["val_loss"]) == 2
    padded = data.pad(parts)
    np.testing.assert_array_equal(model.log_likelihood(parts, 8, seed=0), model.log_likelihood(padded, 8, seed=0))
    ragged = tf.RaggedTensor.from_row_lengths(tf.concat(parts, 0), [len(part) for part in parts])
    for sequences_ in (parts, ragged):
        np.testing.assert_array_equal(model.predict(sequences_, verbose=0), model.predict(padded, verbose=0))
        loss = model.evaluate(sequences_, verbose=0)[0]
        assert loss == pytest.approx(model.evaluate(padded, verbose=0)[0], rel=0.1)


def test_proposal_and_model_have_filters_of_their_own():
    """The alternating algorithm of AESMC: the gradient of q is that of its own objective."""
    p, q = objectives.Filtering(4), objectives.ImportanceWeighted(3)
    x, seed = tf.constant(binary()), random.as_seed(0)
    model = small(objectives.Combined(p, q))
    model.compile(keras.optimizers.Adam(0.01))
    combined, _ = gradients.compute(model, model.objective, x, seed)
    of_p, _ = gradients.compute(model, p, x, seed)
    of_q, _ = gradients.compute(model, q, x, random.fold_in(seed, 2))
    proposal = {id(v) for v in model.proposal.trainable_variables}
    for variable, found, a, b in zip(model.trainable_variables, combined, of_p, of_q, strict=True):
        np.testing.assert_allclose(found, b if id(variable) in proposal else a, rtol=1e-4, atol=1e-6)
    history = model.fit(binary(), epochs=20, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]


def test_the_guard_names_the_layer_and_the_sequences():
    """A weight that is infinite makes the emission NaN for every sequence; without it the guard changes nothing."""
    x, histories = binary(), []
    for observers in ([], [callbacks.NonFiniteGuard()]):
        model = small(objectives.Filtering(3))
        model.compile(keras.optimizers.Adam(0.01))
        histories.append(model.fit(x, epochs=2, verbose=0, callbacks=observers).history["loss"])
    assert histories[0] == histories[1]
    model.emission.trainable_variables[0].assign(tf.fill(model.emission.trainable_variables[0].shape, np.inf))
    with pytest.raises(FloatingPointError, match=r"in p\(x_t\|.\) \(.*\) for rows 0, 1, 2, 3, 4, 5 of 6"):
        model.fit(x, verbose=0, callbacks=[callbacks.NonFiniteGuard()])
