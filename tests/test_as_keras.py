"""What users of any Keras model do: steps of their own, callbacks, metrics, exports, other data."""

import copy
import json
import pickle
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import iwae_tf
from iwae_tf import callbacks, data, evaluation, layers, objectives, plots, random
from iwae_tf.training import executions

from .fixtures import small_model
from .parity import b_of, ours, plain

X = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
IMAGES = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 1), dtype=np.uint8)
MASKS = (IMAGES > 127).astype(np.uint8)


def batches(*arrays, size=10):
    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0]).batch(size)


def of_images(**kwargs):
    model = small_model(**kwargs)
    model.compile("sgd")
    return model


# --------------------------------------------------------------------------- steps of a user's own


class Doubled(iwae_tf.IWAE):
    """A user's own step with a log of its own."""

    def train_step(self, batch):
        logs = super().train_step(batch)
        return {**logs, "mine": 2.0 * logs["loss"], "steps": self.optimizer.iterations + 0}


@pytest.mark.parametrize("mode", [{"steps_per_execution": 2}, {"jit_compile": True}, {"run_eagerly": True}])
def test_a_step_of_a_users_own_is_run_and_logged(mode):
    reference = ours()
    model = Doubled(reference.encoder, reference.decoder, reference.prior, objectives.ELBO(), seed=0)
    model.compile(keras.optimizers.SGD(0.1), **mode)
    model.build((None, 3))
    history = model.fit(batches(X, size=7), verbose=0).history
    assert history["steps"] == [5], "the last step's logs"
    assert set(history) > {"loss", "mine"}
    np.testing.assert_allclose(history["mine"], np.multiply(history["loss"], 2), rtol=1e-6)


def test_a_loop_of_a_users_own():
    model, other = ours(), ours()
    for batch in batches(X):
        model.train_step(batch)
    step = tf.function(other.train_step)
    for batch in batches(X.astype(np.float64)):
        step((batch,))
    np.testing.assert_allclose(b_of(model), b_of(other), rtol=1e-6)
    other.test_step((tf.constant(X), None, tf.ones([30, 1])))


