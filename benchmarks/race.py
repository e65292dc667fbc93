"""Seconds of training until a model reaches a likelihood: iwae_tf in full and resampled, JAX and PyTorch.

python -m benchmarks.race

All train the same network on MNIST at the same batch size and learning rate, an epoch at a time, in turn. After each
epoch they score 1,000 held-out images, binarised once, with 500 samples each. Neither scoring nor compiling counts;
every epoch counts as long as the median, so that a busy machine moves no point of a curve. The figures join those of
earlier calls with other seeds or other contenders.
"""

import contextlib
import dataclasses
import json
import statistics
import time
from pathlib import Path

import numpy as np

from benchmarks import commands
from benchmarks.cases import Case
from benchmarks.tables import markdown
from benchmarks.turns import PAUSE, ROOT, AbsentError, Contender, Process

TARGETS = (-95.0, -92.0, -90.0, -88.0)
NUM_IMAGES, NUM_SAMPLES, BATCH_SIZE = 1000, 500, 20

#: Objectives of iwae_tf, by the names of the table; `k` is the number of samples.
OBJECTIVES = {
    "iwae_tf": "ImportanceWeighted({k})",
    "iwae_tf, resampled": "ImportanceWeighted({k}, backward_samples='auto')",
    "iwae_tf, DReG resampled": "ImportanceWeighted({k}, 'doubly_reparameterized', backward_samples='auto')",
    "iwae_tf, STL resampled": "ImportanceWeighted({k}, 'path', backward_samples='auto')",
    "iwae_tf, MIWAE resampled": "MIWAE(5, {k} // 5, backward_samples='auto')",
}


PEERS = {
    "JAX": ("jax_peer", {}),
    "PyTorch": ("torch_peer", {}),
    "PyTorch compiled": ("torch_peer", {"compiled": True}),
}


def _order(name):
    """Returns the place of a contender in tables and pictures."""
    return [*OBJECTIVES, *PEERS].index(name)


def contenders(k, seed, peer_python):
    """Who takes part, all with the same seed."""
    ours = (
        Contender(name, "benchmarks.ours:Fit", {"objective": objective.format(k=k), "seed": seed})
        for name, objective in OBJECTIVES.items()
    )
    peers = (
        Contender(name, f"benchmarks.peers.{module}:Peer", {"seed": seed, **options}, peer_python)
        for name, (module, options) in PEERS.items()
    )
    return [*ours, *peers]


def race(runners, case, images, targets, max_seconds, settings):
    """Trains the contenders in turn until each has reached the last target, or its time is up.

    Returns:
      For each contender the seconds of its `epochs` and the `likelihoods` after them; or `absent`, the reason.
    """
    results = {}
    with contextlib.ExitStack() as stack:
        running = {}
        for contender in runners:
            try:
                running[contender.name] = stack.enter_context(Process(contender, case, settings))
                results[contender.name] = {"epochs": [], "likelihoods": []}
            except AbsentError as error:
                results[contender.name] = {"absent": str(error)}
        while running:
            for name, process in list(running.items()):
                time.sleep(PAUSE)
                result = results[name]
                try:
                    result["epochs"].append(process.run()["seconds"])
                    result["likelihoods"].append(process.run(score=images, num_samples=NUM_SAMPLES)["value"])
                except AbsentError as error:
                    results[name] = {"absent": str(error)}
                    del running[name]
                    continue
                seconds, likelihood = make_curve(**result)[-1]
                if likelihood > targets[-1] or seconds > max_seconds:
                    del running[name]
                print(f"{name}: {seconds:.0f} s, {likelihood:.2f}", flush=True)
    return results


def make_curve(epochs, likelihoods):
    """Returns `[seconds, likelihood]` after each epoch, each as long as the median of those after the first."""
    usual = statistics.median(epochs[1:] or epochs)
    return [[usual * i, likelihood] for i, likelihood in enumerate(likelihoods, start=1)]


def find_time(curve, target):
    """Returns the seconds at which a curve passes a target, between the epochs by interpolation; NaN if never."""
    for (start, low), (end, high) in zip([(0.0, -np.inf), *curve], curve, strict=False):
        if high >= target:
            return end if np.isinf(low) else start + (end - start) * (target - low) / (high - low)
    return float("nan")


