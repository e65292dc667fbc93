import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from iwae_tf import random
from iwae_tf.estimates import likelihood

from ..fixtures import small_model

#: The chunk size is measured, as for users.
MEASURED = True


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("k", [1, 2, 9, 10, 11, 20, 37])
def test_stream_equals_all_at_once(k, jit_compile):
    """In chunks of ten, remainders included, against NumPy in float64."""
    log_weights = (np.random.default_rng(0).normal(size=(40, 3)) * 4 + [0, -500, 500]).astype(np.float32)
    chunks = tf.constant(log_weights.reshape(4, 10, 3))
    run = tf.function(lambda n: likelihood.stream(lambda i: chunks[i], n, 3, 10), jit_compile=jit_compile)
    estimate = run(tf.constant(k))
    w = np.exp(log_weights[:k].astype(np.float64) - [0, -500, 500])
    np.testing.assert_allclose(estimate.log_likelihood, np.add(np.log(w.mean(0)), [0, -500, 500]), rtol=1e-5)
    np.testing.assert_allclose(estimate.effective_sample_size, w.sum(0) ** 2 / (w**2).sum(0), rtol=1e-3)
    if k > 1:
        np.testing.assert_allclose(estimate.standard_error, w.std(0, ddof=1) / w.mean(0) / k**0.5, rtol=1e-2, atol=1e-3)
    else:
        assert np.isnan(estimate.standard_error).all()


#: Numbers of samples, and the size of the chunks that cost least.
SIZES = [(1, 10), (10, 10), (50, 10), (71, 100), (100, 100), (300, 100), (401, 500), (501, 100), (5000, 500)]


