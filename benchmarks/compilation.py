"""What the first `fit` compiles, and that the second compiles nothing."""

import tempfile
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.tables import markdown
from benchmarks.turns import Contender, Process

CASES = (Case(1, 20, steps=300), Case(50, 20, steps=300), Case(50, 20, 2, steps=100))


def run(settings, cases=CASES):
    """Fits twice; returns `{"fits": {case: [{"seconds", "programs"}, {"seconds", "programs"}]}}`.

    XLA writes down every program that it compiles, and the files are counted.
    """
    results = {}
    for case in map(settings.adapt, cases[: 1 if settings.quick else None]):
        with tempfile.TemporaryDirectory() as folder:
            dump = {"XLA_FLAGS": f"--xla_dump_to={folder} --xla_dump_hlo_as_text"}
            fits, before = [], 0
            with Process(Contender("iwae_tf", "benchmarks.ours:Fit", environment=dump), case, settings) as process:
                for _ in range(2):
                    seconds = process.run()["seconds"]
                    # module_0003.name.before_optimizations.txt, and others of the same module
                    programs = len({path.name.split(".")[0] for path in Path(folder).glob("module_*")})
                    fits.append({"seconds": seconds, "programs": programs - before})
                    before = programs
        results[case.name] = fits
    return {"fits": results}


def table(result):
    """The results as markdown."""
    rows = [
        (name, *(cell for fit in fits for cell in (f"{fit['seconds']:.2f}", fit["programs"])))
        for name, fits in result["fits"].items()
    ]
    return markdown(["fit", "first, s", "programs compiled", "second, s", "programs compiled"], rows)
