"""The gradients of an objective: how log weights are differentiated for the two networks.

Each objective (`objectives.Objective`) asks for one of a few forms, all over the same sampling and scoring:

    g_theta = sum_i a_i d log p(x, z_i) / d theta
    g_phi   = sum_i b_i (d log w_i / d z_i)(d z_i / d phi) + sum_i c_i d log q(z_i|x) / d phi, z_i held fixed

The sums run over all samples, or over a few that stand for them (`resampled`).

Values per observation are averaged over the batch, so that gradients of parts of a batch can be averaged too.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from iwae_tf import random
from iwae_tf.hierarchy import Hierarchy
from iwae_tf.objectives import Objective
from iwae_tf.training.batches import Batch, Metrics, mean_loss
from iwae_tf.training.resampled import choose_samples

#: One for each trainable variable; `None` where the loss does not depend on it.
Gradients = list[tf.Tensor | None]


def compute(
    model: Hierarchy,
    objective: Objective,
    x: tf.Tensor,
    seed: tf.Tensor,
    sample_weight: tf.Tensor | None = None,
    scale: Callable[[tf.Tensor], tf.Tensor] = lambda loss: loss,
) -> tuple[Gradients, Metrics]:
    """Computes the gradients of the loss of a batch.

    Args:
      model: the model.
      objective: the objective, usually `model.objective`.
      x: `[batch, *event_shape]`, as the likelihood sees it.
      seed: `int32[2]`.
      sample_weight: `[batch]`, or `None`.
      scale: scales the loss before it is differentiated, such as `optimizer.scale_loss`.

    Returns:
      The gradients for the trainable variables of the model, 0 for a baseline that the objective does not learn; and
      the metrics of `compute_metrics`.

    Raises:
      ValueError: if a posterior lacks what the objective needs, samples with a gradient or the density of a given z; or
        if the model has a ladder and the objective follows different bounds for the two networks.
    """
    check_objective(model, objective)
    inference = objective.inference or objective
    if objective.draws_apart:
        generative = objective.generative  # type: ignore[attr-defined]
        gradients, values = compute(model, generative, x, seed, sample_weight, scale)
        others, _ = compute(model, inference, x, random.fold_in(seed, len(model.encoder) + 1), sample_weight, scale)
        return _mix_in(model, gradients, others), values
    resampled = objective.num_backward < objective.num_particles
    if resampled and model.state():
        raise ValueError(
            "Expected networks whose output for a sample depends on that sample alone, with backward_samples. "
            f"Received: some with state, {model.state()[0].path}, such as dropout or batch normalisation"
        )
    if inference.path_weights:
        form = _differentiate_paths
    elif inference.follows_scores or inference is not objective:
        form = _differentiate_apart
    else:
        form = _differentiate_bound
    batch = Batch(model, objective, inference, x, seed, sample_weight, scale)
    if resampled:
        batch = choose_samples(batch)
    gradients, values = form(batch)
    if inference.sleep:
        gradients = _mix_in(model, gradients, _differentiate_dreams(batch), inference.sleep)
    if model.baseline is not None and not inference.learns_baseline:
        unused = {id(v) for v in model.baseline.trainable_variables}
        pairs = zip(gradients, model.trainable_variables, strict=True)
        gradients = [tf.zeros_like(v) if id(v) in unused else g for g, v in pairs]
    return gradients, values


def attach(loss: tf.Tensor, gradients: Gradients, variables: list[Any]) -> tf.Tensor:
    """Returns the loss with these gradients for the variables, whatever its own gradients are.

    Every gradient of an objective then arrives at a tape, those too that no loss has, such as the gradient of DReG.
    """
    pairs = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
    linear = tf.add_n([tf.reduce_sum(tf.stop_gradient(g) * tf.convert_to_tensor(v)) for g, v in pairs])
    return tf.stop_gradient(loss) + (linear - tf.stop_gradient(linear))


def check_objective(model: Hierarchy, objective: Objective) -> None:
    """Raises a `ValueError` if the model cannot follow the objective, or the objective contradicts itself.

    A model with a ladder cannot follow different bounds for the two networks: its q contains parameters of p, which
    could follow only one of them. Path gradients are fine: they differentiate q by its distribution parameters,
    wherever those come from.
    """
    objective.check_resampling()
    if objective.filters and not model.is_sequential:
        raise ValueError(f"Expected a model of sequences with {objective!r}. Received: {type(model).__name__}")
    if model.ladder and (objective.inference or objective.follows_scores or objective.sleep):
        raise ValueError(
            f"Expected an objective that both networks follow, since with ladder=True they share parameters. "
            f"Received: {objective!r}"
        )
    if (objective.inference or objective).learns_baseline and model.baseline is None:
        raise ValueError(
            f"Expected a model with a network for the baseline of {objective!r}, such as "
            f"IWAE(..., baseline=networks.Baseline()). Received: {type(model).__name__} without one"
        )


def _differentiate_bound(batch: Batch) -> tuple[Gradients, Metrics]:
    """a = b = -c: one backward pass through everything."""
    with tf.GradientTape() as tape:
        posteriors, z = batch.infer()
        loss, values = batch.loss(batch.score(z, posteriors))
    return tape.gradient(loss, batch.model.trainable_variables), values


def _differentiate_paths(batch: Batch) -> tuple[Gradients, Metrics]:
    """c = 0: scores with the parameters of q fixed, and multiplies what reaches each sample by a factor.

    One backward pass through scoring serves both networks, unless they have different objectives.
    """
    model, inference = batch.model, batch.inference
    variables = model.trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        _, sampled = batch.infer()
        z = [tf.stop_gradient(z_l) for z_l in sampled]
        tape.watch(z)
        terms = batch.score_given(z, stop_weight_gradients=True)
        loss, values = batch.loss(terms)
        inference_loss = loss if inference is batch.objective else batch.inference_loss(terms)
    direct, arriving = tape.gradient(inference_loss, [variables, z])
    if inference_loss is not loss:
        direct = _mix_in(model, tape.gradient(loss, variables), direct)
    factors = batch.path_factors(terms)
    arriving = [g * factors[(..., *[tf.newaxis] * (g.shape.rank - 2))] for g in arriving]
    path = tape.gradient(sampled, variables, output_gradients=arriving)
    return [b if a is None else a if b is None else a + b for a, b in zip(direct, path, strict=True)], values


def _differentiate_apart(batch: Batch) -> tuple[Gradients, Metrics]:
    """Differentiates two losses of the same log weights, one for each network."""
    model, inference = batch.model, batch.inference
    with tf.GradientTape(persistent=True) as tape:
        if inference.follows_scores:
            z = [tf.stop_gradient(z_l) for z_l in batch.infer(reparameterized=False)[1]]
            terms = batch.score_given(z)
        else:
            posteriors, z = batch.infer()
            terms = batch.score(z, posteriors)
        loss, values = batch.loss(terms)
        inference_loss = batch.inference_loss(terms)
    variables = model.trainable_variables
    # XLA removes the gradients that nobody uses.
    return _mix_in(model, tape.gradient(loss, variables), tape.gradient(inference_loss, variables)), values


def _differentiate_dreams(batch: Batch) -> Gradients:
    """The sleep phase: -log q(z|x) for x and z drawn from the generative model, one draw per observation."""
    model, seed = batch.model, random.fold_in(batch.seed, len(batch.model.encoder))
    observation, z = model.descend(tf.shape(batch.x)[0], random.fold_in(seed, 0))
    dream = tf.cast(observation.sample(seed=random.fold_in(seed, 1)), batch.x.dtype)
    z = [tf.stop_gradient(z_l) for z_l in z]
    with tf.GradientTape() as tape:
        log_q = [q.log_prob(z_l) for q, z_l in zip(model.posteriors(dream, z), z, strict=True)]
        loss = batch.scale(mean_loss(model, -tf.add_n(log_q)))
    return tape.gradient(loss, model.trainable_variables)


def _mix_in(model: Hierarchy, gradients: Gradients, others: Gradients, share: float = 1.0) -> Gradients:
    """Returns `gradients`, with `share` of `others` mixed in for the variables of the inference network.

    A baseline counts as a part of the inference network.
    """
    networks = model.encoder if model.baseline is None else [*model.encoder, model.baseline]
    own = {id(v) for layer in networks for v in layer.trainable_variables}
    mixed: Gradients = []
    for variable, gradient, other in zip(model.trainable_variables, gradients, others, strict=True):
        if id(variable) not in own or other is None:
            mixed.append(gradient)
        else:
            kept = 0.0 if share == 1.0 or gradient is None else (1.0 - share) * gradient
            mixed.append(kept + share * other)
    return mixed
