"""Convolutions forward and backward: TensorFlow's own, XLA's, products over patches in XLA, and PyTorch's, in turn.

python -m benchmarks.convolutions
"""

import functools

from benchmarks import commands, compare
from benchmarks.cases import CONVOLUTIONS, Case
from benchmarks.turns import Contender

BATCH_SIZE, STEPS = 100, 100


class Ours:
    """A convolution and its gradients for the kernel and the input.

    Args:
      name: one of `CONVOLUTIONS`.
      how: `"tensorflow"`, `"xla"`, or `"patches"` for one product over patches in XLA.
    """

    def __init__(self, images, num_samples, batch_size, num_layers=1, name="", how="tensorflow"):
        import tensorflow as tf

        case = CONVOLUTIONS[name]
        self.device = "gpu" if tf.config.list_physical_devices("GPU") else "cpu"
        shape = (*case.kernel, *((case.filters, case.channels) if case.transposed else (case.channels, case.filters)))
        self._x = tf.random.stateless_normal([batch_size, case.height, case.width, case.channels], (0, 0))
        self._kernel = tf.Variable(0.1 * tf.random.stateless_normal(shape, (0, 1)))
        convolve = functools.partial(_convolve_patches if how == "patches" else _convolve, case)

        @tf.function(jit_compile=how != "tensorflow")
        def step(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(tf.square(convolve(x, self._kernel)))
            x_gradient, kernel_gradient = tape.gradient(loss, [x, self._kernel])
            return x + 1e-9 * x_gradient, tf.reduce_sum(kernel_gradient)

        self._step = step

    def train(self, num_steps):
        """Runs steps, each of which needs the one before; returns the last sum of the kernel's gradient."""
        x = self._x
        for _ in range(num_steps):
            x, value = self._step(x)
        return float(value)


def _convolve(case, x, kernel):
    import tensorflow as tf

    if not case.transposed:
        return tf.nn.conv2d(x, kernel, case.stride, "SAME")
    shape = [x.shape[0], case.height * case.stride, case.width * case.stride, case.filters]
    return tf.nn.conv2d_transpose(x, kernel, shape, case.stride)


def _convolve_patches(case, x, kernel):
    """Gathers the patch of every position in its channels, and multiplies once."""
    import tensorflow as tf

    stride = case.stride
    if case.transposed:  # Zeros between the pixels make it a convolution of stride 1.
        n, height, width, channels = x.shape
        x = tf.reshape(x, [n, height, 1, width, 1, channels])
        x = tf.pad(x, [[0, 0], [0, 0], [0, stride - 1], [0, 0], [0, stride - 1], [0, 0]])
        x = tf.reshape(x, [n, height * stride, width * stride, channels])
        kernel, stride = tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2]), 1
    rows, columns = kernel.shape[:2]
    # As "SAME" does: less before an image than after it, and the reverse in the gradient, which a transposed one is.
    sizes = (x.shape[1], rows), (x.shape[2], columns)
    total = [max((-(-size // stride) - 1) * stride + reach - size, 0) for size, reach in sizes]
    before = [n if case.transposed else n // 2 for n in total]
    x = tf.pad(x, [[0, 0], *([b, n - b] for b, n in zip(before, total, strict=True)), [0, 0]])
    ends = x.shape[1] - rows + 1, x.shape[2] - columns + 1
    patches = [x[:, i : i + ends[0] : stride, j : j + ends[1] : stride] for i in range(rows) for j in range(columns)]
    return tf.tensordot(tf.concat(patches, -1), tf.reshape(kernel, [-1, kernel.shape[-1]]), 1)


def contenders(name, peer_python):
    """Returns who takes part."""
    ours = {"TensorFlow": "tensorflow", "XLA": "xla", "patches in XLA": "patches"}
    return [
        *(Contender(title, "benchmarks.convolutions:Ours", {"name": name, "how": how}) for title, how in ours.items()),
        Contender("PyTorch", "benchmarks.peers.torch_convolutions:Layer", {"name": name}, peer_python),
    ]


def run(settings):
    """Measures the convolutions."""
    case, results = Case(1, BATCH_SIZE, steps=STEPS), {}
    for name in list(CONVOLUTIONS)[: 1 if settings.quick else None]:
        measured = compare.measure({case: contenders(name, settings.peer_python)}, settings)["cases"]
        results[name] = next(iter(measured.values()))
    return {"cases": results}


def main():
    """Measures, and writes table and figures."""
    with commands.settings(commands.parser("benchmarks.convolutions", __doc__).parse_args()) as settings:
        commands.report("convolutions", run, compare.table, settings)


if __name__ == "__main__":
    main()
