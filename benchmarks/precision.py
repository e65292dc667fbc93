"""A step under each precision policy, in turn."""

from benchmarks.cases import Case
from benchmarks.compare import measure, table
from benchmarks.turns import Contender

__all__ = ["run", "table"]

CASE = Case(50, 20, steps=500)
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")


def run(settings):
    """Measures them; see `compare.measure`."""
    return measure({CASE: [Contender(p, "benchmarks.ours:Fit", {"precision": p}) for p in POLICIES]}, settings)
