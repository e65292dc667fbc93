import gc
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Two workers have two cores: more threads wait for each other, for a tenth of the time.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
# LLVM takes a quarter of the time of a small program to make it faster, and changes no number.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import settings
from typer.testing import CliRunner

import iwae_tf
from iwae_tf import builders, data, layers, objectives
from iwae_tf.cli import app
from iwae_tf.estimates import likelihood
from iwae_tf.training.compiled_model import CompiledModel

# Tracing makes millions of objects. Python looks for garbage after every 700 of them, for up to a sixth of the time.
gc.freeze()
gc.set_threshold(100_000, 20, 20)

#: Of property tests, the same in every run as far as Hypothesis goes; more with IWAE_TF_EXAMPLES.
EXAMPLES = int(os.environ.get("IWAE_TF_EXAMPLES", "60"))
SETTINGS = settings(max_examples=EXAMPLES, derandomize=True, database=None, deadline=None)


def no_network(event, arguments):
    """Refuses in every test what would go past this machine, so that nothing here asks for it unseen."""
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect"):
        address = arguments[1] if event == "socket.connect" else arguments
        if isinstance(address, tuple) and address[0] not in (None, "", "localhost", "127.0.0.1", "::1"):
            raise OSError(f"no network in tests: {event} {address[0]}")


sys.addaudithook(no_network)


def invoke(*arguments):
    """Runs the command line in this process."""
    return CliRunner().invoke(app, [str(a) for a in arguments])


