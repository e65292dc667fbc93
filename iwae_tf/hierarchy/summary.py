"""The summary of a model: a table of its stochastic layers."""

import itertools

import pandas as pd
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf.data.observation_model import ObservationModel
from iwae_tf.layers.axes import ReshapedBatch


def tabulate(model: ObservationModel) -> pd.DataFrame:
    """Makes a table of the stochastic layers of a model: the layers of q bottom up, then the layers of p top down.

    Args:
      model: a `Hierarchy`.

    Returns:
      A `DataFrame` with a row for each layer: the `density` that it returns, its name as `layer`, the `distribution`,
      the `event` shape of one draw, and the number of `parameters`; "?" where these are unknown before the model is
      built.

    Example:
      ```python
      from iwae_tf.hierarchy import summary

      list(summary.tabulate(model).density)  # ["q(z1|x)", "q(z2|z1)", "p(z2)", "p(z1|z2)", "p(x|z1)"]
      ```
    """
    layers = [*model.encoder, model.prior, *model.decoder]
    distributions, shapes = ["?"] * len(layers), [getattr(layer, "event_shape", "?") for layer in layers]
    if model.built:
        distributions = list(map(_name_distribution, _compute_distributions(model)))
        shapes = [*model.latent_shapes, *reversed(model.latent_shapes), model.event_shape]
    return pd.DataFrame(
        {
            "density": _name_densities(model),
            "layer": [layer.name for layer in layers],
            "distribution": distributions,
            "event": list(map(str, shapes)),
            "parameters": [layer.count_params() if layer.built else "?" for layer in layers],
        }
    )


def name_layers(model: ObservationModel) -> list[str]:
    """Returns the density and the name of each layer, such as "q(z1|x) (independent_normal)", in the table's order."""
    rows = tabulate(model)
    return [f"{density} ({layer})" for density, layer in zip(rows.density, rows.layer, strict=True)]


def to_text(model: ObservationModel) -> str:
    """Returns the summary as text: the model's name and objective, the table, and the number of parameters."""
    lines = tabulate(model).to_string(index=False, formatters={"parameters": _format_count})
    if model.built:
        trainable = sum(weight.shape.num_elements() for weight in model.trainable_variables)
        last = f"{model.count_params():,} parameters, {trainable:,} of them trainable"
    else:
        last = "Not built yet: the first data make the weights, or model.build((None, *event_shape))"
    return f"Model {model.name!r}, objective {model.objective}\n\n{lines}\n\n{last}"


def _name_densities(model: ObservationModel) -> list[str]:
    """Names the densities of the table's rows in the words of the docs."""
    latents = [f"z{i}" for i in range(1, len(model.encoder) + 1)]
    variables = ["x", *latents]
    if model.ladder:
        q = [f"q({z}|{above}, x)" for z, above in itertools.pairwise(latents)] + [f"q({latents[-1]}|x)"]
    else:
        q = [f"q({z}|{below})" for below, z in zip(variables, latents, strict=False)]
    p: list[str] = []
    for below, z in zip(variables, latents, strict=False):
        top = f", {latents[-1]}" if model.skip and z != latents[-1] else ""
        p.insert(0, f"p({below}|{z}{top})")
    return [*q, f"p({latents[-1]})", *p]


def _compute_distributions(model: ObservationModel) -> list[tfd.Distribution]:
    """Computes the distributions of the table's rows for an observation of zeros."""
    x = tf.zeros([1, *model.event_shape], model.dtype_policy.variable_dtype)
    posteriors, z = model.infer(model.posterior(x), (), tf.zeros(2, tf.int32))
    return [*posteriors, *reversed(model.generative(z))]


def _name_distribution(distribution: tfd.Distribution) -> str:
    """Names the distribution, ignoring wrappers such as `tfd.Independent`."""
    while isinstance(distribution, ReshapedBatch) or hasattr(distribution, "reinterpreted_batch_ndims"):
        distribution = distribution.distribution
    return type(distribution).__name__.removesuffix("Distribution")


def _format_count(count: int | str) -> str:
    return count if isinstance(count, str) else f"{count:,}"
