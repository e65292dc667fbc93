"""How time grows with k, the batch, the depth, and the samples of a likelihood: ours alone."""

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from benchmarks.cases import Case
from benchmarks.tables import markdown, number
from benchmarks.turns import Contender, take_turns

OURS = [Contender("iwae_tf", "benchmarks.ours:Fit")]

# Steps for about a second a round.
_BY_SAMPLES = {1: 2000, 5: 1000, 20: 400, 50: 200, 200: 50, 1000: 10, 5000: 2}
_BY_BATCH = {20: 1000, 50: 500, 100: 250, 200: 120, 500: 50, 1000: 25}

#: What each curve runs over, and the case at every point.
CURVES = {
    "samples k, batch 20": {k: Case(k, 20, steps=steps) for k, steps in _BY_SAMPLES.items()},
    "batch size, k = 5": {size: Case(5, size, steps=steps) for size, steps in _BY_BATCH.items()},
    "stochastic layers, k = 5, batch 20": {depth: Case(5, 20, depth, steps=500) for depth in range(1, 8)},
    "samples of a likelihood, 20 images": {k: Case(k, 20) for k in (100, 500, 5000, 50_000)},
}


def run(settings):
    """Measures every point in a process of its own; returns `{"curves": {curve: {point: measurement}}}`."""
    curves = {}
    for name, points in CURVES.items():
        chosen = list(points)[: 2 if settings.quick else None]
        curves[name] = {
            str(point): take_turns(OURS, settings.adapt(points[point]), settings)["iwae_tf"] for point in chosen
        }
        print(f"{name}: {', '.join(f'{p}: {_ms(m)}' for p, m in curves[name].items())}", flush=True)
    return {"curves": curves}


def _ms(measured):
    return measured.get("absent") or f"{number(measured['seconds'] * 1e3)} ms"


def table(result):
    """The curves as markdown, each a table of its own."""
    parts = []
    for name, points in result["curves"].items():
        rows = [
            (point, number(m["seconds"] * 1e3), number(m["seconds"] * 1e3 / int(point)), f"{m['peak_mib']:.0f}")
            for point, m in points.items()
            if "seconds" in m
        ]
        parts.append(markdown([name, "ms", "ms for each", "peak resident MiB"], rows))
    return "\n\n".join(parts)


def draw(result):
    """Draws the curves: both axes logarithmic, beside a line through the last point along which time is linear.

    Returns:
      A `matplotlib.figure.Figure`.
    """
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    for axes, (name, points) in zip(figure.subplots(2, 2).flat, result["curves"].items(), strict=True):
        x, y = zip(*((int(p), m["seconds"] * 1e3) for p, m in points.items() if "seconds" in m), strict=True)
        axes.loglog(x, [y[-1] * value / x[-1] for value in x], "--", color="0.6", label="linear")
        axes.loglog(x, y, "o-", label="measured")
        axes.set_xlabel(name)
        axes.set_ylabel("ms" if "likelihood" in name else "ms per step")
        axes.set_xticks(x, [f"{value:,}" for value in x])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend()
    return figure