def read_hparams(folder):
    """Returns the session of HParams in the event files of a folder, and the last values of their scalars."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    events = EventAccumulator(str(folder), {"tensors": 0}).Reload()
    content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    scalars = {tag: events.Tensors(tag)[-1].tensor_proto for tag in events.Tags()["tensors"] if "hparams" not in tag}
    numbers = {tag: float(tf.make_ndarray(proto)) for tag, proto in scalars.items() if not proto.tensor_shape.dim}
    return metadata.parse_session_start_info_plugin_data(content), numbers


def check_refused(arguments, expected, folder):
    """A command line is an error that says what was expected, and leaves nothing in an empty folder."""
    result = invoke(*arguments)
    assert result.exit_code != 0
    assert expected in " ".join(result.output.replace("│", " ").split())
    assert not list(folder.iterdir()), "nothing half-written"


#: What the fixtures below do, for the start of other processes.
START = """
import tensorflow as tf
import iwae_tf
from iwae_tf.estimates import likelihood
from iwae_tf.training.compiled_model import CompiledModel
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
CompiledModel._resolve_auto_jit_compile = lambda model: False
likelihood.CHUNKS, likelihood.choose_chunk_size = (), lambda model: 100
"""


def command_line(*arguments):
    """Returns the command of a process that runs the command line as the tests do.

    SIGINT reaches it, also where the tests run in the background, which would switch the signal off for the process.
    """
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)" + START
    code += "from iwae_tf.cli import app; app(sys.argv[1:])"
    return [sys.executable, "-c", code, *map(str, arguments)]


def pytest_runtest_setup():
    """Seeds every test alike, before its fixtures: without it, the weights of a layer depend on the tests before it."""
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="module", autouse=True)
def xla(request):
    """XLA where a test asks for it by `jit_compile=True`, or its module by `XLA = True`.

    It is what users get, but takes seconds for every small model, and says nothing new of a plot or a table. Without
    it, TensorFlow would rewrite each graph before it runs, for a fifth of the time.
    """
    with pytest.MonkeyPatch.context() as patch:
        if not (wanted := getattr(request.module, "XLA", False)):
            patch.setattr(CompiledModel, "_resolve_auto_jit_compile", lambda model: False)
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not wanted})
        yield


@pytest.fixture(scope="module", autouse=True)
def chunk_size(request):
    """Samples are scored in chunks of 100, unless a module sets `MEASURED = True`: then in chunks as for users.

    Choosing a chunk size takes a trace of the whole model, and each size that is used one more.
    """
    with pytest.MonkeyPatch.context() as patch:
        if not getattr(request.module, "MEASURED", False):
            patch.setattr(likelihood, "CHUNKS", ())
            patch.setattr(likelihood, "choose_chunk_size", lambda model: 100)
        yield


@pytest.fixture(autouse=True)
def registered_names():
    """Forgets the names that a test registers: others count them."""
    tables = (objectives.NAMES, data.NAMES, builders.POSTERIORS, builders.PRIORS, builders.LIKELIHOODS)
    before = [(names, dict(names)) for names in tables]
    yield
    for names, entries in before:
        names.clear()
        names.update(entries)


@pytest.fixture(scope="session")
def tfds_dir():
    """Folder of the prepared TFDS data."""
    folder = Path(os.environ.get("IWAE_TF_DATA", "../shared/tfds"))
    if not (folder / "mnist").is_dir():
        pytest.skip(f"no prepared TFDS data in {folder}; set IWAE_TF_DATA")
    return folder


@pytest.fixture(scope="session")
def digits():
    """The digits in whole batches of 20: what is left of an epoch would be one more program to compile."""
    splits = data.load("digits")
    parts = (np.concatenate(list(part)) for part in (splits.train, splits.validation, splits.test))
    return data.from_arrays(*(part[: len(part) // 20 * 20] for part in parts))


@pytest.fixture(scope="session")
def x(digits):
    """Twenty real digits, uint8."""
    return next(iter(digits.test)).numpy()


def small_model(num_layers=1, objective=None, seed=0, **kwargs):
    """A small model of digits with 1 to 7 stochastic layers."""
    sizes = (8, 7, 6, 5, 4, 3, 2)[:num_layers]
    kwargs.setdefault("preprocessing", layers.StochasticBinarization())
    return iwae_tf.mlp(
        (8, 8, 1),
        sizes,
        [(16,)] * num_layers,
        objective=objective or objectives.ImportanceWeighted(5),
        seed=seed,
        **kwargs,
    )


def gradient_draws(model, x, n):
    """Gradients of n steps of a compiled model from the same weights, `[n, parameters]`."""

    @tf.function(autograph=False)
    def all_of_them():
        def one(_):
            return tf.concat([tf.reshape(g, [-1]) for g in model._gradients(x)], 0)

        return tf.map_fn(one, tf.zeros([n]), parallel_iterations=1)

    return all_of_them().numpy().astype(np.float64)


def assert_same_mean(first, second):
    """The means of draws `[n, parameters]` are the same within 5 standard errors."""
    error = np.sqrt(first.var(0, ddof=1) / len(first) + second.var(0, ddof=1) / len(second))
    assert (abs(first.mean(0) - second.mean(0)) <= 5 * error + 1e-6).all()


@pytest.fixture
def model():
    return small_model()


@pytest.fixture(scope="session")
def trained(digits):
    """A model of two stochastic layers, trained on digits for three epochs. Not to be trained further."""
    model = small_model(num_layers=2, mean=digits.mean)
    model.compile(keras.optimizers.Adam(3e-3))
    model.fit(digits.train, epochs=3, verbose=0)
    return model


@pytest.fixture(scope="session")
def small(x):
    """A small model of uint8, untrained, which scores as well as any."""
    model = small_model()
    model.encode(x)
    return model


@pytest.fixture(scope="session")
def saved_model(small, tmp_path_factory):
    return iwae_tf.export(small, tmp_path_factory.mktemp("export") / "model", num_samples=50)


class LinearGaussian:
    """p(z) = N(0, I), p(x|z) = N(Wz + b, s^2 I), with W's columns orthogonal: the posterior is a diagonal Gaussian."""

    def __init__(self, dim=5, latent=2, scale=0.7, seed=0):
        rng = np.random.default_rng(seed)
        orthogonal, _ = np.linalg.qr(rng.normal(size=(dim, latent)))
        self.w = orthogonal * rng.uniform(0.5, 1.5, latent)
        self.b = rng.normal(size=dim)
        self.scale = scale
        self.covariance = self.w @ self.w.T + scale**2 * np.eye(dim)
        self.posterior_variance = 1 / (1 + (self.w**2).sum(0) / scale**2)

    def posterior_mean(self, x):
        return (x - self.b) @ self.w / self.scale**2 * self.posterior_variance

    def log_prob(self, x):
        difference = x - self.b
        quadratic = np.einsum("ni,ij,nj->n", difference, np.linalg.inv(self.covariance), difference)
        return -0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * self.covariance)[1])

    def sample(self, n, seed=1):
        rng = np.random.default_rng(seed)
        z = rng.normal(size=(n, self.w.shape[1]))
        return (z @ self.w.T + self.b + self.scale * rng.normal(size=(n, len(self.b)))).astype(np.float32)

    def model(self, posterior_error=0.0, objective=None, seed=0):
        """The model with these parameters; q is the exact posterior, or off by `posterior_error` in its mean."""
        latent = self.w.shape[1]
        model = iwae_tf.IWAE(
            encoder=[layers.IndependentNormal(latent)],
            decoder=[layers.IndependentNormal(len(self.b))],
            prior=layers.StandardNormal(latent),
            objective=objective or objectives.ImportanceWeighted(5),
            seed=seed,
        )
        a = self.w / self.scale**2 * self.posterior_variance
        _assign(model.encoder[0], a, posterior_error - self.b @ a, 0.5 * np.log(self.posterior_variance))
        _assign(model.decoder[0], self.w.T, self.b, np.full(len(self.b), np.log(self.scale)))
        return model


