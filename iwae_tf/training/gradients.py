"""The gradients of an objective: how log weights are differentiated for the two networks.

What an objective asks for (`objectives.Objective`) is one of few forms, all over the same sampling and scoring:

    g_theta = sum_i a_i d log p(x, z_i) / d theta
    g_phi   = sum_i b_i (d log w_i / d z_i)(d z_i / d phi) + sum_i c_i d log q(z_i|x) / d phi, z_i held fixed

Quantities per observation are averaged over the batch, so that gradients of parts of a batch may be averaged too.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf import random
from iwae_tf.log_weights import effective_sample_size


def compute(model, objective, x, seed, sample_weight=None, scale=lambda loss: loss):
    """Computes the gradients of the loss of a batch.

    Args:
      model: an `IWAE`.
      objective: an `Objective`.
      x: `[batch, *event_shape]`, as the likelihood sees it.
      seed: `int32[2]`.
      sample_weight: `[batch]`, or `None`.
      scale: function of a loss that is differentiated in its place, such as `optimizer.scale_loss`.

    Returns:
      The gradients for the trainable variables of the model, `None` where there is none, and the `quantities`.

    Raises:
      ValueError: if the objective asks of a posterior what it cannot give: samples with a gradient, or the density of a
        given z; or if the model has a ladder and the objective a gradient for each network.
    """
    check(model, objective)
    inference = objective.inference or objective
    if objective.choose and model.state():
        raise ValueError(
            "Expected networks whose output for a sample depends on that sample alone, with backward_samples. "
            f"Received: some with state, {model.state()[0].path}, such as dropout or batch normalisation"
        )
    if objective.choose:
        form = _of_chosen_samples
    elif inference.path_weights:
        form = _along_paths
    elif inference.score_weights or inference is not objective:
        form = _apart
    else:
        form = _of_the_bound
    batch = _Batch(model, objective, inference, x, seed, sample_weight, scale)
    gradients, values = form(batch)
    if inference.sleep:
        gradients = _for_inference(model, gradients, _of_dreams(batch), inference.sleep)
    return gradients, values


def check(model, objective):
    """Raises a `ValueError` if the model has a ladder, and the objective different gradients for the two networks.

    The q of a ladder has parameters of p in it, which could follow one of them only. Path gradients are fine: they
    take the parameters of q for what they are, wherever they come from.
    """
    if model.ladder and (objective.inference or objective.score_weights or objective.sleep):
        raise ValueError(
            f"Expected an objective that both networks follow, since with ladder=True they share parameters. "
            f"Received: {objective!r}"
        )


def quantities(objective, terms, kl_weight=1.0):
    """Computes what is logged of `Terms`, a dict of `[batch]`: see `IWAE`; `kl_weight` is that of the warm-up."""
    log_weights = _log_weights(objective, terms, kl_weight)
    return {
        "loss": -objective.bound(log_weights),
        "elbo": tf.reduce_mean(terms.log_weights(), axis=0),
        "reconstruction": tf.reduce_mean(terms.reconstruction, axis=0),
        "kl": tf.reduce_mean(terms.kl, axis=0),
        "effective_sample_size": effective_sample_size(log_weights),
    }


def mean_loss(model, values, sample_weight=None):
    """Computes a scalar loss of values `[batch]`: their weighted mean, and the regularisers of the layers."""
    if sample_weight is not None:
        values *= tf.cast(sample_weight, values.dtype)
    return tf.add_n([tf.reduce_mean(values), *model.losses])


def _log_weights(objective, terms, kl_weight):
    """Computes log w as the objective has it: with its own and the warm-up's weight, and its free bits."""
    return terms.log_weights(kl_weight * objective.kl_weight, objective.free_bits)


@dataclasses.dataclass(frozen=True)
class _Batch:
    """What the forms of a gradient have in common."""

    model: Any
    objective: Any
    inference: Any
    x: tf.Tensor
    seed: tf.Tensor
    sample_weight: tf.Tensor | None
    scale: Callable
    before: list[tf.Tensor] = dataclasses.field(default_factory=list)  # what the networks keep, before `infer`

    def infer(self, reparameterized=True):
        """Samples z ~ q(z|x) for the objective; see `Hierarchy.infer`."""
        model = self.model
        self.before.extend(map(tf.identity, model.state()))
        posteriors, z = model.infer(model.posterior(self.x), self.objective.num_particles, self.seed)
        for layer, q in zip(model.encoder, posteriors, strict=True):
            if reparameterized and q.reparameterization_type != tfd.FULLY_REPARAMETERIZED:
                raise ValueError(
                    f"Expected {layer.name} to give a reparameterised distribution, of which {self.objective!r} "
                    "differentiates the samples; objectives.ReweightedWakeSleep(num_samples) does not. "
                    f"Received: {type(q).__name__} with {q.reparameterization_type}"
                )
        return posteriors, z

    def score_given(self, z, hold=False):
        """Scores z that have been cut off from the posteriors that drew them, whose densities are asked for anew."""
        try:
            return self.model.score(self.x, z, self._posteriors_again(z, hold))
        except NotImplementedError as error:
            raise ValueError(
                f"Expected posteriors that give the density of any z, which {self.objective!r} asks for. "
                f"Received: one that does not, such as a flow without an inverse: {error}"
            ) from error

    def _posteriors_again(self, z, hold):
        """Calls the encoder as `infer` did: with the same noise in dropout, and without updating any average twice."""
        state = self.model.state()
        after = list(map(tf.identity, state))
        for variable, value in zip(state, self.before, strict=True):
            variable.assign(value)
        posteriors = self.model.posteriors(self.x, z, hold)
        for variable, value in zip(state, after, strict=True):
            variable.assign(value)
        return posteriors

    def loss(self, terms):
        """Returns the scaled loss of the bound, and the quantities."""
        values = quantities(self.objective, terms, self.model.kl_weight)
        return self.scaled(values["loss"]), values

    def inference_loss(self, terms):
        """Returns the scaled loss of the inference network where it is not that of the bound."""
        weights = _log_weights(self.inference, terms, self.model.kl_weight)
        if self.inference.score_weights:
            # With z held fixed the inference network is in log q and, where a prior is made of it, in log p(z).
            coefficients = tf.stop_gradient(self.inference.score_weights(weights))
            log_prior = self.model.kl_weight * self.inference.kl_weight * (terms.log_posterior - terms.kl)
            return self.scaled(-tf.reduce_sum(coefficients * (terms.log_posterior + log_prior), axis=0))
        return self.scaled(-self.inference.bound(weights))

    def scaled(self, values):
        return self.scale(mean_loss(self.model, values, self.sample_weight))


