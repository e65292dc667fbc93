"""The comparison on a GPU, the steps of one execution, and how much of the chip's matrix rate a step uses.

python -m benchmarks.gpu [--quick] [--peer-python PYTHON]
"""

import sys

import tensorflow as tf

from benchmarks import commands, compare, precision
from benchmarks.gpu import executions, rate

PARTS = {"comparison": compare, "executions": executions, "rate": rate, "precision": precision}


def main():
    """Measures all parts; without a GPU it refuses."""
    parser = commands.parser("benchmarks.gpu", __doc__)
    parser.add_argument("--allow-cpu", action="store_true", help="take the CPU, to see that the command works")
    options = parser.parse_args()
    if not tf.config.list_physical_devices("GPU") and not options.allow_cpu:
        sys.exit("Expected a GPU that TensorFlow sees. Received: none; --allow-cpu takes the CPU, for a trial")
    with commands.settings(options, "cpu" if options.allow_cpu else "gpu") as settings:
        for name, part in PARTS.items():
            commands.report(f"gpu-{name}", part.run, part.table, settings)


if __name__ == "__main__":
    main()