class Counting(iwae_tf.IWAE):
    """A user's own metric, made behind the constructor."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.rows = keras.metrics.Sum(name="rows")

    def train_step(self, batch):
        self.rows.update_state(tf.cast(tf.shape(batch[0])[0], tf.float32))
        return super().train_step(batch)


def test_a_metric_of_a_users_own():
    encoder, decoder = [layers.IndependentNormal(2)], [layers.IndependentNormal(3)]
    model = Counting(encoder, decoder, layers.StandardNormal(2), objectives.ELBO())
    assert model.built
    model.compile("sgd")
    assert model.fit(X, batch_size=7, epochs=2, verbose=0).history["rows"] == [30, 30], "reset at each epoch"


def test_predict_step_of_a_users_own():
    class Constant(iwae_tf.IWAE):
        def predict_step(self, batch):
            return batch[0] * 0 + 7

    reference = ours()
    model = Constant(reference.encoder, reference.decoder, reference.prior)
    np.testing.assert_array_equal(model.predict(X, verbose=0), 7)


# --------------------------------------------------------------------------- data


def read_once(x, size=6):
    left = (x[i : i + size] for i in range(0, len(x), size))
    return tf.data.Dataset.from_generator(lambda: left, output_signature=tf.TensorSpec([None, *x.shape[1:]], x.dtype))


def test_nothing_of_data_that_are_read_once_is_lost():
    model = of_images()
    model.fit(read_once(IMAGES), verbose=0)
    assert int(model.optimizer.iterations) == 4
    model.evaluate(read_once(IMAGES), verbose=0)
    assert float(model.metrics[0].count) == len(IMAGES)


@pytest.mark.parametrize("stream", ["dataset", "generator"])
def test_values_are_looked_at_in_every_batch(stream):
    later = (IMAGES / np.float32(255)).astype(np.float32)
    later[13] *= 255
    model = of_images()
    given = batches(later, size=6) if stream == "dataset" else (later[i : i + 6] for i in range(0, 24, 6))
    with pytest.raises(ValueError, match=r"floats in \[0, 1\]. Received: values from 0 to 25\d, such as"):
        model.fit(given, verbose=0)
    assert int(model.optimizer.iterations) == 0


@pytest.mark.parametrize("stream", ["dataset", "generator", "array"])
def test_what_a_users_own_preprocessing_makes_of_data(stream):
    """Pixels of 0 to 255 behind a scaling that is none."""
    model = of_images(preprocessing=keras.layers.Rescaling(1.0))
    x = IMAGES.astype(np.float32)
    given = {"dataset": batches(x), "generator": (x[i : i + 6] for i in range(0, 24, 6)), "array": x}[stream]
    with pytest.raises(ValueError, match=r"IndependentBernoulli likelihood in \[0, 1\]"):
        model.fit(given, verbose=0)
    assert int(model.optimizer.iterations) == 0


MASKED = {"uint8": MASKS, "bool": MASKS.astype(bool), "float": MASKS.astype(np.float32)}


@pytest.mark.parametrize("kind", MASKED)
def test_masks_of_every_dtype(kind):
    """The same, or refused: read as pixels a mask of uint8 would be nearly black."""
    x, model = MASKED[kind], of_images()
    uses = {
        "fit": lambda: model.fit(x, verbose=0),
        "a dataset": lambda: model.fit(batches(x), verbose=0),
        "evaluate": lambda: model.evaluate(x, verbose=0),
        "evaluate a dataset": lambda: model.evaluate(batches(x), verbose=0),
        "log_likelihood": lambda: model.log_likelihood(x, 3),
        "evaluation": lambda: evaluation.log_likelihood(model, x, 3),
        "validation": lambda: model.fit(IMAGES, validation_data=x, verbose=0),
    }
    for use, run in uses.items():
        if kind == "uint8":
            with pytest.raises(ValueError, match="only 0 and 1, a mask; pass it as bool or floats"):
                run()
        else:
            run()
            np.testing.assert_array_equal(model.preprocess(x, random.as_seed(0)), MASKS, err_msg=use)


def test_masks_are_told_by_all_of_the_data():
    """Not by a batch that is as dark by chance."""
    dark = np.concatenate([MASKS, IMAGES])
    model = of_images()
    model.fit(dark, batch_size=12, shuffle=False, verbose=0)
    model.fit(batches(dark, size=12), verbose=0)
    model.evaluate(batches(dark, size=12), verbose=0)
    splits = data.from_arrays(MASKS, batch_size=5)
    assert splits.mean.max() > 0.1, "a mask of uint8 is taken for what it is"
    model.fit(splits.train, validation_data=splits.validation, verbose=0)


FUNCTIONS = {
    "log_likelihood": lambda model, x: evaluation.log_likelihood(model, x, 5),
    "active_units": evaluation.active_units,
    "bounds": lambda model, x: evaluation.bounds(model, x, (1, 5)),
    "importance_weights": lambda model, x: evaluation.importance_weights(model, x, 5),
    "decompose": lambda model, x: evaluation.decompose(model, x, 5),
    "gradient_snr": lambda model, x: evaluation.gradient_snr(model, x, 2),
    "inference_gaps": lambda model, x: evaluation.inference_gaps(model, x, 2, 2, likelihood_samples=5),
    "ais": lambda model, x: evaluation.ais(model, x, 2, 2, 2),
    "reconstructions": plots.reconstructions,
    "ValidationLogLikelihood": lambda model, x: model.fit(
        x, verbose=0, callbacks=[callbacks.ValidationLogLikelihood(x, 5, 5)]
    ),
    "Diagnostics": lambda model, x: model.fit(x, verbose=0, callbacks=[callbacks.Diagnostics("logs", x, 1, 9, 5)]),
}


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (function, kind)
        for function in FUNCTIONS
        for kind in ("float64", "tensor", "dataset")
        if kind != "dataset" or function not in ("gradient_snr", "reconstructions")  # which take one batch
    ],
)
def test_float64_everywhere(function, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = IMAGES[:10] / 255.0
    given = {"float64": x, "tensor": tf.constant(x), "dataset": batches(x)}[kind]
    FUNCTIONS[function](of_images(), given)


def test_models_of_float64(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keras.config.set_dtype_policy("float64")
    try:
        model = iwae_tf.mlp((8, 8, 1), (2,), ((8,),), preprocessing=layers.StochasticBinarization(), seed=0)
        model.compile("sgd")
        plots.posteriors({"model": model}, IMAGES[:2], num_points=5)
        plots.manifold(model, 3)
        plots.interpolations(model, IMAGES[:2], IMAGES[2:4])
        model.fit(IMAGES, verbose=0, callbacks=[callbacks.Diagnostics("logs", IMAGES, 1, 9, 5)])
        model.fit(batches(IMAGES / 255), verbose=0)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.data_dtype == "float64"


def test_endless_data_of_evaluation():
    endless = batches(IMAGES).repeat()
    with pytest.raises(ValueError, match="without an end"):
        evaluation.log_likelihood(of_images(), endless, 3)
    watcher = callbacks.ValidationLogLikelihood(endless, 3, 15)
    of_images().fit(IMAGES, callbacks=[watcher], verbose=0)
    assert len(watcher._x) == 15, "as many as it needs"


def test_what_a_generator_gave_is_what_an_export_takes(tmp_path):
    model = of_images()
    model.fit((IMAGES[i : i + 8] for i in range(0, 24, 8)), verbose=0)
    assert model.data_dtype == "uint8"
    exported = tf.saved_model.load(str(iwae_tf.export(model, tmp_path / "m", 5)))
    assert exported.log_likelihood(tf.constant(IMAGES))["log_likelihood"].shape == (24,)


# --------------------------------------------------------------------------- callbacks and warm-up


def written(folder):
    """The tags of TensorBoard's files in a folder, with their steps."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tags = {}
    for path in folder.rglob("events*"):
        events = EventAccumulator(str(path), size_guidance={"tensors": 0}).Reload()
        for tag in events.Tags()["tensors"]:
            tags[tag] = [event.step for event in events.Tensors(tag)]
    return tags


