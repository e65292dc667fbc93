"""The floor of a step: its dense products alone, forward and backward, as contenders in two libraries.

What one product gives, the next takes as it is: no bias, no activation, no draw, no density, no update. The gradient
that enters a chain from above is the chain's own output, so that everything depends on the input of the step and no
compiler can drop a product or take it out of the loop.
"""

import functools

import numpy as np

from benchmarks.cases import Case

BLOCK = 2500  # most rows of a likelihood that are scored at once


class _Floor:
    """The chains of dense layers of a case, and random matrices of their shapes."""

    def __init__(self, images, num_samples, batch_size, num_layers):
        self._random = np.random.default_rng(0)
        self._chains = Case(num_samples, batch_size, num_layers).chains()
        shapes = [list(zip(chain.sizes[:-1], chain.sizes[1:], strict=True)) for chain in self._chains]
        self._weights = [[self._matrix(*shape) / shape[0] ** 0.5 for shape in chain] for chain in shapes]

    def _matrix(self, rows, columns):
        return self._random.standard_normal((rows, columns), np.float32)


class Torch(_Floor):
    """In PyTorch: `torch.mm` into memory that is there already."""

    def __init__(self, *case):
        import torch

        self.device = "gpu" if torch.cuda.is_available() else "cpu"
        self._torch = torch
        torch.set_default_device("cuda" if self.device == "gpu" else "cpu")
        torch.set_float32_matmul_precision("high")  # TF32 on a GPU, as in the others
        super().__init__(*case)

    def _matrix(self, *shape):
        return self._torch.as_tensor(super()._matrix(*shape), device=self._torch.get_default_device())

    @functools.cached_property
    def _steps(self):
        """For each chain: its input and outputs, its weights and their gradients, and the gradients of its inputs."""
        empty = self._torch.empty_like
        steps = []
        for chain, weights in zip(self._chains, self._weights, strict=True):
            values = [self._matrix(chain.rows, size) for size in chain.sizes]
            gradients = [None if chain.reads_data else empty(values[0]), *map(empty, values[1:-1]), values[-1]]
            steps.append((values, weights, [*map(empty, weights)], gradients))
        return steps

    def train(self, num_steps):
        """Does the products of so many steps."""
        mm = self._torch.mm
        for _ in range(num_steps):
            for values, weights, weight_gradients, gradients in self._steps:
                for i, w in enumerate(weights):
                    mm(values[i], w, out=values[i + 1])
                for i in reversed(range(len(weights))):
                    mm(values[i].T, gradients[i + 1], out=weight_gradients[i])
                    if gradients[i] is not None:
                        mm(gradients[i + 1], weights[i].T, out=gradients[i])
        return self._steps[0][2][0][0, 0].item()

    @functools.cached_property
    def _forward(self):
        """For each chain: the number of blocks, the values of one of them, and its weights."""
        return [
            (blocks, [self._matrix(chain.rows // blocks, size) for size in chain.sizes], weights)
            for chain, weights, blocks in zip(self._chains, self._weights, map(num_blocks, self._chains), strict=True)
        ]

    def log_likelihood(self, x, num_samples):
        """Does the products forward, block by block."""
        for blocks, values, weights in self._forward:
            for _ in range(blocks):
                for i, w in enumerate(weights):
                    self._torch.mm(values[i], w, out=values[i + 1])
        return values[-1][0, 0].item()


class Jax(_Floor):
    """In XLA through JAX: all steps as one compiled loop."""

    def __init__(self, *case):
        import jax

        self.device = jax.default_backend()
        self._jax = jax
        super().__init__(*case)

    def _matrix(self, *shape):
        return self._jax.device_put(super()._matrix(*shape))

    def _pairs(self, rows):
        """For each chain two inputs of so many rows."""
        return [self._matrix(2 * n, c.sizes[0]).reshape(2, n, -1) for n, c in zip(rows, self._chains, strict=True)]

    def _loop(self, body, length):
        """Runs a body on 0, 1, 0, 1, ..., so that no iteration is like the last; returns what it gave at the end."""
        jax = self._jax
        init = jax.tree.map(lambda spec: jax.numpy.zeros(spec.shape), jax.eval_shape(body, 0))
        return jax.lax.scan(lambda _, i: (body(i), None), init, jax.numpy.arange(length) % 2)[0]

    @functools.cached_property
    def _steps(self):
        """The compiled loop over steps, and its inputs."""
        reads_data = [chain.reads_data for chain in self._chains]

        def loop(inputs, weights, num_steps):
            def step(i):
                return [chain_gradients(x[i], *rest) for x, *rest in zip(inputs, weights, reads_data, strict=True)]

            return self._loop(step, num_steps)

        return self._jax.jit(loop, static_argnums=2), self._pairs([chain.rows for chain in self._chains])

    def train(self, num_steps):
        """Does the products of so many steps."""
        program, inputs = self._steps
        return float(program(inputs, self._weights, num_steps)[0][0][0, 0])

    @functools.cached_property
    def _forward(self):
        """The compiled loops over blocks, and their inputs."""
        blocks = [num_blocks(chain) for chain in self._chains]

        def loops(inputs, weights):
            return [
                self._loop(lambda i, x=x, w=w: products(x[i], w)[-1], n)
                for x, w, n in zip(inputs, weights, blocks, strict=True)
            ]

        rows = [chain.rows // n for chain, n in zip(self._chains, blocks, strict=True)]
        return self._jax.jit(loops), self._pairs(rows)

    def log_likelihood(self, x, num_samples):
        """Does the products forward, block by block."""
        program, inputs = self._forward
        return float(program(inputs, self._weights)[-1][0, 0])


def num_blocks(chain):
    """In how many blocks the rows of a chain go forward."""
    return -(-chain.rows // BLOCK)


def products(x, weights):
    """The values of a chain: its input and the output of every layer."""
    values = [x]
    for w in weights:
        values.append(values[-1] @ w)
    return values


def chain_gradients(x, weights, reads_data):
    """The gradients of a chain for its weights, and unless it reads the data for its input."""
    *inputs, gradient = products(x, weights)
    results = []
    for i in reversed(range(len(weights))):
        results.append(inputs[i].T @ gradient)
        if i or not reads_data:
            gradient = gradient @ weights[i].T
    return results if reads_data else [*results, gradient]