def _of_the_bound(batch):
    """a = b = -c: one backward pass through everything."""
    with tf.GradientTape() as tape:
        posteriors, z = batch.infer()
        loss, values = batch.loss(batch.model.score(batch.x, z, posteriors, batch.objective.analytic_kl))
    return tape.gradient(loss, batch.model.trainable_variables), values


def _along_paths(batch):
    """c = 0: scoring with the parameters of q held fixed, and a factor for each sample on its way through sampling.

    One backward pass through scoring serves both networks, unless they have different objectives.
    """
    model, inference = batch.model, batch.inference
    variables = model.trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        _, sampled = batch.infer()
        z = [tf.stop_gradient(z_l) for z_l in sampled]
        tape.watch(z)
        terms = batch.score_given(z, hold=True)
        loss, values = batch.loss(terms)
        followed = loss if inference is batch.objective else batch.inference_loss(terms)
    direct, arriving = tape.gradient(followed, [variables, z])
    if followed is not loss:
        direct = _for_inference(model, tape.gradient(loss, variables), direct)
    factors = inference.path_weights(
        _log_weights(inference, terms, model.kl_weight), model.kl_weight * inference.kl_weight
    )
    arriving = [g * factors[(..., *[tf.newaxis] * (g.shape.rank - 2))] for g in arriving]
    path = tape.gradient(sampled, variables, output_gradients=arriving)
    return [b if a is None else a if b is None else a + b for a, b in zip(direct, path, strict=True)], values


def _apart(batch):
    """Two losses of the same log weights, one for each network."""
    model, inference = batch.model, batch.inference
    with tf.GradientTape(persistent=True) as tape:
        if inference.score_weights:
            z = [tf.stop_gradient(z_l) for z_l in batch.infer(reparameterized=False)[1]]
            terms = batch.score_given(z)
        else:
            posteriors, z = batch.infer()
            terms = model.score(batch.x, z, posteriors, inference.analytic_kl)
        loss, values = batch.loss(terms)
        followed = batch.inference_loss(terms)
    variables = model.trainable_variables
    # What is not asked for of either, compilation leaves out.
    return _for_inference(model, tape.gradient(loss, variables), tape.gradient(followed, variables)), values


def _of_chosen_samples(batch):
    """All samples scored, some differentiated; but for sampling, there is no backward pass for the others."""
    model, inference = batch.model, batch.inference
    with tf.GradientTape() as tape:
        posteriors, z = batch.infer()
        with tape.stop_recording():
            terms = model.score(batch.x, z, posteriors)
            values = quantities(batch.objective, terms, model.kl_weight)
            weights = _log_weights(inference, terms, model.kl_weight)
            choice = inference.choose(weights, random.fold_in(batch.seed, len(model.encoder)))
            places = tf.stack([choice, tf.broadcast_to(tf.range(tf.shape(choice)[1]), tf.shape(choice))], axis=-1)
        chosen = batch.score_given([tf.gather_nd(z_l, places) for z_l in z])
        loss = batch.scaled(-tf.reduce_mean(_log_weights(inference, chosen, model.kl_weight), axis=0))
    return tape.gradient(loss, model.trainable_variables), values


def _of_dreams(batch):
    """The sleep phase: -log q(z|x) of x and z drawn from the generative model, as many as there are observations."""
    model, seed = batch.model, random.fold_in(batch.seed, len(batch.model.encoder))
    observation, z = model.descend(tf.shape(batch.x)[0], random.fold_in(seed, 0))
    dream = tf.cast(observation.sample(seed=random.fold_in(seed, 1)), batch.x.dtype)
    z = [tf.stop_gradient(z_l) for z_l in z]
    with tf.GradientTape() as tape:
        log_q = [q.log_prob(z_l) for q, z_l in zip(model.posteriors(dream, z), z, strict=True)]
        loss = batch.scale(mean_loss(model, -tf.add_n(log_q)))
    return tape.gradient(loss, model.trainable_variables)


def _for_inference(model, gradients, others, share=1.0):
    """Returns `gradients`, with that `share` of `others` in its place for the variables of the inference network."""
    own = {id(v) for layer in model.encoder for v in layer.trainable_variables}
    for i, v in enumerate(model.trainable_variables):
        if id(v) in own and others[i] is not None:
            gradients[i] = others[i] if share == 1.0 else (1.0 - share) * gradients[i] + share * others[i]
    return gradients