@pytest.mark.parametrize("rows", [30, 24])
def test_tensorboard_with_an_update_frequency(rows, tmp_path):
    """Batch scalars as of a plain Keras model; epoch scalars and histograms whatever the number of batches."""
    tags = {}
    for name, model, arrays in (("mine", ours(), (X[:rows],)), ("theirs", plain(), (X[:rows], X[:rows]))):
        board = keras.callbacks.TensorBoard(tmp_path / name, update_freq=5, histogram_freq=1)
        model.fit(*arrays, batch_size=2, epochs=2, callbacks=[board], verbose=0)
        tags[name] = written(tmp_path / name)
    assert tags["mine"]["batch_loss"] == tags["theirs"]["batch_loss"]
    assert tags["mine"]["epoch_loss"] == [0, 1]
    assert any("histogram" in tag for tag in tags["mine"])


def test_steps_between_which_callbacks_act():
    board = keras.callbacks.TensorBoard(update_freq=5)
    epochs = keras.callbacks.TensorBoard()
    saver = keras.callbacks.ModelCheckpoint("m.keras", save_freq=12)
    every = keras.callbacks.ModelCheckpoint("m.keras")
    assert executions.acts_every([]) is executions.acts_every([epochs, every]) is None
    assert executions.acts_every([epochs, saver]) == 12
    assert executions.acts_every([board, saver]) == 1
    assert executions.steps_per_execution(100, every=12) == 12
    assert executions.steps_per_execution(100, exact=True, every=12) == 4


def test_a_checkpoint_every_few_steps(tmp_path):
    saver = keras.callbacks.ModelCheckpoint(tmp_path / "{batch}.keras", save_freq=4)
    ours_by_name = small_model()
    ours_by_name.compile("sgd")
    ours_by_name.fit(IMAGES, batch_size=2, callbacks=[saver], verbose=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["12.keras", "4.keras", "8.keras"]


def test_evaluation_is_not_tempered():
    """During the warm-up `val_loss` is the objective's own bound; `beta`, which is the objective's own, stays."""
    model = of_images(objective=objectives.ELBO(20, beta=2.0))
    model.compile(keras.optimizers.SGD(0.0))
    history = model.fit(IMAGES, validation_data=IMAGES, epochs=4, callbacks=[callbacks.WarmUp(3)], verbose=0).history
    np.testing.assert_allclose(
        np.negative(history["val_loss"]), np.subtract(history["val_reconstruction"], np.multiply(2, history["val_kl"])),
        rtol=1e-5,
    )  # fmt: skip
    np.testing.assert_allclose(np.negative(history["loss"][0]), history["reconstruction"][0], rtol=1e-5)


class Tracker(keras.callbacks.Callback):
    """What the callbacks of experiment trackers do, such as MLflow's and those of Weights & Biases."""

    def on_train_begin(self, logs=None):
        self.lines, self.records = [], []
        self.model.summary(print_fn=lambda line, *_, **__: self.lines.append(line))
        self.config = json.dumps({**self.params, **self.model.optimizer.get_config()})

    def record(self, hook, logs):
        rate = float(self.model.optimizer.learning_rate)
        self.records.append((hook, json.loads(json.dumps({name: float(value) for name, value in logs.items()})), rate))

    def on_train_batch_end(self, batch, logs=None):
        self.record(f"batch {batch}", logs)

    def on_epoch_end(self, epoch, logs=None):
        self.record(f"epoch {epoch}", logs)

    def on_test_end(self, logs=None):
        self.record("test", logs)


def test_experiment_trackers_get_the_logs():
    tracker, model = Tracker(), of_images()
    model.compile("sgd", metrics=["mse"], steps_per_execution=2)
    history = model.fit(
        IMAGES, validation_data=IMAGES, batch_size=6, epochs=2, callbacks=[tracker], verbose=0
    ).history  # fmt: skip
    assert [hook for hook, *_ in tracker.records] == [
        "batch 1", "batch 3", "test", "epoch 0", "batch 1", "batch 3", "test", "epoch 1"
    ]  # fmt: skip
    _, logs, _ = tracker.records[-1]
    assert logs == {name: values[-1] for name, values in history.items()}
    assert {"loss", "elbo", "mse", "val_loss", "val_effective_sample_size", "val_mse"} <= set(logs)
    assert any("independent_normal" in line for line in tracker.lines) and '"epochs": 2' in tracker.config


class Interrupt(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise KeyboardInterrupt


def test_a_guard_ends_with_its_training():
    model = ours()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, callbacks=[callbacks.NonFiniteGuard(), Interrupt()], verbose=0)
    assert model.train_function.guard is None


def test_a_guard_stays_while_a_callback_evaluates():
    model, guards = ours(), []
    evaluate = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: model.evaluate(X, verbose=0),
        on_epoch_end=lambda epoch, logs: guards.append(model.train_function.guard),
    )
    model.fit(X, callbacks=[callbacks.NonFiniteGuard(), evaluate], verbose=0)
    assert guards != [None]


