"""Where a step goes: the parts of one, each compiled as a loop of its own, beside the whole."""

import keras
import tensorflow as tf

from benchmarks.cases import Case
from benchmarks.compare import measure
from benchmarks.ours import Fit
from benchmarks.tables import markdown, number
from benchmarks.turns import Contender

CASE = Case(50, 20, steps=500)
PARTS = (
    "dense products", "networks", "density of the pixels", "densities of the latents", "draws", "binarisation",
    "Adam update",
)  # fmt: skip


class Part(Fit):
    """One part of a step of the one-layer network, forward and backward, as a contender.

    Inputs alternate between two, and what is computed is carried to the end of the loop: the compiler can neither take
    it out of the loop nor drop it.
    """

    def __init__(self, images, num_samples, batch_size, num_layers, part):
        super().__init__(images, num_samples, batch_size, num_layers)
        self._case = Case(num_samples, batch_size, num_layers)
        # Each returns the function of the number of an iteration that is its body.
        bodies = (self._products, self._networks, self._pixels, self._latents, self._draws, self._binarise, self._adam)
        body = dict(zip(PARTS, bodies, strict=True))[part]()

        def loop(num_steps):
            # All that is carried is returned, or it would be dead.
            return tf.while_loop(
                lambda i, *_: i < num_steps, lambda i, *_: (i + 1, *body(i)), (tf.constant(0), *body(tf.constant(0)))
            )

        self._program = tf.function(loop, autograph=False, jit_compile=True)

    def train(self, num_steps):
        """Runs the loop, and returns how often."""
        return float(self._program(tf.constant(num_steps))[0])

    def _pair(self, *shape):
        return tf.random.stateless_normal((2, *shape), (1, 2))

    def _chains(self, layer):
        """Runs chains of dense layers forward and backward; `layer` makes one from its two sizes and its place."""
        chains = []
        for rows, sizes, reads_data in self._case.chains():
            places = range(len(sizes) - 2, -1, -1)
            made = [layer(*pair) for pair in zip(sizes[:-1], sizes[1:], places, strict=True)]
            chains.append((self._pair(rows, sizes[0]), made, reads_data))

        def body(i):
            results = []
            for pair, made, reads_data in chains:
                x = pair[i % 2]
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    h = x
                    for call, _ in made:
                        h = call(h)
                variables = [v for _, weights in made for v in weights]
                results += tape.gradient(h, variables if reads_data else [*variables, x], output_gradients=h)
            return results

        return body

    def _products(self):
        def layer(inner, columns, _):
            w = tf.Variable(tf.random.stateless_normal((inner, columns), (3, 4), stddev=inner**-0.5))
            return lambda h: h @ w, [w]

        return self._chains(layer)

    def _networks(self):
        def layer(inner, columns, place):
            dense = keras.layers.Dense(columns, activation="tanh" if place else None)
            dense.build((None, inner))
            return dense, [v.value for v in dense.trainable_variables]

        return self._chains(layer)

    def _pixels(self):
        shape = self._case.num_samples, self._case.batch_size
        pair, upstream = self._pair(*shape, 28, 28, 1), tf.fill(shape, 0.1)
        x = tf.cast(self.images[: shape[1]] > 127, tf.float32)

        def body(i):
            logits = pair[i % 2]
            with tf.GradientTape() as tape:
                tape.watch(logits)
                log_prob = self.model.decoder[-1].distribution(logits=logits).log_prob(x)
            return log_prob, tape.gradient(log_prob, logits, output_gradients=upstream)

        return body

    def _parameters(self):
        d = self.model.latent_shapes[0][0]
        return self._pair(self._case.batch_size, d), 0.1 * self._pair(self._case.batch_size, d)

    def _latents(self):
        locs, log_scales = self._parameters()
        pair = self._pair(self._case.num_samples, *locs.shape[1:])

        def body(i):
            inputs = [locs[i % 2], log_scales[i % 2], pair[i % 2]]
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                loc, log_scale, z = inputs
                q = self.model.encoder[0].distribution(loc=loc, log_scale=log_scale)
                difference = q.log_prob(z) - self.model.prior().log_prob(z)
            return difference, *tape.gradient(difference, inputs)

        return body

    def _draws(self):
        locs, log_scales = self._parameters()

        def body(i):
            inputs = [locs[i % 2], log_scales[i % 2]]
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                q = self.model.encoder[0].distribution(loc=inputs[0], log_scale=inputs[1])
                z = q.sample(self._case.num_samples, seed=tf.stack([i, 1]))
            return z, *tape.gradient(z, inputs, output_gradients=z)

        return body

    def _binarise(self):
        pair = tf.constant(self.images[: 2 * self._case.batch_size].reshape(2, -1, 28, 28, 1))
        return lambda i: (self.model.preprocessing(pair[i % 2], seed=tf.stack([i, 1])),)

    def _adam(self):
        variables = self.model.trainable_variables
        self.model.optimizer.build(variables)
        gradients = [tf.random.stateless_normal(v.shape, (5, 6)) for v in variables]

        def body(i):
            self.model.optimizer.apply([g * tf.cast(i, g.dtype) for g in gradients], variables)
            return ()

        return body


def run(settings):
    """Measures the whole, by `fit` and as the bare loop, and its parts in turn; see `compare.measure`."""
    whole = [Contender("fit", "benchmarks.ours:Fit"), Contender("bare loop", "benchmarks.ours:RawLoop")]
    parts = [Contender(part, "benchmarks.breakdown:Part", {"part": part}) for part in PARTS]
    return measure({CASE: [*whole, *parts]}, settings)


def table(result):
    """The parts as markdown, in milliseconds and as fractions of the bare loop."""
    (measured,) = result["cases"].values()
    ms = {name: m["seconds"] * 1e3 for name, m in measured.items()}
    fit, loop, networks = (ms.pop(name) for name in ("fit", "bare loop", "networks"))
    ms["biases and activations (networks less products)"] = networks - ms["dense products"]
    ms["the rest: bound, metrics, layout, and what is saved or lost by compiling all together"] = loop - sum(
        ms.values()
    )
    ms["all: the bare loop"] = loop
    ms["`fit`: feeding, callbacks"] = fit - loop
    return markdown(["part", "ms", "of the step"], [[name, number(v), f"{v / loop:.0%}"] for name, v in ms.items()])
