"""Training by several replicas: two and four devices of one process, and two processes on the loopback."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import keras
import numpy as np
import pandas as pd
import pytest

from iwae_tf.training import checkpoints

from ..fixtures import START, command_line

#: Before TensorFlow has started, so in a process of its own.
SETUP = """
import json, sys
import numpy as np, tensorflow as tf
devices = int(sys.argv[1])
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
import keras
import iwae_tf
from iwae_tf import data, layers, objectives, random

def make(learning_rate=0.1):
    model = iwae_tf.mlp((8, 8, 1), (4,), ((8,),), objective=objectives.ImportanceWeighted(5), seed=0,
                        preprocessing=layers.StochasticBinarization())
    model.compile(keras.optimizers.SGD(learning_rate), jit_compile=False)
    return model

strategy = tf.distribute.MirroredStrategy()
assert strategy.num_replicas_in_sync == devices
"""

#: One step and one evaluation by hand on one device, the parts with the seeds of the replicas; the batch is uneven.
EXACT = """
x = np.concatenate(list(data.load("digits").validation))[:18]
weights = np.linspace(0.5, 1.0, 18, dtype=np.float32)
one = make()
seed = one.next_seed()
values, gradients, start = [], 0, 0
for replica, part in enumerate(np.array_split(np.arange(18), devices)):
    size = -(-18 // devices)
    rows = slice(size * replica, min(size * (replica + 1), 18))
    batch = (tf.constant(x[rows]), None, tf.constant(weights[rows]))
    g, v = one.compute_gradients(batch, random.fold_in(seed, replica))
    gradients = gradients + np.array([len(x[rows]) / 18 * a.numpy() for a in g], object)
    values.append(v["loss"].numpy() * weights[rows])
one.optimizer.apply([tf.constant(g) for g in gradients], one.trainable_variables)
with strategy.scope():
    several = make()
batches = data.batches((x, None, weights), 18, shuffle=False)
history = several.fit(batches, verbose=0).history
for a, b in zip(one.get_weights(), several.get_weights()):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
np.testing.assert_allclose(history["loss"], np.concatenate(values).sum() / weights.sum(), rtol=1e-5)
assert several.steps_per_execution == 1 and int(several.optimizer.iterations.numpy()) == 1
"""

#: Two epochs with a validation, against one device.
LIKE_ONE = """
splits = data.load("digits")
x, held = (np.concatenate(list(part))[:size] for part, size in ((splits.train, 1152), (splits.validation, 144)))
def fit(model):
    train, validation = data.batches(x, 48, seed=0), data.batches(held, 48, shuffle=False)
    return model.fit(train, validation_data=validation, epochs=2, verbose=0).history
history = fit(make(0.01))
with strategy.scope():
    several = make(0.01)
again = fit(several)
assert again.keys() == history.keys()
for name in ("loss", "val_loss"):
    np.testing.assert_allclose(history[name], again[name], atol=0.6)
"""

#: Free bits, whose floor is under the mean of the whole batch: 8/5 of these uneven parts, and 0 of the first alone.
FREE_BITS = """
from iwae_tf.hierarchy import Terms
parts = [tf.zeros([1, 3]), tf.fill([1, 2], 4.0)]
kl = strategy.experimental_distribute_values_from_function(lambda c: parts[c.replica_id_in_sync_group])
def log_weights(kl, free_bits):
    return Terms(tf.zeros_like(kl), [kl], kl).log_weights(free_bits=free_bits)
for floor, expected in ((1.5, [0, 0, 0, -4, -4]), (1.7, [-1.7] * 5)):
    values = strategy.experimental_local_results(strategy.run(log_weights, (kl, floor)))
    np.testing.assert_allclose(np.concatenate([v.numpy().ravel() for v in values]), expected, rtol=1e-6)
"""

#: Data that cannot be, and methods that take one batch.
BAD = """
with strategy.scope():
    model = make()
floats = np.random.default_rng(0).random((12, 8, 8, 1)).astype(np.float32)
bad = floats.copy()
bad[7] = np.nan
for given in (bad, tf.data.Dataset.from_tensor_slices(bad).batch(4)):
    try:
        model.fit(given, verbose=0)
    except ValueError as error:
        assert "floats in [0, 1]. Received: " in str(error), error
    else:
        raise AssertionError("nobody has noticed")
assert np.isfinite(model.train_on_batch(floats)).all() and np.isfinite(model.test_on_batch(floats)).all()
"""

#: What else a model is for.
REST = """
x = held[:16]
several.save(sys.argv[2])
loaded = keras.saving.load_model(sys.argv[2])
scores = several.log_likelihood(x, 50, seed=0)
np.testing.assert_allclose(loaded.log_likelihood(x, 50, seed=0), scores, rtol=1e-5)
served = tf.saved_model.load(str(iwae_tf.export(several, sys.argv[2] + "-export", 50)))
np.testing.assert_allclose(served.log_likelihood(x)["log_likelihood"], scores, rtol=1e-5)
assert several.predict(x, verbose=0).shape == x.shape
assert several.evaluate(x, verbose=0, return_dict=True)["loss"] > 0
assert np.isfinite(several.fit(held, batch_size=48, verbose=0).history["loss"]).all()
"""


@pytest.mark.parametrize(
    "devices, code", [(2, EXACT + FREE_BITS + BAD + LIKE_ONE + REST), (4, EXACT + LIKE_ONE)], ids=["2", "4"]
)
def test_devices_of_one_process(devices, code, tmp_path):
    command = [sys.executable, "-c", START + SETUP + code, str(devices), str(tmp_path / "m.keras")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]


def start(folder, number, *arguments):
    """Starts a number of workers that train one model."""
    ports = []
    for _ in range(number):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    command = command_line(
        "train", "--distribute", "multi-worker", "--latent-sizes", "3", "--hidden-sizes", "8", "-k", "3",
        "--batch-size", "100", "--test-samples", "10", "--epochs", "2", "-o", folder, *arguments,
    )  # fmt: skip
    return [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}})},
        )
        for i in range(number)
    ]  # fmt: skip


def ended(workers):
    outputs = [worker.communicate(timeout=300)[0] for worker in workers]
    return [worker.returncode for worker in workers], outputs


def test_two_processes(tmp_path):
    """The chief alone writes; a worker is killed, the other stops and says so, and both go on to the same end."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    codes, outputs = ended(start(whole, 2))
    assert codes == [0, 0], outputs
    assert "test log-likelihood" in outputs[0] and "test log-likelihood" not in outputs[1]
    workers = start(broken, 2)
    while not checkpoints.count_epochs(f"{broken}.part") and not any(worker.poll() for worker in workers):
        time.sleep(0.01)
    workers[1].send_signal(signal.SIGKILL)
    codes, outputs = ended(workers)
    assert codes == [1, -signal.SIGKILL], outputs
    # Python itself may complain of a pool when it ends, after our message.
    before, message, after = outputs[0].partition("a worker that stopped")
    assert message and "--resume" in after and "Traceback" not in before
    assert not broken.exists()
    codes, outputs = ended(start(broken, 2, "--resume"))
    assert codes == [0, 0], outputs
    pd.testing.assert_frame_equal(*(pd.read_csv(run / "history.csv") for run in (whole, broken)))
    first, again = (keras.saving.load_model(run / "model.keras") for run in (whole, broken))
    for one, other in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
