"""Seconds of training until a model reaches a likelihood: iwae_tf in full and resampled, JAX and PyTorch.

python -m benchmarks.race

All train the same network on MNIST at the same batch size and learning rate, an epoch at a time, in turn. After each
epoch they score 1,000 held-out images, binarised once, with 500 samples each. Neither scoring nor compiling counts.
"""

import contextlib
import dataclasses
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


def contenders(k, seed, peer_python):
    """Who takes part, all with the same seed."""

    def peer(name, factory, **options):
        return Contender(name, f"benchmarks.peers.{factory}:Peer", {"seed": seed, **options}, peer_python)

    ours = (
        Contender(name, "benchmarks.ours:Fit", {"objective": objective.format(k=k), "seed": seed})
        for name, objective in OBJECTIVES.items()
    )
    return [
        *ours,
        peer("JAX", "jax_peer"),
        peer("PyTorch", "torch_peer"),
        peer("PyTorch compiled", "torch_peer", compiled=True),
    ]


def race(runners, case, images, targets, max_seconds, settings):
    """Trains the contenders in turn until each has reached the last target, or its time is up.

    Returns:
      For each contender its curve, `[seconds of training, likelihood]` after each epoch; or `absent`, the reason.
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
                if result["likelihoods"][-1] > targets[-1] or sum(result["epochs"]) > max_seconds:
                    del running[name]
                print(f"{name}: {sum(result['epochs']):.0f} s, {result['likelihoods'][-1]:.2f}", flush=True)
    return {name: result if "absent" in result else {"curve": make_curve(**result)} for name, result in results.items()}


def make_curve(epochs, likelihoods):
    """Returns `[seconds, likelihood]` of each epoch; the first, which compiles, counts as long as the median."""
    usual = statistics.median(epochs[1:] or epochs)
    seconds = np.cumsum([usual, *epochs[1:]])
    return [[float(s), value] for s, value in zip(seconds, likelihoods, strict=True)]


def find_time(curve, target):
    """Returns the seconds at which a curve passes a target, between the epochs by interpolation; NaN if never."""
    for (start, low), (end, high) in zip([(0.0, -np.inf), *curve], curve, strict=False):
        if high >= target:
            return end if np.isinf(low) else start + (end - start) * (target - low) / (high - low)
    return float("nan")


def table(result):
    """Seconds to each target, the mean over the seeds, and in brackets the time of JAX over it."""
    races, targets = result["races"], result["targets"]
    names = [name for name, outcome in races[0].items() if "curve" in outcome]

    def mean(name, target):
        return float(np.mean([find_time(one[name]["curve"], target) for one in races if "curve" in one[name]]))

    def cell(name, target):
        seconds, reference = mean(name, target), mean("JAX", target) if "JAX" in names else float("nan")
        ratio = "" if np.isnan(reference) else f" ({reference / seconds:.2f})"
        return "not reached" if np.isnan(seconds) else f"{seconds:.0f} s{ratio}"

    rows = [[name, *(cell(name, target) for target in targets)] for name in names]
    absent = {f"{name}: {outcome['absent']}" for one in races for name, outcome in one.items() if "absent" in outcome}
    return "\n\n".join([markdown(["", *(f"{target:g}" for target in targets)], rows), *sorted(absent)])


def draw(result):
    """Draws likelihood against seconds of training, a line for each contender and seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for one in result["races"]:
        for i, (name, outcome) in enumerate(one.items()):
            if "curve" in outcome:
                label = name if one is result["races"][0] else None
                dashed = "-" if name.startswith("iwae_tf") else "--"
                axes.plot(*zip(*outcome["curve"], strict=True), dashed, color=f"C{i}", label=label)
    axes.set(xlabel="seconds of training", ylabel="$L_{500}$ of validation images (nats)")
    low = min(min(value for _, value in o["curve"]) for one in result["races"] for o in one.values() if "curve" in o)
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
    parser.add_argument("--seeds", type=int, default=3, help="races, each with a seed of its own (default: 3)")
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
            races = []
            for seed in range(1 if settings.quick else options.seeds):
                who = contenders(options.k, seed, settings.peer_python)
                who = [contender for contender in who if not options.names or contender.name in options.names]
                races.append(race(who, case, validation, options.targets, limit, settings))
            return {"races": races, "targets": list(options.targets)}

        name = f"race-{options.k}"
        result = commands.report(name, run, table, settings)
        folder = settings.folder if options.quick else ROOT / "docs" / "images"
        draw(result).savefig(folder / f"{name}.png", dpi=120)


if __name__ == "__main__":
    main()
