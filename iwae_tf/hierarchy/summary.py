"""What a model is made of, as a table."""

import itertools

import pandas as pd
import tensorflow as tf

from iwae_tf.layers.axes import ReshapedBatch


def table(model):
    """Makes a table of the stochastic layers of a model, those of the encoder bottom up, then those of p top down.

    Args:
      model: an `IWAE`.

    Returns:
      A `DataFrame` with a row for each layer: the `density` that it gives, the `layer` by name, the `distribution`, the
      shape of one draw, `event`, and the number of `parameters`; of a model that is not built only what is known.
    """
    layers = [*model.encoder, model.prior, *model.decoder]
    distributions, shapes = ["?"] * len(layers), [getattr(layer, "event_shape", "?") for layer in layers]
    if model.built:
        distributions = list(map(_name, _emitted(model)))
        shapes = [*model.latent_shapes, *reversed(model.latent_shapes), model.event_shape]
    return pd.DataFrame(
        {
            "density": _densities(model),
            "layer": [layer.name for layer in layers],
            "distribution": distributions,
            "event": list(map(str, shapes)),
            "parameters": [layer.count_params() if layer.built else "?" for layer in layers],
        }
    )


def named_layers(model):
    """Returns the densities of the table's rows with the names of the layers."""
    rows = table(model)
    return [f"{density} ({layer})" for density, layer in zip(rows.density, rows.layer, strict=True)]


def text(model):
    """Returns the table as text, between the name of the model and the number of its parameters."""
    lines = table(model).to_string(index=False, formatters={"parameters": _with_commas})
    if model.built:
        trainable = sum(weight.shape.num_elements() for weight in model.trainable_variables)
        last = f"{model.count_params():,} parameters, {trainable:,} of them trainable"
    else:
        last = "Not built yet: the weights are made by the first data, or by model.build((None, *event_shape))"
    return f"Model {model.name!r}, objective {model.objective}\n\n{lines}\n\n{last}"


def _densities(model):
    """Names the densities of the table's rows in the words of the docs."""
    latents = [f"z{i}" for i in range(1, len(model.encoder) + 1)]
    variables = ["x", *latents]
    if model.ladder:
        q = [f"q({z}|{above}, x)" for z, above in itertools.pairwise(latents)] + [f"q({latents[-1]}|x)"]
    else:
        q = [f"q({z}|{below})" for below, z in zip(variables, latents, strict=False)]
    p: list[str] = []
    for below, z in zip(variables, latents, strict=False):
        skipped = f", {latents[-1]}" if model.skip and z != latents[-1] else ""
        p.insert(0, f"p({below}|{z}{skipped})")
    return [*q, f"p({latents[-1]})", *p]


def _emitted(model):
    """Returns the distributions of the table's rows, for an observation of zeros."""
    x = tf.zeros([1, *model.event_shape], model.dtype_policy.variable_dtype)
    posteriors, z = model.infer(model.posterior(x), (), tf.zeros(2, tf.int32))
    return [*posteriors, *reversed(model.generative(z))]


def _name(distribution):
    """Names a distribution by what it is of, without what only arranges its axes."""
    while isinstance(distribution, ReshapedBatch) or hasattr(distribution, "reinterpreted_batch_ndims"):
        distribution = distribution.distribution
    return type(distribution).__name__


def _with_commas(number):
    return number if isinstance(number, str) else f"{number:,}"