def _assign(layer, kernel, bias, log_scale):
    loc, scale = layer.heads
    loc.kernel.assign(kernel)
    loc.bias.assign(bias)
    scale.kernel.assign(np.zeros_like(kernel))
    scale.bias.assign(log_scale)


@pytest.fixture(scope="session")
def linear_gaussian():
    return LinearGaussian()


class GaussianChain:
    """z_L ~ N(0, I), z_l | z_{l+1} ~ N(a z_{l+1}, s^2 I), x | z_1 likewise: every conditional is exact and diagonal."""

    def __init__(self, num_layers=3, dim=2, slope=0.8, scale=0.6):
        self.num_layers, self.dim, self.slope, self.scale = num_layers, dim, slope, scale
        self.variances = [1.0]  # of z_L, ..., z_1, x
        for _ in range(num_layers):
            self.variances.append(slope**2 * self.variances[-1] + scale**2)

    def sample(self, n, seed=1):
        return np.random.default_rng(seed).normal(0, self.variances[-1] ** 0.5, (n, self.dim)).astype(np.float32)

    def log_prob(self, x):
        variance = self.variances[-1]
        return -0.5 * (x**2 / variance + np.log(2 * np.pi * variance)).sum(-1)

    def model(self, posterior_error=0.0, objective=None, seed=0, ladder=False):
        """The model; q is the exact posterior, bottom up or top down, or off by `posterior_error` in its means."""
        model = iwae_tf.IWAE(
            encoder=[layers.IndependentNormal(self.dim) for _ in range(self.num_layers)],
            decoder=[layers.IndependentNormal(self.dim) for _ in range(self.num_layers)],
            prior=layers.StandardNormal(self.dim),
            objective=objective or objectives.ImportanceWeighted(5),
            seed=seed,
            ladder=ladder,
        )
        one, zero = np.eye(self.dim), np.zeros(self.dim)
        for layer in model.decoder:
            _assign(layer, self.slope * one, zero, zero + np.log(self.scale))
        if ladder:
            self._assign_ladder(model, posterior_error)
            return model
        for layer, above, below in zip(reversed(model.encoder), self.variances, self.variances[1:], strict=False):
            scale = self.scale * (above / below) ** 0.5
            _assign(layer, self.slope * above / below * one, zero + posterior_error, zero + np.log(scale))
        return model

    def _assign_ladder(self, model, posterior_error):
        """Every layer of the encoder sees x itself, of which p(x|z_l) = N(a^l z_l, v) as a function of z_l is exact."""
        one, zero = np.eye(self.dim), np.zeros(self.dim)
        for i, layer in enumerate(model.encoder, start=1):
            slope = self.slope**i
            precision = slope**2 / (self.scale**2 * sum(self.slope ** (2 * j) for j in range(i)))
            total = precision + (i == self.num_layers)  # at the top, the prior's own
            _assign(layer, precision / total / slope * one, zero + posterior_error, zero - 0.5 * np.log(total))


@pytest.fixture(scope="session")
def gaussian_chain():
    return GaussianChain()
