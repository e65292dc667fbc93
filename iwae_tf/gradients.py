"""The gradients of an objective: how log weights are differentiated for the two networks.

What an objective asks for (`objectives.Objective`) is one of few forms, all over the same sampling and scoring:

    g_theta = sum_i a_i d log p(x, z_i) / d theta
    g_phi   = sum_i b_i (d log w_i / d z_i)(d z_i / d phi) + sum_i c_i d log q(z_i|x) / d phi, z_i held fixed

Quantities per observation are averaged over the batch, so that gradients of parts of a batch may be averaged too.
"""

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf import random


def compute(model, x, seed, sample_weight=None):
    """Computes the gradients of the loss of a batch, and updates the metrics of the model.

    Args:
      model: a compiled `IWAE`.
      x: `[batch, *event_shape]`, as the likelihood sees it.
      seed: `int32[2]`.
      sample_weight: `[batch]`, or `None`.

    Returns:
      The gradients for the trainable variables of the model, scaled as its optimiser expects, and the logs.

    Raises:
      ValueError: if the objective asks of a posterior what it cannot give: samples with a gradient, or the density of a
        given z.
    """
    objective = model.objective
    inference = objective.inference or objective
    if objective.choose:
        form = _of_chosen_samples
    elif inference.path_weights:
        form = _along_paths
    elif inference.score_weights or inference is not objective:
        form = _apart
    else:
        form = _of_the_bound
    gradients, logs = form(model, inference, x, seed, sample_weight)
    if inference.sleep:
        dreamt = _of_dreams(model, x, random.fold_in(seed, len(model.encoder)))
        gradients = _for_inference(model, gradients, dreamt, inference.sleep)
    return gradients, logs


def log_weights(model, terms, objective):
    """Computes log w as `objective` has it, from `Terms`: with its own and the warm-up's weight, and its free bits."""
    return terms.log_weights(model.kl_weight * objective.kl_weight, objective.free_bits)


def mean_loss(model, values, sample_weight=None):
    """Computes a scalar loss of values `[batch]`: their weighted mean, and the regularisers of the layers."""
    if sample_weight is not None:
        values *= tf.cast(sample_weight, values.dtype)
    return tf.add_n([tf.reduce_mean(values), *model.losses])


def _of_the_bound(model, inference, x, seed, sample_weight):
    """a = b = -c: one backward pass through everything."""
    with tf.GradientTape() as tape:
        posteriors, z = _infer(model, x, seed)
        loss, logs = model._loss(model.score(x, z, posteriors, model.objective.analytic_kl), sample_weight)
        loss = model.optimizer.scale_loss(loss)
    return tape.gradient(loss, model.trainable_variables), logs


def _along_paths(model, inference, x, seed, sample_weight):
    """c = 0: scoring with the parameters of q held fixed, and a factor for each sample on its way through sampling.

    One backward pass through scoring serves both networks, unless they have different objectives.
    """
    variables = model.trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        _, sampled = _infer(model, x, seed)
        z = [tf.stop_gradient(z_l) for z_l in sampled]
        tape.watch(z)
        terms = _score_given(model, x, z, hold=True)
        loss, logs = model._loss(terms, sample_weight)
        loss = model.optimizer.scale_loss(loss)
        followed = loss if inference is model.objective else _inference_loss(model, inference, terms, sample_weight)
    if followed is loss:
        direct, arriving = tape.gradient(loss, [variables, z])
    else:
        direct, arriving = tape.gradient(loss, variables), tape.gradient(followed, z)
    factors = inference.path_weights(log_weights(model, terms, inference), model.kl_weight * inference.kl_weight)
    arriving = [g * factors[(..., *[tf.newaxis] * (g.shape.rank - 2))] for g in arriving]
    path = tape.gradient(sampled, variables, output_gradients=arriving)
    return [b if a is None else a if b is None else a + b for a, b in zip(direct, path, strict=True)], logs