# --------------------------------------------------------------------------- small ones


def test_seeds_of_numpy():
    one, other = (small_model(seed=seed) for seed in (np.int64(3), 3))
    np.testing.assert_array_equal(one.encode(IMAGES).mean(), other.encode(IMAGES).mean())
    assert one.get_config()["seed"] == 3
    assert layers.StochasticBinarization(seed=np.int64(3)).seed == 3


class Laplace(layers.StochasticLayer):
    """The likelihood of docs/extending.md, which has no `mean=`."""

    parameters = ("loc", "log_scale")

    def distribution(self, loc, log_scale):
        return tfd.Independent(tfd.Laplace(loc, tf.exp(log_scale)), len(self.event_shape))


@pytest.mark.parametrize("build", [iwae_tf.mlp, iwae_tf.conv])
def test_builders_take_likelihoods_of_a_users_own(build):
    model = build((8, 8, 1), likelihood=Laplace, objective=objectives.ELBO(), seed=0)
    assert model.log_weights(IMAGES[:2] / 255, 2).shape == (2, 2)
    with pytest.raises(ValueError, match="mean"):
        build((8, 8, 1), likelihood=Laplace, mean=0.5)


def test_no_warnings_of_retracing():
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("error")
        messages = []
        patch.setattr(tf.get_logger(), "warning", lambda *args, **kwargs: messages.append(args))
        for seed in range(7):
            model = small_model(seed=seed)
            for size in range(1, 8):
                model.predict_on_batch(IMAGES[:size])
            model.predict(IMAGES, batch_size=5, verbose=0)
    assert not messages


