"""iwae_tf against JAX and PyTorch, beside the bare loop and the floor, in turn."""

from benchmarks.cases import CASES
from benchmarks.tables import markdown, number
from benchmarks.turns import Contender, take_turns

FLOORS = ("floor, PyTorch", "floor, JAX")


def contenders(case, peer_python):
    """Who takes part in a case."""

    def peer(name, factory, **options):
        return Contender(name, f"benchmarks.{factory}", options, peer_python)

    bare_loop = [Contender("bare loop", "benchmarks.ours:RawLoop")] if case.steps else []
    return [
        Contender("iwae_tf", "benchmarks.ours:Fit"),
        *bare_loop,
        peer("JAX", "peers.jax_peer:Peer"),
        peer("PyTorch", "peers.torch_peer:Peer"),
        peer("PyTorch compiled", "peers.torch_peer:Peer", compiled=True),
        *([peer("pythae", "peers.pythae_peer:Peer")] if case.num_layers == 1 else []),
        peer(FLOORS[0], "floor:Torch"),
        peer(FLOORS[1], "floor:Jax"),
    ]


def run(settings, cases=CASES):
    """Measures the cases, in a smoke run the first and the last; see `measure`."""
    cases = cases[:: len(cases) - 1] if settings.quick else cases
    return measure({case: contenders(case, settings.peer_python) for case in cases}, settings)


def measure(contenders, settings):
    """Lets contenders take turns, case by case, with a line about each when it is done.

    Args:
      contenders: `{case: contenders}`; ratios are to the first of these.
      settings: the `Settings`.

    Returns:
      `{"cases": {name of the case: {name of the contender: measurement}}}`, see `take_turns`.
    """
    results = {}
    for full, who in contenders.items():
        case = settings.adapt(full)
        measured = results[case.name] = take_turns(who, case, settings)
        figures = (f"{n} {m.get('absent') or number(m['seconds'] * 1e3) + ' ms'}" for n, m in measured.items())
        print(f"{case.name}: {', '.join(figures)}", flush=True)
    return {"cases": results}


def table(result):
    """Writes the results of `measure` as markdown, a row for each case, and the faster floor in place of the two.

    Three tables: times and, in brackets, these over those of the first contender; by how much the first run, which
    compiles, is longer than the others; memory. Then why someone was absent.
    """
    cases = {case: with_floor(measured) for case, measured in result["cases"].items()}
    names = list(dict.fromkeys(name for measured in cases.values() for name in measured))

    def part(title, cell):
        def cells(measured):
            first = next(iter(measured.values())).get("seconds", float("nan"))
            for m in (measured.get(name, {}) for name in names):
                yield cell(m, first) if "seconds" in m else "absent" if m else ""

        return markdown([title, *names], [[case, *cells(measured)] for case, measured in cases.items()])

    absent = {f"{name}: {m['absent']}" for case in cases.values() for name, m in case.items() if "absent" in m}
    return "\n\n".join(
        [
            part("ms (ratio)", lambda m, first: f"{number(m['seconds'] * 1e3)} ({m['seconds'] / first:.2f})"),
            part("first run longer by, s", lambda m, _: f"{m['compiling']:.1f}"),
            part("peak resident MiB", lambda m, _: f"{m['peak_mib']:.0f}"),
            *sorted(absent),
        ]
    )


def with_floor(measured):
    """The measurements of a case with the faster floor in place of the two."""
    floors = [measured[name] for name in FLOORS if name in measured]
    others = {name: m for name, m in measured.items() if name not in FLOORS}
    return others | ({"floor": min(floors, key=lambda m: m.get("seconds", float("inf")))} if floors else {})
