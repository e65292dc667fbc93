"""What is measured: Burda's networks, the cases, and the dense products that a step of each cannot do without.

Nothing here needs more than Python, for the peers read it too.
"""

import itertools
from dataclasses import dataclass, replace
from typing import NamedTuple

PIXELS = 784


def latent_sizes(num_layers):
    """Sizes of z_1, ..., z_L: Burda's for one and two layers, more layers of 50 above them."""
    return (50,) if num_layers == 1 else (100, *[50] * (num_layers - 1))


def hidden_sizes(num_layers):
    """For each of them the widths of the hidden layers below it."""
    return ((200, 200), *[(100, 100)] * (num_layers - 1))


def encoder_sizes(num_layers):
    """Sizes of the dense layers of q, bottom up; a mean and a log scale are one output."""
    latents, hidden = latent_sizes(num_layers), hidden_sizes(num_layers)
    return [(d, *h, 2 * z) for d, h, z in zip((PIXELS, *latents), hidden, latents, strict=False)]


def decoder_sizes(num_layers):
    """Sizes of the dense layers of p, top down, ending in the pixels' logits."""
    latents, hidden = latent_sizes(num_layers), hidden_sizes(num_layers)
    down = [(z, *h, 2 * d) for d, h, z in zip(latents, hidden[1:], latents[1:], strict=False)]
    return [*reversed(down), (latents[0], *hidden[0], PIXELS)]


class Chain(NamedTuple):
    """Dense layers of these sizes, one after the other, on so many rows."""

    rows: int
    sizes: tuple[int, ...]
    reads_data: bool  # whose gradient for the input nobody asks for


@dataclass(frozen=True)
class Case:
    """Training steps, or with `steps=0` the likelihood of `batch_size` images with `num_samples` samples each."""

    num_samples: int
    batch_size: int
    num_layers: int = 1
    steps: int = 0

    @property
    def name(self):
        layers = {1: "one layer", 2: "two layers"}.get(self.num_layers, f"{self.num_layers} layers")
        if not self.steps:
            return f"likelihood, {self.num_samples} samples, {self.batch_size} images, {layers}"
        return f"k = {self.num_samples}, batch {self.batch_size}, {layers}"

    @property
    def repeats(self):
        """What a time is divided by: the steps of a round, or 1."""
        return self.steps or 1

    def shortened(self):
        """The case for a smoke run."""
        return replace(self, steps=min(self.steps, 4)) if self.steps else replace(self, batch_size=2)

    def chains(self):
        """The `Chain`s of its networks."""
        first, *others = encoder_sizes(self.num_layers)
        rows = self.num_samples * self.batch_size
        above = [Chain(rows, sizes, False) for sizes in (*others, *decoder_sizes(self.num_layers))]
        return [Chain(self.batch_size, first, True), *above]

    def flops(self):
        """Floating-point operations of the dense products: of a step forward and backward, of a likelihood forward."""
        total = 0
        for rows, sizes, reads_data in self.chains():
            for i, (inner, columns) in enumerate(itertools.pairwise(sizes)):
                # x@w; in training x^T@g for the weights and, but for the data, g@w^T for the input
                total += 2 * rows * inner * columns * (1 if not self.steps else 2 if reads_data and i == 0 else 3)
        return total


#: Steps of one round: two or three seconds on two cores, for a call of `fit` costs something whatever its length, and
#: never more than an epoch holds.
CASES = (
    Case(1, 20, steps=2000),
    Case(5, 20, steps=1000),
    Case(50, 20, steps=200),
    Case(50, 100, steps=40),
    Case(1, 20, 2, steps=1000),
    Case(50, 20, 2, steps=120),
    Case(5000, 100),
)


class Convolution(NamedTuple):
    """A convolution with padding, of images with these sizes; a transposed one enlarges them by its stride."""

    height: int
    width: int
    channels: int
    filters: int
    kernel: tuple[int, int]
    stride: int = 1
    transposed: bool = False


#: Those of the convolutional networks of MNIST, and of the stacks of a PixelCNN.
CONVOLUTIONS = {
    "encoder, 28x28x1 to 16, stride 2": Convolution(28, 28, 1, 16, (3, 3), 2),
    "encoder, 14x14x16 to 32, stride 2": Convolution(14, 14, 16, 32, (3, 3), 2),
    "decoder, 7x7x32 to 32, stride 2": Convolution(7, 7, 32, 32, (3, 3), 2, transposed=True),
    "decoder, 14x14x32 to 16, stride 2": Convolution(14, 14, 32, 16, (3, 3), 2, transposed=True),
    "vertical stack, 28x28x16 to 32, 3x5": Convolution(28, 28, 16, 32, (3, 5)),
    "horizontal stack, 28x28x16 to 32, 1x3": Convolution(28, 28, 16, 32, (1, 3)),
}
