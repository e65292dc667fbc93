"""Models of a few bits or classes, whose states are listed one by one: exact densities, bounds and gradients."""

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf

import iwae_tf
from iwae_tf import layers, objectives
from iwae_tf.training.batches import Batch
from iwae_tf.training.gradients import compute

#: Observations of three bits.
X = np.array([[0, 1, 1]], np.float32)


def bit_model(objective=None, latent_sizes=(3,), seed=0, **kwargs):
    """A model of three bits with random weights, also of the prior, so that nothing is even by symmetry."""
    model = iwae_tf.mlp(
        (3,), latent_sizes, [(4,)] * len(latent_sizes), seed=seed,
        objective=objective or objectives.VIMCO(2), **{"posterior": "bernoulli", **kwargs},
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape) * 0.8)
    assert model.is_discrete
    return model


def three_classes(size, **kwargs):
    """A posterior of variables with three classes."""
    return layers.OneHotCategorical(size, 3, **kwargs)


#: Three bits, three bits under two, and two variables of three classes.
MODELS = {
    "bits": bit_model,
    "two layers": functools.partial(bit_model, latent_sizes=(3, 2)),
    "classes": lambda objective=None: bit_model(
        objective, (2,), posterior=three_classes, prior=layers.CategoricalPrior(2, 3)
    ),
}


def list_states(model):
    """All states of z_1, ..., z_L, each `[states, 1, *event]`."""
    parts = []
    for shape in model.latent_shapes:
        values = [[0.0, 1.0] if len(shape) == 1 else np.eye(shape[1])] * shape[0]
        parts.append([np.array(z, np.float32) for z in itertools.product(*values)])
    states = list(itertools.product(*parts))
    return [tf.constant(np.stack(z_l)[:, np.newaxis]) for z_l in zip(*states, strict=True)]


def score_states(model, x=X, kl_weight=1.0):
    """log w and log q of all states, `[states, batch]`, with their gradients for the weights of the model."""
    z = [tf.repeat(z_l, len(x), axis=1) for z_l in list_states(model)]
    x = tf.constant(x)
    terms = model.score(x, z, model.posteriors(x, z))
    return terms.log_weights(kl_weight), terms.log_posterior


def log_evidence(model, x=X):
    """log p(x) by the sum over all states, `[batch]`."""
    log_w, log_q = score_states(model, x)
    return tf.reduce_logsumexp(log_w + log_q, axis=0)


def list_draws(num_states, k):
    """The numbers of the states of all draws of k samples, `[k, num_states ** k]`."""
    return np.array(list(itertools.product(range(num_states), repeat=k))).T


def expected_bound(model, objective, x=X, kl_weight=1.0):
    """E bound over all draws of the objective's samples, averaged over the batch."""
    log_w, log_q = score_states(model, x, kl_weight)
    draws = list_draws(len(log_w), objective.num_particles)
    values = tf.stack([objective.bound(tf.gather(log_w[:, i], draws)) for i in range(len(x))], 1)
    probabilities = tf.exp(tf.reduce_sum(tf.gather(log_q, draws), axis=0))
    return tf.reduce_mean(tf.reduce_sum(probabilities * values, axis=0))


def gradients_at(model, objective, z, x, sample_weight=None):
    """The gradient of a step in the direction of ascent, where q draws z, each `[k, batch, *event]`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batch, "infer", lambda self, reparameterized=True: ([], z))
        found, _ = compute(model, objective, x, tf.zeros(2, tf.int32), sample_weight)
    pairs = zip(found, model.trainable_variables, strict=True)
    return [tf.zeros_like(v) if g is None else -tf.convert_to_tensor(g) for g, v in pairs]


def expected_gradients(model, objective):
    """The mean of the gradient of a step: each draw is a row of a batch, weighted by its probability."""
    states = list_states(model)
    _, log_q = score_states(model)
    draws = list_draws(len(states[0]), objective.num_particles)
    z = [tf.gather(z_l[:, 0], draws) for z_l in states]
    weight = draws.shape[1] * tf.exp(tf.reduce_sum(tf.gather(log_q[:, 0], draws), axis=0))
    return gradients_at(model, objective, z, tf.repeat(tf.constant(X), draws.shape[1], axis=0), weight)
