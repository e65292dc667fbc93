"""Steps per second against the number of steps in one execution."""

from benchmarks.cases import Case
from benchmarks.compare import measure
from benchmarks.tables import markdown, number
from benchmarks.turns import Contender

CASES = (Case(1, 20, steps=2000), Case(50, 20, steps=2000))
STEPS = (1, 10, 100, 1000)


def run(settings):
    """Measures them in turn; see `compare.measure`."""
    contenders = [Contender(str(n), "benchmarks.ours:Fit", {"steps_per_execution": n}) for n in STEPS]
    return measure(dict.fromkeys(CASES, contenders), settings)


def table(result):
    """Steps per second as markdown."""
    rows = [
        [case, *(m.get("absent") or number(1 / m["seconds"]) for m in measured.values())]
        for case, measured in result["cases"].items()
    ]
    return markdown(["steps per second, by steps per execution", *map(str, STEPS)], rows)
