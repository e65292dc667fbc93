"""What a PixelCNN costs beside independent pixels, with one and more samples of z: steps in turn.

python -m benchmarks.pixelcnn
"""

import functools

from benchmarks import commands, ours
from benchmarks.cases import Case
from benchmarks.compare import measure, table
from benchmarks.turns import Contender

CASES = (Case(1, 100, steps=20), Case(10, 100, steps=5))


class Fit(ours.Fit):
    """Training of perceptrons around a `PixelCNN` with this condition; `None` stands for independent pixels."""

    def __init__(self, *args, condition=None):
        from iwae_tf import layers

        likelihood = functools.partial(layers.PixelCNN, condition=condition) if condition else "bernoulli"
        super().__init__(*args, likelihood=likelihood)


def contenders():
    """Returns who takes part."""
    conditions = {"independent pixels": None, "condition last": "last", "condition all": "all"}
    return [Contender(name, "benchmarks.pixelcnn:Fit", {"condition": value}) for name, value in conditions.items()]


def run(settings):
    """Measures the cases; see `compare.measure`."""
    return measure(dict.fromkeys(CASES, contenders()), settings)


def main():
    """Measures them."""
    with commands.settings(commands.parser("benchmarks.pixelcnn", __doc__).parse_args()) as settings:
        commands.report("pixelcnn", run, table, settings)


if __name__ == "__main__":
    main()