def table(result):
    """Seconds to each target, the mean over the seeds, and in brackets the time of JAX over it."""
    races, targets = list(result["races"].values()), result["targets"]
    names = sorted({name for one in races for name, outcome in one.items() if "epochs" in outcome}, key=_order)

    def curves(name):
        return [make_curve(**one[name]) for one in races if "epochs" in one.get(name, ())]

    def mean(name, target):
        return float(np.mean([find_time(curve, target) for curve in curves(name)]))

    def cell(name, target):
        seconds, reference = mean(name, target), mean("JAX", target) if "JAX" in names else float("nan")
        ratio = "" if np.isnan(reference) else f" ({reference / seconds:.2f})"
        return "not reached" if np.isnan(seconds) else f"{seconds:.0f} s{ratio}"

    rows = [[name, len(curves(name)), *(cell(name, target) for target in targets)] for name in names]
    absent = {f"{name}: {outcome['absent']}" for one in races for name, outcome in one.items() if "absent" in outcome}
    return "\n\n".join([markdown(["", "seeds", *(f"{target:g}" for target in targets)], rows), *sorted(absent)])


def draw(result):
    """Draws likelihood against seconds of training, a line for each contender and seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    outcomes = [(name, one[name]) for one in result["races"].values() for name in sorted(one, key=_order)]
    outcomes = [(name, outcome) for name, outcome in outcomes if "epochs" in outcome]
    for name, outcome in outcomes:
        known = name in {line.get_label() for line in axes.lines}
        axes.plot(
            *zip(*make_curve(**outcome), strict=True), "-" if name in OBJECTIVES else "--", color=f"C{_order(name)}",
            label=None if known else name,
        )  # fmt: skip
    axes.set(xlabel="seconds of training", ylabel="$L_{500}$ of validation images (nats)")
    low = min(min(outcome["likelihoods"]) for _, outcome in outcomes)
    axes.set_ylim(max(low, result["targets"][0] - 10), None)
    axes.legend(fontsize="small")
    return figure


def hold_out(settings):
    """Holds out the last training images, binarised once.

    Returns:
      The settings with the images that are left, and the path of the others: binary float32 `[NUM_IMAGES, 784]`.
    """
    images, path = np.load(settings.images), Path(settings.images)
    train, validation = path.with_name("train.npy"), path.with_name("validation.npy")
    np.save(train, images[:-NUM_IMAGES])
    grey = images[-NUM_IMAGES:] / 255.0
    np.save(validation, (np.random.default_rng(0).random(grey.shape) < grey).astype(np.float32))
    return dataclasses.replace(settings, images=str(train)), str(validation)


def main():
    """Runs the race, and writes its table, its figures and its picture."""
    parser = commands.parser("benchmarks.race", __doc__)
    parser.add_argument("-k", type=int, default=50, help="importance samples (default: 50)")
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2), help="a race for each (default: 0 1 2)")
    parser.add_argument("--targets", type=float, nargs="+", default=TARGETS, help="likelihoods to reach")
    parser.add_argument("--max-seconds", type=float, default=1800, help="training that a contender may take")
    parser.add_argument("--names", nargs="+", help="these contenders alone")
    options = parser.parse_args()

    with commands.settings(options) as settings:
        settings, validation = hold_out(settings)  # noqa: PLW2901
        epoch = len(np.load(settings.images, mmap_mode="r")) // BATCH_SIZE
        case = settings.adapt(Case(options.k, BATCH_SIZE, steps=epoch))

        def run(settings):
            limit = 0.0 if settings.quick else options.max_seconds
            races = json.loads(path.read_text())["races"] if path.exists() else {}
            for seed in options.seeds[:1] if settings.quick else options.seeds:
                who = contenders(options.k, seed, settings.peer_python)
                who = [contender for contender in who if not options.names or contender.name in options.names]
                outcomes = race(who, case, validation, options.targets, limit, settings)
                races[str(seed)] = races.get(str(seed), {}) | outcomes
            return {"races": races, "targets": list(options.targets)}

        name = f"race-{options.k}"
        path = settings.folder / f"{name}.json"
        result = commands.report(name, run, table, settings)
        folder = settings.folder if options.quick else ROOT / "docs" / "images"
        draw(result).savefig(folder / f"{name}.png", dpi=120)


if __name__ == "__main__":
    main()
