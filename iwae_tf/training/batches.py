"""A batch whose loss is differentiated: its samples, their scores and its loss."""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf.hierarchy import Hierarchy, Terms
from iwae_tf.log_weights import effective_sample_size
from iwae_tf.metrics import LogWeightMean
from iwae_tf.objectives import Objective

#: The logs of each observation by name, each `[batch]`.
Metrics = dict[str, tf.Tensor]
#: The objectives for a q that is not reparameterised, such as those of discrete latent variables.
WITHOUT_REPARAMETERIZATION = "VIMCO, OVIS, Thermodynamic, REINFORCE and ReweightedWakeSleep"


@dataclasses.dataclass(frozen=True)
class Batch:
    """A batch and how to sample, score and weight it, for every form of a gradient.

    Attributes:
      model: the model.
      objective: the objective of the generative network.
      inference: the objective of the inference network, usually the same.
      x: `[batch, *event_shape]`, as the likelihood sees it.
      seed: `int32[2]`.
      sample_weight: `[batch]`, or `None`.
      scale: scales the loss before it is differentiated.
      state: the networks' state before `infer`, which `score_given` starts from again.
    """

    model: Hierarchy
    objective: Objective
    inference: Objective
    x: tf.Tensor
    seed: tf.Tensor
    sample_weight: tf.Tensor | None
    scale: Callable[[tf.Tensor], tf.Tensor]
    state: list[tf.Tensor] = dataclasses.field(default_factory=list)

    def infer(self, reparameterized: bool = True) -> tuple[list[tfd.Distribution], list[tf.Tensor]]:
        """Samples z ~ q(z|x) for the objective; see `Hierarchy.infer`."""
        model = self.model
        self.state.extend(map(tf.identity, model.state()))
        posterior, options = model.posterior(self.x), filtering_options(self.objective)
        if model.is_sequential:  # It scores while it draws.
            resampled = self.objective.num_backward < self.objective.num_particles
            options["keep_gradients"] = bool(self.inference.path_weights) or resampled
        posteriors, z = model.infer(posterior, self.objective.num_particles, self.seed, **options)
        for layer, q in zip(model.encoder, posteriors, strict=True):
            if reparameterized and q.reparameterization_type != tfd.FULLY_REPARAMETERIZED:
                raise ValueError(
                    f"Expected {layer.name} to return a reparameterised distribution, since {self.objective!r} "
                    f"differentiates its samples; the objectives {WITHOUT_REPARAMETERIZATION} do not. "
                    f"Received: {type(q).__name__} with {q.reparameterization_type}"
                )
        return posteriors, z

    def score(self, z: list[tf.Tensor], posteriors: list[Any]) -> Terms:
        """Scores samples, with the KL in closed form if the objective has it so."""
        return self.model.score(self.x, z, posteriors, self.objective.analytic_kl)

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
        metrics = compute_metrics(self.model, self.objective, terms, self.model.kl_weight)
        return self.scale_mean(metrics["loss"]), metrics

    def inference_loss(self, terms: Terms) -> tf.Tensor:
        """Returns the scaled loss of the inference network where it differs from the loss of the bound."""
        weights = self.inference_log_weights(terms)
        if self.inference.score_weights:
            coefficients = tf.stop_gradient(self.inference.score_weights(weights))
            return self.scale_mean(-tf.reduce_sum(coefficients * self.score_of_posterior(terms), axis=0))
        loss = -self.inference.bound(weights)
        if self.inference.advantages:
            signals, error = self.subtract_baseline(weights)
            advantages = tf.stop_gradient(self.inference.advantages(signals))
            loss += error - tf.reduce_sum(advantages * terms.log_posterior, axis=0)
        return self.scale_mean(loss)

    def subtract_baseline(self, log_weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Subtracts a learned baseline from log weights, `[k, batch]`, if the inference network's objective has one.

        The baseline is the mean log weight of the other observations plus the prediction of the model's network. It
        does not depend on the samples of its observation, so that the gradient keeps its mean.

        Returns:
          The differences, and half of their mean square, whose gradient trains the network, `[batch]`.
        """
        if not self.inference.learns_baseline:
            return log_weights, tf.zeros_like(log_weights[0])
        signals = tf.stop_gradient(log_weights)
        means = tf.reduce_mean(signals, axis=0)
        others = tf.cast(tf.shape(means)[0] - 1, means.dtype)
        centre = tf.math.divide_no_nan(tf.reduce_sum(means) - means, others)
        signals -= centre + self.model.predict_baseline(self.x)
        return signals, 0.5 * tf.reduce_mean(signals**2, axis=0)

    def path_factors(self, terms: Terms) -> tf.Tensor:
        """Returns the factors of the gradient that reaches each sample, `[k, batch]`."""
        assert self.inference.path_weights is not None
        kl_weight = self.model.kl_weight * self.inference.kl_weight
        return self.inference.path_weights(self.inference_log_weights(terms), kl_weight)

    def score_of_posterior(self, terms: Terms) -> tf.Tensor:
        """Returns what the inference network follows where it follows the score of q, `[k, batch]`.

        With z fixed the inference network enters log q and, if the prior is made from it, log p(z).
        """
        log_prior = self.model.kl_weight * self.inference.kl_weight * (terms.log_posterior - terms.kl)
        return terms.log_posterior + log_prior

    def log_weights(self, terms: Terms) -> tf.Tensor:
        """Computes the log w of the bound, `[k, batch]`."""
        return log_weights(self.objective, terms, self.model.kl_weight)

    def inference_log_weights(self, terms: Terms) -> tf.Tensor:
        """Computes the log w of the inference network's objective, `[k, batch]`."""
        return log_weights(self.inference, terms, self.model.kl_weight)

    def scale_mean(self, values: tf.Tensor) -> tf.Tensor:
        """Returns the scaled loss of values `[batch]`."""
        return self.scale(mean_loss(self.model, values, self.sample_weight))


def compute_metrics(
    model: Hierarchy, objective: Objective, terms: Terms, kl_weight: float | tf.Tensor = 1.0
) -> Metrics:
    """Computes the metrics of each observation from `Terms`: those that `IWAE` lists, and the model's `LogWeightMean`s.

    `kl_weight` is the warm-up's weight.
    """
    weights = log_weights(objective, terms, kl_weight)
    custom = (tracker for tracker in model.trackers if isinstance(tracker, LogWeightMean))
    loss = -objective.bound(weights)
    metrics = {
        **{metric.name: metric.function(terms.log_weights()) for metric in custom},
        "loss": loss,
        "elbo": tf.reduce_mean(terms.reconstruction - terms.kl, axis=0),
        "reconstruction": tf.reduce_mean(terms.reconstruction, axis=0),
        "kl": tf.reduce_mean(terms.kl, axis=0),
        "effective_sample_size": effective_sample_size(weights),
    }
    if terms.over_time is not None:
        num_steps, size, resampled = terms.over_time
        metrics |= {"loss_per_step": loss / num_steps, "effective_sample_size": size, "resampled": resampled}
    return metrics


def filtering_options(objective: Objective) -> dict[str, Any]:
    """Returns how a model of sequences draws its samples, beside their number."""
    return {"filtering": getattr(objective, "generative", objective)} if objective.filters else {}


def mean_loss(model: Hierarchy, values: tf.Tensor, sample_weight: tf.Tensor | None = None) -> tf.Tensor:
    """Computes the scalar loss of values `[batch]`: their weighted mean plus the layers' regularisation losses."""
    if sample_weight is not None:
        values *= tf.cast(sample_weight, values.dtype)
    return tf.add_n([tf.reduce_mean(values), *model.losses])


def log_weights(objective: Objective, terms: Terms, kl_weight: float | tf.Tensor) -> tf.Tensor:
    """Computes log w with the objective's weight of the KL and free bits, and the warm-up's weight."""
    return terms.log_weights(kl_weight * objective.kl_weight, objective.free_bits)
