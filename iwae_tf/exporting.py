"""Export as a SavedModel that needs TensorFlow alone."""

from pathlib import Path

import tensorflow as tf

from iwae_tf import random
from iwae_tf.checks import check_count
from iwae_tf.estimates.likelihood import MOST_SAMPLES
from iwae_tf.files import written_whole
from iwae_tf.layers import rules
from iwae_tf.layers.columns import Column
from iwae_tf.scoring import notes


def export(model, path, num_samples=5000, seed=0, overwrite=False):
    """Writes a SavedModel that scores, encodes, decodes, samples and reconstructs without iwae_tf or TFP.

    Endpoints take data as in the training set, and return dicts; for values that no likelihood of the model has they
    raise an `InvalidArgumentError`. A row gets the same result whatever its batch and its place in it: its noise comes
    from its content and a seed, which for an endpoint without one is fixed here.

    | endpoint | takes | returns |
    |---|---|---|
    | `log_likelihood`, the default | `x` | `log_likelihood`, `standard_error`, `effective_sample_size` `[batch]` |
    | `log_likelihood_seeded` | `x`, `seed` int32[2], `num_samples` int32[] | the same |
    | `encode` | `x` | `mean`, `stddev` of q(z_1 given x); `mean_2`, `stddev_2`, ... from a sample |
    | `decode` | `z` (z_1); with skip connections also `z_top` (z_L) | `mean` of p(x given z_1) |
    | `sample` | `seed` int32[2], `num_samples` int32[] | `mean` of p(x given z_1), z from the prior |
    | `reconstruct` | `x` | `mean` of p(x given z_1), z_1 from q(z_1 given x) |

    Args:
      model: an `IWAE`.
      path: folder to write; it appears only when it is whole.
      num_samples: samples per observation of `log_likelihood`.
      seed: integer seed of the endpoints that take none.
      overwrite: whether an existing folder is replaced.

    Returns:
      The path, a `pathlib.Path`.

    Raises:
      ValueError: if `num_samples` is no integer of at least 1, or the model has not been built.
      FileExistsError: if `path` exists and `overwrite` is false.
    """
    check_count(num_samples, "num_samples")
    if not model.built:
        raise ValueError(
            "Expected a model that has been built: call it on data or fit it first. Received: an unbuilt one"
        )
    fixed_seed = random.as_seed(seed)
    x_dtype = model.data_dtype or "float32"
    # Run once, so that what XLA refuses is exported without it; the program is one that scoring the model takes too.
    few = tf.constant(min(num_samples, MOST_SAMPLES), tf.int32)
    model.likelihood_program(tf.cast(_observation(model, fixed_seed), x_dtype), few, fixed_seed)
    z_shapes = {"z": model.latent_shapes[0]}
    if model.skip and len(model.decoder) > 1:
        z_shapes["z_top"] = model.latent_shapes[-1]
    z_dtype = model.dtype_policy.variable_dtype
    z_specs = [tf.TensorSpec([None, *shape], z_dtype, name=name) for name, shape in z_shapes.items()]
    x_spec = tf.TensorSpec([None, *model.event_shape], x_dtype, name="x")
    seed_spec, count_spec = tf.TensorSpec([2], tf.int32, name="seed"), tf.TensorSpec([], tf.int32, name="num_samples")

    def by_row(fn, x):
        """Maps a function of one preprocessed observation and its seed over the rows."""

        def one(args):
            row, seed = args
            row = model.preprocess_checked(row[tf.newaxis], seed)
            return tf.nest.map_structure(lambda t: t[0], fn(row, random.fold_in(seed, 1)))

        nothing = fn(tf.zeros([1, *model.event_shape], z_dtype), fixed_seed)
        spec = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape[1:], t.dtype), nothing)
        x = model.asserted(x)
        return tf.map_fn(one, (x, random.fold_in_rows(fixed_seed, x)), fn_output_signature=spec)

    def log_likelihood_seeded(x, seed, num_samples):
        return model.likelihood_program(x, num_samples, seed).scores()

    def log_likelihood(x):
        return log_likelihood_seeded(x, fixed_seed, tf.constant(num_samples, tf.int32))

    def encode(x):
        def moments(row, seed):
            posteriors, _ = model.infer(model.posterior(row), (), seed)
            names = ["", *(f"_{i}" for i in range(2, len(posteriors) + 1))]
            pairs = zip(names, posteriors, strict=True)
            return {f"{what}{name}": getattr(q, what)() for name, q in pairs for what in ("mean", "stddev")}

        return by_row(moments, x)

    def decode(z, z_top=None):
        return {"mean": model.generate(0, z, z_top).mean()}

    def sample(seed, num_samples):
        return {"mean": model.sample(num_samples, seed=seed)}

    def reconstruct(x):
        return by_row(lambda row, seed: {"mean": model.reconstruction(row, seed)}, x)

    endpoints = {
        "log_likelihood": (log_likelihood, [x_spec]),
        "log_likelihood_seeded": (log_likelihood_seeded, [x_spec, seed_spec, count_spec]),
        "encode": (encode, [x_spec]),
        "decode": (decode, z_specs),
        "sample": (sample, [seed_spec, count_spec]),
        "reconstruct": (reconstruct, [x_spec]),
    }
    # Not `keras.export.ExportArchive`, which traces every endpoint twice: before it saves, and as it saves.
    module = tf.Module()
    module.weights = [v.value for v in model.variables]
    module.tables = [
        part
        for part in tf.train.TrackableView(model).descendants()
        if isinstance(part, tf.saved_model.experimental.TrackableResource)
    ]
    signatures = {}
    for name, (fn, specs) in endpoints.items():
        signatures[name] = tf.function(fn, input_signature=specs, autograph=False)
        setattr(module, name, signatures[name])
    signatures["serving_default"] = signatures["log_likelihood"]
    with written_whole(path, overwrite) as part:
        tf.saved_model.save(module, str(part), signatures=signatures)
        columns = getattr(model.decoder[-1], "columns", ())
        notes.write_columns(part, ((column.name, column.kind) for column in columns if isinstance(column, Column)))
    return Path(path)


def _observation(model, seed):
    """Returns one observation that the model takes, `[1, *event_shape]`: zeros, or else a draw from the model."""
    zeros = tf.zeros([1, *model.event_shape], model.dtype_policy.variable_dtype)
    if rules.all_valid(model.rules(zeros)):
        return zeros
    return model.descend(1, seed)[0].sample(seed=seed)
