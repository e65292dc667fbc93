import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import iwae_tf
from iwae_tf import layers, objectives

from .fixtures import small_model

FRESH = """
import sys
for name in ("iwae_tf", "tensorflow_probability", "keras", "tf_keras"):
    sys.modules[name] = None  # importing it fails
import numpy as np
import tensorflow as tf
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})  # as here: it changes the last bit
model = tf.saved_model.load(sys.argv[1])
x = np.load(sys.argv[2])
default = model.signatures["serving_default"](x=tf.constant(x))
seeded = model.signatures["log_likelihood_seeded"](
    x=tf.constant(x), seed=tf.constant([5, 0]), num_samples=tf.constant(700))
alone = model.signatures["serving_default"](x=tf.constant(x[3:4]))
np.savez(sys.argv[3], alone=alone["log_likelihood"], seeded=seeded["log_likelihood"], **default)
"""


@pytest.fixture(scope="module")
def saved_model(trained, tmp_path_factory):
    return iwae_tf.export(trained, tmp_path_factory.mktemp("export") / "model", num_samples=600)


def test_scores_in_a_process_without_iwae_tf_and_tfp(saved_model, trained, x, tmp_path):
    np.save(tmp_path / "x.npy", x)
    files = [str(saved_model), str(tmp_path / "x.npy"), str(tmp_path / "scores.npz")]
    subprocess.run([sys.executable, "-c", FRESH, *files], check=True)
    scores = np.load(files[2])
    expected = iwae_tf.estimates.likelihood.estimate(trained, x, 600, seed=0)
    for name, values in expected.scores().items():
        np.testing.assert_array_equal(scores[name], values)
    np.testing.assert_array_equal(scores["alone"], expected.log_likelihood[3:4])
    np.testing.assert_array_equal(scores["seeded"], trained.log_likelihood(x, 700, seed=5))


def test_endpoints(saved_model, trained, x):
    endpoints = tf.saved_model.load(str(saved_model)).signatures
    assert set(endpoints) == {
        "serving_default", "log_likelihood", "log_likelihood_seeded", "encode", "decode", "sample", "reconstruct"
    }  # fmt: skip
    codes = endpoints["encode"](x=tf.constant(x))
    assert {k: v.shape for k, v in codes.items()} == {
        "mean": (20, 8), "stddev": (20, 8), "mean_2": (20, 7), "stddev_2": (20, 7)
    }  # fmt: skip
    np.testing.assert_allclose(
        endpoints["decode"](z=codes["mean"])["mean"], trained.decoder[-1](codes["mean"]).mean(), atol=1e-6
    )
    seed = tf.constant([3, 0])
    samples = endpoints["sample"](seed=seed, num_samples=tf.constant(7))["mean"]
    np.testing.assert_allclose(samples, trained.sample(7, seed=3), atol=1e-6)
    images = endpoints["reconstruct"](x=tf.constant(x))["mean"]
    assert images.shape == x.shape
    for name in ("encode", "reconstruct"):
        whole, part = (endpoints[name](x=tf.constant(rows))["mean"] for rows in (x, x[5:7]))
        np.testing.assert_array_equal(part, whole[5:7])


def test_codes_of_threshold_data_are_the_models(tmp_path, x):
    model = small_model(preprocessing=layers.StochasticBinarization("threshold"))
    model.encode(x)
    codes = tf.saved_model.load(str(iwae_tf.export(model, tmp_path / "m", 10))).signatures["encode"](x=tf.constant(x))
    np.testing.assert_allclose(codes["mean"], model.encode(x).mean(), atol=1e-5)
    np.testing.assert_allclose(codes["stddev"], model.encode(x).stddev(), rtol=1e-4)


class Recode(keras.layers.Layer):
    """Preprocessing by a lookup table."""

    def __init__(self):
        super().__init__()
        values = tf.random.stateless_uniform([256], [0, 0])
        initializer = tf.lookup.KeyValueTensorInitializer(tf.range(256, dtype=tf.int64), values)
        self.table = tf.lookup.StaticHashTable(initializer, 0.0)

    def call(self, x):
        return self.table.lookup(tf.cast(x, tf.int64))


def test_tables_go_along(tmp_path, x):
    model = small_model(preprocessing=Recode())
    scores = model.log_likelihood(x, 10, seed=0)
    path = str(iwae_tf.export(model, tmp_path / "m", 10))
    loaded = tf.saved_model.load(path)
    np.testing.assert_array_equal(loaded.log_likelihood(x)["log_likelihood"], scores)
    codes = keras.layers.TFSMLayer(path, call_endpoint="encode")(x)  # as a layer of Keras
    np.testing.assert_allclose(codes["mean"], model.encode(x).mean(), atol=1e-5)


def test_saved_model_cli_names_inputs_and_outputs(saved_model):
    command = [str(Path(sys.executable).with_name("saved_model_cli")), "show", "--dir", str(saved_model), "--all"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for name in ("inputs['x']", "inputs['seed']", "inputs['num_samples']", "inputs['z']"):
        assert name in shown
    for name in ("log_likelihood", "standard_error", "effective_sample_size", "mean", "stddev"):
        assert f"outputs['{name}']" in shown


def test_dtype_is_that_of_the_training_data(tmp_path, x):
    model = small_model()
    model.encode(x)
    assert model.data_dtype == "uint8"
    model.compile("sgd")
    model.fit(x / 255, verbose=0)
    model.encode(x)
    endpoint = tf.saved_model.load(str(iwae_tf.export(model, tmp_path / "m", 10))).signatures["serving_default"]
    assert endpoint.structured_input_signature[1]["x"].dtype == tf.float32
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"Expected floats in \[0, 1\]"):
        endpoint(x=tf.constant(x, tf.float32))


def test_four_layers_and_another_objective(tmp_path, x):
    model = small_model(4, objectives.ELBO())
    model.kl_weight.assign(0.1)  # a warm-up that was cut short must not enter the score
    path = iwae_tf.export(model, tmp_path / "m", 50)
    scores = tf.saved_model.load(str(path)).signatures["serving_default"](x=tf.constant(x, tf.float32) / 255)
    np.testing.assert_array_equal(
        scores["log_likelihood"], model.log_likelihood(x.astype(np.float32) / np.float32(255), 50, seed=0)
    )


def test_nothing_is_overwritten_unasked(tmp_path, model):
    target = tmp_path / "m"
    target.mkdir()
    (target / "precious").touch()
    with pytest.raises(FileExistsError, match="exists; pass overwrite"):
        iwae_tf.export(model, target)
    assert (target / "precious").exists()
    iwae_tf.export(model, target, 10, overwrite=True)
    assert not (target / "precious").exists() and (target / "saved_model.pb").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_bad_arguments(tmp_path, model):
    with pytest.raises(ValueError, match="num_samples"):
        iwae_tf.export(model, tmp_path / "m", num_samples=0)
    assert not (tmp_path / "m").exists()
