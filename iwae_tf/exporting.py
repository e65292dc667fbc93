"""Export as a SavedModel that needs only TensorFlow."""

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import tensorflow as tf

from iwae_tf import random
from iwae_tf.checks import check_count
from iwae_tf.estimates import likelihood
from iwae_tf.files import write_whole
from iwae_tf.layers import rules
from iwae_tf.layers.columns import Column
from iwae_tf.model import IWAE
from iwae_tf.scoring.saved_columns import write_columns
from iwae_tf.scoring.writer import check_id_column
from iwae_tf.sequences import StateSpaceModel
from iwae_tf.sequences.endpoints import make_sequence_endpoints

#: A function of tensors to a dict of tensors, and the specs of its arguments.
Endpoint: TypeAlias = tuple[Callable[..., dict], list[tf.TensorSpec]]


def export(
    model: IWAE | StateSpaceModel,
    path: str | os.PathLike,
    num_samples: int = 5000,
    seed: int = 0,
    overwrite: bool = False,
    id_column: str | None = None,
    ignored_columns: Sequence[str] = (),
) -> Path:
    """Writes a SavedModel that scores, encodes, decodes, samples and reconstructs without iwae_tf or TFP.

    Endpoints take data as in the training set and return dicts. They raise an `InvalidArgumentError` for values outside
    the support of the likelihood. The result of a row depends neither on its batch nor on its place in it: its noise
    comes from its content and a seed, which is `seed` for endpoints that take none.

    | endpoint | takes | returns |
    |---|---|---|
    | `log_likelihood`, the default | `x` | `log_likelihood`, `standard_error`, `effective_sample_size` `[batch]` |
    | `log_likelihood_seeded` | `x`, `seed` int32[2], `num_samples` int32[] | the same |
    | `encode` | `x` | `mean`, `stddev` of q(z_1 given x); `mean_2`, `stddev_2`, ... from a sample |
    | `decode` | `z` (z_1); with skip connections also `z_top` (z_L) | `mean` of p(x given z_1) |
    | `sample` | `seed` int32[2], `num_samples` int32[] | `mean` of p(x given z_1), z from the prior |
    | `reconstruct` | `x` | `mean` of p(x given z_1), z_1 from q(z_1 given x) |

    With a likelihood that shows draws, such as `layers.PixelCNN`, `mean` is a draw from p(x given z_1).

    A model of sequences has the endpoints of `sequences.endpoints`.

    Args:
      model: an `IWAE`, or a model of sequences.
      path: folder to write; it appears only when it is complete.
      num_samples: k, the importance samples per observation of `log_likelihood`.
      seed: integer seed of the endpoints that take none.
      overwrite: whether to replace an existing folder.
      id_column: name of the column that identifies the rows of .csv and .parquet files; see `scoring.score`.
      ignored_columns: names of other columns of such files that are not scored.

    Returns:
      The path.

    Raises:
      ValueError: if `num_samples` is not a positive integer, `id_column` is the name of a column of scores, or the
        model has not been built.
      FileExistsError: if `path` exists and `overwrite` is false.

    Example:
      ```python
      path = iwae_tf.export(model, "saved_model", num_samples=10)
      endpoints = tf.saved_model.load(str(path)).signatures
      endpoints["log_likelihood"](x=tf.constant(x))["standard_error"]  # [20], in nats
      endpoints["encode"](x=tf.constant(x))["mean"]  # [20, units of z_1]
      ```
    """
    check_count(num_samples, "num_samples")
    check_id_column(id_column)
    if not model.built:
        raise ValueError("Expected a model that is built: call it on data or fit it first. Received: an unbuilt one")
    make = make_sequence_endpoints if isinstance(model, StateSpaceModel) else make_endpoints
    endpoints = make(model, num_samples, random.as_seed(seed))
    # `keras.export.ExportArchive` would trace every endpoint twice.
    module = tf.Module()
    module.weights = [v.value for v in model.variables]
    module.tables = [
        child
        for child in tf.train.TrackableView(model).descendants()
        if isinstance(child, tf.saved_model.experimental.TrackableResource)
    ]
    signatures = {}
    for name, (fn, specs) in endpoints.items():
        signatures[name] = tf.function(_trace(fn, specs), input_signature=specs, autograph=False)
        setattr(module, name, signatures[name])
    signatures["serving_default"] = signatures["log_likelihood"]
    with write_whole(path, overwrite) as folder:
        tf.saved_model.save(module, str(folder), signatures=signatures)
        columns = [c for c in getattr(model.observation_layer, "columns", ()) if isinstance(c, Column)]
        described = ((column.name, column.kind, column.categories) for column in columns)
        write_columns(folder, described, id_column, ignored_columns)
    return Path(path)