@pytest.mark.parametrize(("k", "size"), SIZES)
def test_estimate_equals_the_log_weights_it_streams(trained, x, k, size):
    """The draws of a row, made again chunk by chunk outside the loop, give the same estimate."""
    [seed] = random.fold_in_rows(random.as_seed(7), tf.constant(x[:1]))
    row = trained.preprocess(tf.constant(x[:1]), seed)
    noise = random.fold_in(seed, 1)

    @tf.function
    def draw(i):
        key = random.fold_in(noise, i)
        return trained.terms(row, trained.posterior(row), size, key).log_weights()

    log_weights = np.concatenate([draw(tf.constant(i)) for i in range(-(-k // size))])[:k, 0]
    w = np.exp(log_weights.astype(np.float64))
    estimate = likelihood.estimate(trained, x[:1], k, seed=7)
    np.testing.assert_allclose(estimate.log_likelihood[0], np.log(w.mean()), rtol=1e-5)
    np.testing.assert_allclose(estimate.effective_sample_size[0], w.sum() ** 2 / (w**2).sum(), rtol=1e-3)


def test_a_row_does_not_depend_on_the_rows_beside_it(trained, x):
    scores = trained.log_likelihood(x, 600, seed=1).numpy()
    np.testing.assert_array_equal(trained.log_likelihood(x[4:9], 600, seed=1), scores[4:9])
    np.testing.assert_array_equal(trained.log_likelihood(x[::-1], 600, seed=1), scores[::-1])
    np.testing.assert_array_equal(trained.log_likelihood(np.repeat(x[:1], 3, 0), 600, seed=1), [scores[0]] * 3)


def test_rows_are_independent(trained, x):
    """The mean over rows scatters from seed to seed as independent rows do, by the scatter of single rows."""
    draws = np.array([trained.log_likelihood(x, 1, seed=seed) for seed in range(200)], np.float64)
    expected = draws.var(0, ddof=1).sum() / len(x) ** 2
    ratio = draws.mean(1).var(ddof=1) / expected
    assert 0.6 < ratio < 1.6  # chi-squared of 199 degrees of freedom: false alarm below 1e-5; 20 with shared noise


def test_the_noise_of_a_row_is_that_of_its_content(trained, x):
    """Also in another model's batch, but not under another seed, nor of a row that differs in one pixel."""
    seeds = random.fold_in_rows(random.as_seed(0), tf.constant(x)).numpy()
    assert len({tuple(seed) for seed in seeds}) == len(x)
    other = x[3:4].copy()
    other[0, 0, 0, 0] += 1
    assert (random.fold_in_rows(random.as_seed(0), tf.constant(other)).numpy() != seeds[3]).all()
    assert (random.fold_in_rows(random.as_seed(1), tf.constant(x)).numpy() != seeds).all()
    np.testing.assert_array_equal(random.fold_in_rows(random.as_seed(0), tf.constant(x[::-1])), seeds[::-1])


def test_seeds(trained, x):
    assert (trained.log_likelihood(x, 100, seed=1).numpy() != trained.log_likelihood(x, 100, seed=2).numpy()).any()
    assert (trained.log_likelihood(x, 100).numpy() != trained.log_likelihood(x, 100).numpy()).any()


def test_more_samples_raise_the_estimate(trained, x):
    few, many = (np.mean([trained.log_likelihood(x, k, seed=s) for s in range(5)]) for k in (1, 2000))
    assert many > few + 0.5


def test_x_is_encoded_once(monkeypatch):
    """The encoder is called once for each signature, not once a chunk."""
    model = small_model()
    calls = []
    posterior = model.posterior
    monkeypatch.setattr(model, "posterior", lambda x: calls.append(tf.inside_function()) or posterior(x))
    model.log_likelihood(np.zeros((3, 8, 8, 1), np.uint8), 5000)
    assert len(calls) <= 2, "one trace to count the memory, one to score"
    program = tf.function(
        lambda x: likelihood.get_program(model)(x, tf.constant(5000), tf.constant([0, 0]))
    ).get_concrete_function(tf.TensorSpec([None, 8, 8, 1], tf.uint8))
    products = {
        function.signature.name.rstrip("0123456789_"): sum(node.op == "MatMul" for node in function.node_def)
        for function in program.graph.as_graph_def().library.function
    }
    # Three dense layers of the encoder in the loop over rows, two of the decoder in the loop over chunks within it.
    assert {name: count for name, count in products.items() if count} == {"while_body": 3, "while_while_body": 2}


def test_chunk_from_memory(trained, x, monkeypatch):
    """Less memory gives smaller chunks, other draws, and the same estimate within its error (false alarms: 1e-4)."""
    assert likelihood.choose_chunk_size(trained) == likelihood.MOST_SAMPLES
    before = likelihood.estimate(trained, x, 2000, seed=0)
    monkeypatch.setattr(likelihood, "MEMORY", 100_000)
    assert 1 < likelihood.choose_chunk_size(trained) < 100
    monkeypatch.delitem(trained.programs, ("likelihood", 0))
    after = likelihood.estimate(trained, x, 2000, seed=0)
    error = np.sqrt(np.mean(before.standard_error**2 + after.standard_error**2) / len(x))
    difference = np.mean(after.log_likelihood - before.log_likelihood)
    assert 0 < abs(difference) < 3.9 * error
    monkeypatch.setattr(likelihood, "MEMORY", 1)
    assert likelihood.choose_chunk_size(trained) == 1
    del trained.programs["likelihood", 0]


@pytest.mark.parametrize(("k", "size"), SIZES)
def test_few_samples_take_small_chunks(trained, x, monkeypatch, k, size):
    """A chunk is drawn whole, however few of it are counted."""
    drawn = []
    stream = likelihood.stream
    monkeypatch.setattr(likelihood, "stream", lambda *args: drawn.append(args[3]) or stream(*args))
    likelihood._make_program(trained, 0)(x[:1], tf.constant(k), tf.constant([0, 5]))
    assert drawn == [size]


def test_number_of_samples_known_only_when_it_runs(trained, x):
    program, seed = likelihood.get_program(trained), tf.constant([0, 5])
    later = tf.function(lambda k: program(x, k, seed).log_likelihood)
    for k in map(tf.constant, (1, 10, 11, 80, 401, 600)):
        np.testing.assert_array_equal(later(k), program(x, k, seed).log_likelihood)


def test_with_and_without_xla(x):
    model = small_model(2)
    scores = []
    for jit_compile in (True, False):
        model.compile(jit_compile=jit_compile)
        scores.append(model.log_likelihood(x[:3], 1234, seed=0))
    np.testing.assert_allclose(*scores, rtol=1e-5)


def test_memory_does_not_grow_with_the_samples():
    """Peak resident memory of a fresh process, after 1,000 and after 50,000 samples."""
    code = """
import resource
import numpy as np
import iwae_tf
from iwae_tf import layers
model = iwae_tf.mlp((28, 28, 1), preprocessing=layers.StochasticBinarization(), seed=0)
for k in (1_000, 50_000):
    model.log_likelihood(np.zeros((2, 28, 28, 1), np.uint8), k)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    peaks = list(map(float, result.stdout.split()))
    # All 50,000 at once would take 50,000 x 784 x 4 bytes = 150 MiB for the logits alone.
    assert abs(peaks[1] - peaks[0]) < 50