def _apart(model, inference, x, seed, sample_weight):
    """Two losses of the same log weights, one for each network."""
    with tf.GradientTape(persistent=True) as tape:
        if inference.score_weights:
            z = [tf.stop_gradient(z_l) for z_l in _infer(model, x, seed, reparameterized=False)[1]]
            terms = _score_given(model, x, z)
        else:
            posteriors, z = _infer(model, x, seed)
            terms = model.score(x, z, posteriors, inference.analytic_kl)
        loss, logs = model._loss(terms, sample_weight)
        loss = model.optimizer.scale_loss(loss)
        followed = _inference_loss(model, inference, terms, sample_weight)
    variables = model.trainable_variables
    # What is not asked for of either, compilation leaves out.
    return _for_inference(model, tape.gradient(loss, variables), tape.gradient(followed, variables)), logs


def _of_chosen_samples(model, inference, x, seed, sample_weight):
    """All samples scored, some differentiated; but for sampling, there is no backward pass for the others."""
    with tf.GradientTape() as tape:
        posteriors, z = _infer(model, x, seed)
        with tape.stop_recording():
            terms = model.score(x, z, posteriors)
            _, logs = model._loss(terms, sample_weight)
            weights = log_weights(model, terms, inference)
            choice = inference.choose(weights, random.fold_in(seed, len(model.encoder)))
            places = tf.stack([choice, tf.broadcast_to(tf.range(tf.shape(choice)[1]), tf.shape(choice))], axis=-1)
        chosen = _score_given(model, x, [tf.gather_nd(z_l, places) for z_l in z])
        bound = tf.reduce_mean(log_weights(model, chosen, inference), axis=0)
        loss = model.optimizer.scale_loss(mean_loss(model, -bound, sample_weight))
    return tape.gradient(loss, model.trainable_variables), logs


def _of_dreams(model, x, seed):
    """The sleep phase: -log q(z|x) of x and z drawn from the generative model, as many as there are observations."""
    observation, z = model.descend(tf.shape(x)[0], random.fold_in(seed, 0))
    dream = tf.cast(observation.sample(seed=random.fold_in(seed, 1)), x.dtype)
    z = [tf.stop_gradient(z_l) for z_l in z]
    with tf.GradientTape() as tape:
        log_q = [q.log_prob(z_l) for q, z_l in zip(model.posteriors(dream, z), z, strict=True)]
        loss = model.optimizer.scale_loss(mean_loss(model, -tf.add_n(log_q)))
    return tape.gradient(loss, model.trainable_variables)


def _infer(model, x, seed, reparameterized=True):
    """Samples z ~ q(z|x) for the objective; see `Hierarchy.infer`."""
    posteriors, z = model.infer(model.posterior(x), model.objective.num_particles, seed)
    for layer, q in zip(model.encoder, posteriors, strict=True):
        if reparameterized and q.reparameterization_type != tfd.FULLY_REPARAMETERIZED:
            raise ValueError(
                f"Expected {layer.name} to give a reparameterised distribution, of which {model.objective!r} "
                "differentiates the samples; objectives.ReweightedWakeSleep(num_samples) does not. "
                f"Received: {type(q).__name__} with {q.reparameterization_type}"
            )
    return posteriors, z


def _score_given(model, x, z, hold=False):
    """Scores z that have been cut off from the posteriors that drew them, whose densities are asked for anew."""
    try:
        return model.score(x, z, model.posteriors(x, z, hold))
    except NotImplementedError as error:
        raise ValueError(
            f"Expected posteriors that give the density of any z, which {model.objective!r} asks for. "
            f"Received: one that does not, such as a flow without an inverse: {error}"
        ) from error


def _inference_loss(model, inference, terms, sample_weight):
    """Computes the scaled loss of the inference network where it is not that of the bound."""
    weights = log_weights(model, terms, inference)
    if inference.score_weights:
        # With z held fixed the gradient of this for the inference network is that of log q alone.
        value = -tf.reduce_sum(tf.stop_gradient(inference.score_weights(weights)) * terms.kl, axis=0)
    else:
        value = -inference.bound(weights)
    return model.optimizer.scale_loss(mean_loss(model, value, sample_weight))


def _for_inference(model, gradients, others, share=1.0):
    """Returns `gradients`, with that `share` of `others` in its place for the variables of the inference network."""
    own = {id(v) for layer in model.encoder for v in layer.trainable_variables}
    for i, v in enumerate(model.trainable_variables):
        if id(v) in own and others[i] is not None:
            gradients[i] = others[i] if share == 1.0 else (1.0 - share) * gradients[i] + share * others[i]
    return gradients
