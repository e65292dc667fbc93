"""The likelihood by the number of samples: iwae_tf beside JAX, PyTorch and the floor, in turn."""

from benchmarks.cases import Case
from benchmarks.compare import contenders, measure
from benchmarks.tables import markdown, number

CASES = tuple(Case(k, 100) for k in (10, 50, 100, 300, 1000, 5000))


def run(settings):
    """Measures the cases, in a smoke run the first alone; see `compare.measure`."""
    cases = CASES[:1] if settings.quick else CASES
    return measure({case: contenders(case, settings.peer_python) for case in cases}, settings)


def table(result):
    """Images a second as markdown, and in brackets these of iwae_tf over those of the contender."""
    names = [name for name in next(iter(result["cases"].values())) if not name.startswith("floor")]
    rows = []
    for case, measured in result["cases"].items():
        images = int(case.split(" images")[0].rsplit(" ", 1)[1])
        rates = {name: images / m["seconds"] for name, m in measured.items() if "seconds" in m}
        cells = [f"{number(rates[n])} ({rates['iwae_tf'] / rates[n]:.2f})" if n in rates else "" for n in names]
        rows.append([case.split(",")[1].strip(), *cells])
    return markdown(["", *names], rows)
