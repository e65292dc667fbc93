"""The resampled backward pass: all samples are scored, and a few of them are differentiated for all."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from iwae_tf import random
from iwae_tf.hierarchy import Terms
from iwae_tf.resampling import resample, take
from iwae_tf.training.batches import Batch, Metrics, compute_metrics


class Chosen(NamedTuple):
    """The samples that are differentiated, and what makes them stand for all.

    Attributes:
      z: the samples of each layer, `[m, batch, *event]`.
      indices: their numbers among all samples, `[m, batch]`.
      bound: coefficients of log w in the loss of the generative network, `[m, batch]`.
      inference: coefficients of log w, or of the score of q, in the loss of the inference network, `[m, batch]`.
      advantages: coefficients of log q in the loss of the inference network, `[m, batch]`, or `None`.
      path: factors of the gradient that reaches each sample, `[m, batch]`, or `None`.
      metrics: metrics of all samples.
    """

    z: list[tf.Tensor]
    indices: tf.Tensor
    bound: tf.Tensor
    inference: tf.Tensor
    advantages: tf.Tensor | None
    path: tf.Tensor | None
    metrics: Metrics


class _Scored(NamedTuple):
    """A posterior whose density at the one z that is asked for has been computed."""

    log_density: tf.Tensor

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        return self.log_density


@dataclasses.dataclass(frozen=True)
class ResampledBatch(Batch):
    """A batch of which m of k samples are differentiated.

    Every form of a gradient is a sum over samples, with coefficients that depend on all log weights. Here each chosen
    sample gets its coefficient over the probability that it is chosen, so the gradient keeps its mean.
    """

    chosen: Chosen = dataclasses.field(kw_only=True)

    def infer(self, reparameterized: bool = True) -> tuple[list[Any], list[tf.Tensor]]:
        """Returns the chosen samples, with their gradients as draws from q if `reparameterized`."""
        if not reparameterized:
            return [], self.chosen.z
        try:
            return self.model.redraw(self.model.posterior(self.x), self.chosen.z)
        except NotImplementedError as error:
            # Other samples than Gaussian ones are drawn again, all of them, and only p is spared the rest.
            if self.objective.analytic_kl:
                raise ValueError(
                    "Expected posteriors that are diagonal Gaussians with backward_samples and a KL in closed form. "
                    f"Received: {self.objective!r}"
                ) from error
            indices, (posteriors, z) = self.chosen.indices, super().infer()
            densities = (take(q.log_prob(z_l), indices) for q, z_l in zip(posteriors, z, strict=True))
            return [_Scored(density) for density in densities], [take(z_l, indices) for z_l in z]

    def loss(self, terms: Terms) -> tuple[tf.Tensor, Metrics]:
        return self.scale_mean(-_dot(self.chosen.bound, self.log_weights(terms))), self.chosen.metrics

    def inference_loss(self, terms: Terms) -> tf.Tensor:
        values = self.score_of_posterior(terms) if self.inference.score_weights else self.inference_log_weights(terms)
        loss = -_dot(self.chosen.inference, values)
        if self.chosen.advantages is not None:
            loss -= _dot(self.chosen.advantages, terms.log_posterior)
        return self.scale_mean(loss)

    def path_factors(self, terms: Terms) -> tf.Tensor:
        assert self.chosen.path is not None
        return self.chosen.path


def choose_samples(batch: Batch) -> ResampledBatch:
    """Scores all samples of a batch, and chooses those that are differentiated.

    Args:
      batch: a batch whose objective has fewer `num_backward` than `num_particles`.

    References:
      Fearnhead & Clifford 2003, J. R. Stat. Soc. B 65; see `resample`.
    """
    model, objective, inference = batch.model, batch.objective, batch.inference
    posteriors, z = batch.infer(reparameterized=not inference.follows_scores)
    terms = batch.score(z, posteriors)
    log_weights = batch.inference_log_weights(terms)
    bound = of_inference = _differentiate(objective.bound, batch.log_weights(terms))
    if inference.score_weights:
        of_inference = inference.score_weights(log_weights)
    elif inference is not objective:
        of_inference = _differentiate(inference.bound, log_weights)
    advantages = inference.advantages(log_weights) if inference.advantages else None
    importance = tf.abs(bound) if of_inference is bound else tf.abs(bound) + tf.abs(of_inference)
    if advantages is not None:
        importance += tf.abs(advantages)
    seed = random.fold_in(batch.seed, len(model.encoder))
    indices, factors = resample(importance, objective.num_backward, seed)
    chosen = Chosen(
        z=[take(z_l, indices) for z_l in z],
        indices=indices,
        bound=factors * take(bound, indices),
        inference=factors * take(of_inference, indices),
        advantages=None if advantages is None else factors * take(advantages, indices),
        path=take(batch.path_factors(terms), indices) if inference.path_weights else None,
        metrics=compute_metrics(model, objective, terms, model.kl_weight),
    )
    fields = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    return ResampledBatch(**fields, chosen=chosen)


def _differentiate(bound: Callable[[tf.Tensor], tf.Tensor], log_weights: tf.Tensor) -> tf.Tensor:
    """Returns the coefficients with which the log weights enter the gradient of a bound, `[k, batch]`."""
    with tf.GradientTape() as tape:
        tape.watch(log_weights)
        value = bound(log_weights)
    return tape.gradient(value, log_weights)


def _dot(coefficients: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Sums over the samples; one with the coefficient 0 adds nothing, also where its log weight is -inf."""
    return tf.reduce_sum(tf.math.multiply_no_nan(values, coefficients), axis=0)