@pytest.mark.parametrize("name", ["m.h5", "m", "m.weights.h5", "m.hdf5"])
def test_formats_that_do_not_load(name, tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.keras. Received: .*m"):
        small_model().save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_export_of_keras(tmp_path):
    with pytest.raises(NotImplementedError, match=r"iwae_tf\.export\(model, path\)"):
        small_model().export(tmp_path / "m")


class Plain(keras.layers.Layer):
    """A user's own likelihood, whose event nobody knows before there are data."""

    def build(self, input_shape):
        self.dense = keras.layers.Dense(3)
        self.dense.build(input_shape)

    def call(self, z):
        return tfd.Independent(tfd.Normal(self.dense(z), 1.0), 1)


FIRST_CALLS = {
    "log_likelihood": lambda m: m.log_likelihood(X, 3),
    "log_weights": lambda m: m.log_weights(X, 3),
    "encode": lambda m: m.encode(X),
    "reconstruct": lambda m: m.reconstruct(X),
    "impute": lambda m: m.impute(X, 3),
    "predict": lambda m: m.predict(X, verbose=0),
    "predict_on_batch": lambda m: m.predict_on_batch(X),
    "call": lambda m: m(X),
    "evaluation": lambda m: evaluation.log_likelihood(m, X, 3),
    "active_units": lambda m: evaluation.active_units(m, X),
    "evaluate": lambda m: m.evaluate(batches(X), verbose=0),
    "generator": lambda m: m.fit((X[i : i + 5] for i in (0, 5)), verbose=0),
    "dataset": lambda m: m.fit(batches(X), validation_data=X, verbose=0),
}


@pytest.mark.parametrize("call", FIRST_CALLS)
def test_any_call_may_be_the_first(call):
    model = iwae_tf.IWAE([layers.IndependentNormal(2)], [Plain()], layers.StandardNormal(2), objectives.ELBO(), seed=0)
    model.compile("sgd")
    assert not model.built
    FIRST_CALLS[call](model)
    assert model.event_shape == (3,)


@pytest.mark.parametrize("call", [lambda m: m.sample(3), lambda m: m.event_shape, lambda m: iwae_tf.export(m, "m")])
def test_calls_that_cannot_build_say_so(call):
    model = iwae_tf.IWAE([layers.IndependentNormal(2)], [Plain()], layers.StandardNormal(2))
    with pytest.raises(ValueError, match="a model that is built"):
        call(model)


def test_scoring_is_an_attribute():
    assert iwae_tf.scoring.score


def test_gradients_and_gaps_are_compiled_once():
    model = of_images()
    for _ in range(2):
        for k in (3, 4):
            evaluation.gradient_snr(model, IMAGES[:4], 2, [objectives.ImportanceWeighted(k)])
        evaluation.inference_gaps(model, batches(IMAGES[:8], size=4), 2, 2, likelihood_samples=5)
    assert len(model.programs) == 4, "two gradients, the gaps, and the likelihood"


# --------------------------------------------------------------------------- what passed, and stays

OPTIMIZERS = {
    "AdamW": lambda: keras.optimizers.AdamW(1e-3),
    "EMA": lambda: keras.optimizers.Adam(1e-3, use_ema=True),
    "clipping": lambda: keras.optimizers.Adam(1e-3, global_clipnorm=1.0),
    "accumulation": lambda: keras.optimizers.Adam(1e-3, gradient_accumulation_steps=2),
    "lion": lambda: keras.optimizers.Lion(1e-4),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name):
    model = small_model()
    model.compile(OPTIMIZERS[name]())
    before = model.get_weights()
    assert np.isfinite(model.fit(IMAGES, batch_size=6, epochs=2, verbose=0).history["loss"]).all()
    assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))


def test_all_callbacks_together(tmp_path):
    watchers = [
        keras.callbacks.BackupAndRestore(tmp_path / "backup"),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.EarlyStopping("val_loss", patience=1),
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True),
        keras.callbacks.ReduceLROnPlateau("val_loss"),
        keras.callbacks.TensorBoard(tmp_path / "logs"),
        keras.callbacks.TerminateOnNaN(),
        callbacks.NonFiniteGuard(),
        callbacks.WarmUp(2),
    ]
    model = of_images()
    model.fit(IMAGES, validation_split=0.25, epochs=3, callbacks=watchers, verbose=0)
    assert {"log.csv", "best.keras", "logs"} <= {path.name for path in tmp_path.iterdir()}
    assert "epoch_loss" in written(tmp_path / "logs")


def test_freezing_with_a_compile_after_it():
    model = of_images()
    model.encoder[0].trainable = False
    model.compile("sgd")
    before = [layer.get_weights() for layer in (model.encoder[0], model.decoder[0])]
    model.fit(IMAGES, verbose=0)
    after = [layer.get_weights() for layer in (model.encoder[0], model.decoder[0])]
    assert all((a == b).all() for a, b in zip(before[0], after[0], strict=True))
    assert any((a != b).any() for a, b in zip(before[1], after[1], strict=True))


@pytest.mark.parametrize(
    "how", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), keras.models.clone_model]
)
def test_copies(how):
    model = of_images()
    model.fit(IMAGES, verbose=0)
    again = how(model)
    if how is keras.models.clone_model:  # of the architecture alone
        again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again.log_likelihood(IMAGES, 5, seed=0), model.log_likelihood(IMAGES, 5, seed=0))


def test_weights_of_all_sizes_are_finite():
    w = np.float32(10.0) ** np.arange(-12, 12)
    model = of_images()
    assert np.isfinite(model.fit(IMAGES, sample_weight=w / w.max(), verbose=0).history["loss"]).all()
    assert all(np.isfinite(part).all() for part in model.get_weights())