def make_endpoints(model: IWAE, num_samples: int, fixed_seed: tf.Tensor) -> dict[str, Endpoint]:
    """Returns the endpoints of a model of single observations, by name; see `export`."""
    x_dtype = model.data_dtype or "float32"
    # One run shows whether XLA can compile the program; if not, the export does without XLA. Scoring the model reuses
    # the program.
    few = tf.constant(min(num_samples, likelihood.MOST_SAMPLES), tf.int32)
    likelihood.get_program(model)(tf.cast(_example_observation(model, fixed_seed), x_dtype), few, fixed_seed)
    z_shapes = {"z": model.latent_shapes[0]}
    if model.skip and len(model.decoder) > 1:
        z_shapes["z_top"] = model.latent_shapes[-1]
    z_dtype = model.dtype_policy.variable_dtype
    z_specs = [tf.TensorSpec([None, *shape], z_dtype, name=name) for name, shape in z_shapes.items()]
    x_spec = tf.TensorSpec([None, *model.event_shape], x_dtype, name="x")
    seed_spec, count_spec = tf.TensorSpec([2], tf.int32, name="seed"), tf.TensorSpec([], tf.int32, name="num_samples")

    def map_rows(fn: Callable[[tf.Tensor, tf.Tensor], dict], x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Maps a function of one preprocessed observation and its seed over the rows."""

        def call(args: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
            row, seed = args
            row = model.preprocess_and_assert(row[tf.newaxis], seed)
            return tf.nest.map_structure(lambda t: t[0], fn(row, random.fold_in(seed, 1)))

        outputs = fn(tf.zeros([1, *model.event_shape], z_dtype), fixed_seed)
        spec = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape[1:], t.dtype), outputs)
        x = model.assert_rules(x)
        return tf.map_fn(call, (x, random.fold_in_rows(fixed_seed, x)), fn_output_signature=spec)

    def log_likelihood_seeded(x: tf.Tensor, seed: tf.Tensor, num_samples: tf.Tensor) -> dict[str, tf.Tensor]:
        return likelihood.get_program(model)(x, num_samples, seed).scores()

    def log_likelihood(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return log_likelihood_seeded(x, fixed_seed, tf.constant(num_samples, tf.int32))

    def encode(x: tf.Tensor) -> dict[str, tf.Tensor]:
        def moments(row: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
            posteriors, _ = model.infer(model.posterior(row), (), seed)
            names = ["", *(f"_{i}" for i in range(2, len(posteriors) + 1))]
            pairs = zip(names, posteriors, strict=True)
            return {f"{moment}{name}": getattr(q, moment)() for name, q in pairs for moment in ("mean", "stddev")}

        return map_rows(moments, x)

    def decode(z: tf.Tensor, z_top: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        rows = (z,) if z_top is None else (z, z_top)
        if not model.shows_draws:
            return {"mean": model.generate(0, rows[0], rows[-1]).mean()}

        def draw(row: tuple[tf.Tensor, ...]) -> tf.Tensor:
            first, top = row[0][tf.newaxis], row[-1][tf.newaxis]
            return model.show(model.generate(0, first, top), fixed_seed)[0]

        return {"mean": tf.map_fn(draw, rows, fn_output_signature=z.dtype)}

    def sample(seed: tf.Tensor, num_samples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"mean": model.sample(num_samples, seed=seed)}

    def reconstruct(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return map_rows(lambda row, seed: {"mean": model.reconstruction(row, seed)}, x)

    return {
        "log_likelihood": (log_likelihood, [x_spec]),
        "log_likelihood_seeded": (log_likelihood_seeded, [x_spec, seed_spec, count_spec]),
        "encode": (encode, [x_spec]),
        "decode": (decode, z_specs),
        "sample": (sample, [seed_spec, count_spec]),
        "reconstruct": (reconstruct, [x_spec]),
    }


def _example_observation(model: IWAE, seed: tf.Tensor) -> tf.Tensor:
    """Returns one valid observation, `[1, *event_shape]`: zeros, or if they are invalid a draw from the model."""
    zeros = tf.zeros([1, *model.event_shape], model.dtype_policy.variable_dtype)
    if rules.are_satisfied(model.rules(zeros)):
        return zeros
    return model.descend(1, seed)[0].sample(seed=seed)


def _trace(fn: Callable[..., dict], specs: list[tf.TensorSpec]) -> Callable[..., dict]:
    """Traces a function now: while it saves, TensorFlow would trace anew what the model has traced already."""
    traced = tf.function(fn, input_signature=specs, autograph=False).get_concrete_function()

    @functools.wraps(fn)
    def endpoint(*args: tf.Tensor, **kwargs: tf.Tensor) -> dict:
        return traced(*args, **kwargs)

    return endpoint
