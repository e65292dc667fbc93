"""The likelihood by the number of samples: iwae_tf beside JAX, PyTorch and the floor, in turn."""

from benchmarks import compare
from benchmarks.cases import Case

CASES = tuple(Case(k, 100) for k in (10, 50, 100, 300, 1000, 5000))

table = compare.table


def run(settings):
    """Measures the cases, in a smoke run the first and the last; see `compare.measure`."""
    return compare.run(settings, CASES)
