"""The gradients of an objective: how log weights are differentiated for the two networks.

Each objective (`objectives.Objective`) asks for one of a few forms, all over the same sampling and scoring:

    g_theta = sum_i a_i d log p(x, z_i) / d theta
    g_phi   = sum_i b_i (d log w_i / d z_i)(d z_i / d phi) + sum_i c_i d log q(z_i|x) / d phi, z_i held fixed

Values per observation are averaged over the batch, so that gradients of parts of a batch can be averaged too.
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf import random
from iwae_tf.hierarchy import Hierarchy, Terms
from iwae_tf.log_weights import effective_sample_size
from iwae_tf.objectives import Objective

#: One for each trainable variable; `None` where the loss does not depend on it.
Gradients = list[tf.Tensor | None]
#: The logs of each observation by name, each `[batch]`.
Metrics = dict[str, tf.Tensor]


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
      The gradients for the trainable variables of the model, and the metrics of `compute_metrics`.

    Raises:
      ValueError: if a posterior lacks what the objective needs, samples with a gradient or the density of a given z; or
        if the model has a ladder and the objective follows different bounds for the two networks.
    """
    check_objective(model, objective)
    inference = objective.inference or objective
    if objective.choose and model.state():
        raise ValueError(
            "Expected networks whose output for a sample depends on that sample alone, with backward_samples. "
            f"Received: some with state, {model.state()[0].path}, such as dropout or batch normalisation"
        )
    if objective.choose:
        form = _differentiate_chosen_samples
    elif inference.path_weights:
        form = _differentiate_paths
    elif inference.score_weights or inference is not objective:
        form = _differentiate_apart
    else:
        form = _differentiate_bound
    batch = _Batch(model, objective, inference, x, seed, sample_weight, scale)
    gradients, values = form(batch)
    if inference.sleep:
        gradients = _mix_in(model, gradients, _differentiate_dreams(batch), inference.sleep)
    return gradients, values


def check_objective(model: Hierarchy, objective: Objective) -> None:
    """Raises a `ValueError` if the model has a ladder and the objective follows different bounds for the networks.

    The q of a ladder contains parameters of p, which could follow only one of them. Path gradients are fine: they
    differentiate q by its distribution parameters, wherever those come from.
    """
    if model.ladder and (objective.inference or objective.score_weights or objective.sleep):
        raise ValueError(
            f"Expected an objective that both networks follow, since with ladder=True they share parameters. "
            f"Received: {objective!r}"
        )


def compute_metrics(objective: Objective, terms: Terms, kl_weight: float | tf.Tensor = 1.0) -> Metrics:
    """Computes the metrics of each observation from `Terms`; `IWAE` lists them. `kl_weight` is the warm-up's weight."""
    log_weights = _log_weights(objective, terms, kl_weight)
    return {
        "loss": -objective.bound(log_weights),
        "elbo": tf.reduce_mean(terms.log_weights(), axis=0),
        "reconstruction": tf.reduce_mean(terms.reconstruction, axis=0),
        "kl": tf.reduce_mean(terms.kl, axis=0),
        "effective_sample_size": effective_sample_size(log_weights),
    }


def mean_loss(model: Hierarchy, values: tf.Tensor, sample_weight: tf.Tensor | None = None) -> tf.Tensor:
    """Computes the scalar loss of values `[batch]`: their weighted mean plus the layers' regularisation losses."""
    if sample_weight is not None:
        values *= tf.cast(sample_weight, values.dtype)
    return tf.add_n([tf.reduce_mean(values), *model.losses])


def _log_weights(objective: Objective, terms: Terms, kl_weight: float | tf.Tensor) -> tf.Tensor:
    """Computes log w with the objective's weight of the KL and free bits, and the warm-up's weight."""
    return terms.log_weights(kl_weight * objective.kl_weight, objective.free_bits)


