"""The fraction of the chip's matrix rate that a step uses: the operations of its dense products, over those that the
chip could have done in the same time. What it can do, one large product tells in the same run."""

import tensorflow as tf

from benchmarks.cases import Case
from benchmarks.compare import measure
from benchmarks.tables import markdown, number
from benchmarks.turns import Contender

CASES = (Case(1, 20, steps=2000), Case(50, 20, steps=1000), Case(50, 100, steps=400), Case(50, 1000, steps=50))
PEAK = Case(1, 1, steps=20)  # so many large products
SIZES = {"cpu": 2048, "gpu": 8192}


class Product:
    """A large product as a contender, in the precision in which TensorFlow does those of the layers (TF32 on a GPU)."""

    def __init__(self, *_):
        self.device = "gpu" if tf.config.list_physical_devices("GPU") else "cpu"
        size = SIZES[self.device]
        self._w = tf.random.stateless_normal((size, size), (1, 2), stddev=size**-0.5)  # which keeps a value's size
        self._program = tf.function(self._loop, jit_compile=True, autograph=False)

    def _loop(self, num_steps):
        return tf.while_loop(lambda i, _: i < num_steps, lambda i, h: (i + 1, h @ self._w), (tf.constant(0), self._w))

    def train(self, num_steps):
        """Multiplies so many times."""
        return float(self._program(tf.constant(num_steps))[1][0, 0])


def run(settings):
    """Measures the product and the steps.

    Returns:
      What `compare.measure` returns, `peak`: the chip's operations per second, and `flops`: {case: those of a step}.
    """
    ours = [Contender("iwae_tf", "benchmarks.ours:Fit")]
    contenders = {PEAK: [Contender("product", "benchmarks.gpu.rate:Product")], **dict.fromkeys(CASES, ours)}
    cases = measure(contenders, settings)["cases"]
    seconds = cases.pop(settings.adapt(PEAK).name)["product"]["seconds"]
    flops = {case.name: case.flops() for case in CASES}
    return {"cases": cases, "peak": 2 * SIZES[settings.device] ** 3 / seconds, "flops": flops}


def table(result):
    """The fractions as markdown."""
    rows = []
    for case, measured in result["cases"].items():
        seconds, flops = measured["iwae_tf"].get("seconds", float("nan")), result["flops"][case]
        rows.append(
            [case, f"{flops / 1e9:.3f}", number(seconds * 1e3), f"{flops / seconds / result['peak']:.2%}"],
        )
    peak = f"One large product: {result['peak'] / 1e12:.2f} Tflop/s."
    return f"{markdown(['step', 'Gflop', 'ms', 'of the matrix rate'], rows)}\n\n{peak}"