@dataclasses.dataclass(frozen=True)
class _Batch:
    """A batch and how to sample, score and weight it, for every form of a gradient.

    Attributes:
      inference: the objective of the inference network.
      state: the networks' state before `infer`, which `score_given` starts from again.
    """

    model: Hierarchy
    objective: Objective
    inference: Objective
    x: tf.Tensor
    seed: tf.Tensor
    sample_weight: tf.Tensor | None
    scale: Callable
    state: list[tf.Tensor] = dataclasses.field(default_factory=list)

    def infer(self, reparameterized: bool = True) -> tuple[list[tfd.Distribution], list[tf.Tensor]]:
        """Samples z ~ q(z|x) for the objective; see `Hierarchy.infer`."""
        model = self.model
        self.state.extend(map(tf.identity, model.state()))
        posteriors, z = model.infer(model.posterior(self.x), self.objective.num_particles, self.seed)
        for layer, q in zip(model.encoder, posteriors, strict=True):
            if reparameterized and q.reparameterization_type != tfd.FULLY_REPARAMETERIZED:
                raise ValueError(
                    f"Expected {layer.name} to return a reparameterised distribution, since {self.objective!r} "
                    "differentiates its samples; objectives.ReweightedWakeSleep(num_samples) does not. "
                    f"Received: {type(q).__name__} with {q.reparameterization_type}"
                )
        return posteriors, z

    def score_given(self, z: list[tf.Tensor], stop_weight_gradients: bool = False) -> Terms:
        """Scores z without their gradients as samples: the posteriors are computed again from z."""
        try:
            return self.model.score(self.x, z, self._recompute_posteriors(z, stop_weight_gradients))
        except NotImplementedError as error:
            raise ValueError(
                f"Expected posteriors with a density for any z, which {self.objective!r} needs. "
                f"Received: a posterior without, such as a flow without an inverse: {error}"
            ) from error

    def _recompute_posteriors(self, z: list[tf.Tensor], stop_weight_gradients: bool) -> list[tfd.Distribution]:
        """Calls the encoder as `infer` did: with the same noise in dropout, and without updating any average twice."""
        variables = self.model.state()
        after = list(map(tf.identity, variables))
        for variable, value in zip(variables, self.state, strict=True):
            variable.assign(value)
        posteriors = self.model.posteriors(self.x, z, stop_weight_gradients)
        for variable, value in zip(variables, after, strict=True):
            variable.assign(value)
        return posteriors

    def loss(self, terms: Terms) -> tuple[tf.Tensor, Metrics]:
        """Returns the scaled loss of the bound, and the metrics."""
        metrics = compute_metrics(self.objective, terms, self.model.kl_weight)
        return self.scale_mean(metrics["loss"]), metrics

    def inference_loss(self, terms: Terms) -> tf.Tensor:
        """Returns the scaled loss of the inference network where it differs from the loss of the bound."""
        weights = _log_weights(self.inference, terms, self.model.kl_weight)
        if self.inference.score_weights:
            # With z fixed the inference network enters log q and, if the prior is made from it, log p(z).
            coefficients = tf.stop_gradient(self.inference.score_weights(weights))
            log_prior = self.model.kl_weight * self.inference.kl_weight * (terms.log_posterior - terms.kl)
            return self.scale_mean(-tf.reduce_sum(coefficients * (terms.log_posterior + log_prior), axis=0))
        return self.scale_mean(-self.inference.bound(weights))

    def scale_mean(self, values: tf.Tensor) -> tf.Tensor:
        return self.scale(mean_loss(self.model, values, self.sample_weight))


def _differentiate_bound(batch: _Batch) -> tuple[Gradients, Metrics]:
    """a = b = -c: one backward pass through everything."""
    with tf.GradientTape() as tape:
        posteriors, z = batch.infer()
        loss, values = batch.loss(batch.model.score(batch.x, z, posteriors, batch.objective.analytic_kl))
    return tape.gradient(loss, batch.model.trainable_variables), values


def _differentiate_paths(batch: _Batch) -> tuple[Gradients, Metrics]:
    """c = 0: scores with the parameters of q fixed, and multiplies what reaches each sample by a factor.

    One backward pass through scoring serves both networks, unless they have different objectives.
    """
    model, inference = batch.model, batch.inference
    assert inference.path_weights is not None
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
    factors = inference.path_weights(
        _log_weights(inference, terms, model.kl_weight), model.kl_weight * inference.kl_weight
    )
    arriving = [g * factors[(..., *[tf.newaxis] * (g.shape.rank - 2))] for g in arriving]
    path = tape.gradient(sampled, variables, output_gradients=arriving)
    return [b if a is None else a if b is None else a + b for a, b in zip(direct, path, strict=True)], values


def _differentiate_apart(batch: _Batch) -> tuple[Gradients, Metrics]:
    """Differentiates two losses of the same log weights, one for each network."""
    model, inference = batch.model, batch.inference
    with tf.GradientTape(persistent=True) as tape:
        if inference.score_weights:
            z = [tf.stop_gradient(z_l) for z_l in batch.infer(reparameterized=False)[1]]
            terms = batch.score_given(z)
        else:
            posteriors, z = batch.infer()
            terms = model.score(batch.x, z, posteriors, inference.analytic_kl)
        loss, values = batch.loss(terms)
        inference_loss = batch.inference_loss(terms)
    variables = model.trainable_variables
    # XLA removes the gradients that nobody uses.
    return _mix_in(model, tape.gradient(loss, variables), tape.gradient(inference_loss, variables)), values


def _differentiate_chosen_samples(batch: _Batch) -> tuple[Gradients, Metrics]:
    """Scores all samples and differentiates some; the others only go backward through sampling."""
    model, inference = batch.model, batch.inference
    assert inference.choose is not None
    with tf.GradientTape() as tape:
        posteriors, z = batch.infer()
        with tape.stop_recording():
            terms = model.score(batch.x, z, posteriors)
            values = compute_metrics(batch.objective, terms, model.kl_weight)
            weights = _log_weights(inference, terms, model.kl_weight)
            choice = inference.choose(weights, random.fold_in(batch.seed, len(model.encoder)))
            places = tf.stack([choice, tf.broadcast_to(tf.range(tf.shape(choice)[1]), tf.shape(choice))], axis=-1)
        chosen = batch.score_given([tf.gather_nd(z_l, places) for z_l in z])
        loss = batch.scale_mean(-tf.reduce_mean(_log_weights(inference, chosen, model.kl_weight), axis=0))
    return tape.gradient(loss, model.trainable_variables), values


def _differentiate_dreams(batch: _Batch) -> Gradients:
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
    """Returns `gradients`, with `share` of `others` mixed in for the variables of the inference network."""
    own = {id(v) for layer in model.encoder for v in layer.trainable_variables}
    mixed: Gradients = []
    for variable, gradient, other in zip(model.trainable_variables, gradients, others, strict=True):
        if id(variable) not in own or other is None:
            mixed.append(gradient)
        else:
            kept = 0.0 if share == 1.0 or gradient is None else (1.0 - share) * gradient
            mixed.append(kept + share * other)
    return mixed
