"""Contenders in processes of their own, which stay up and take turns: A B C A B C ..."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# OpenMP's threads go on spinning for 0.2 s after their work, on the cores of the next in turn.
PAUSE = 0.3


class AbsentError(Exception):
    """A contender that is not installed, or that failed; the message says why."""


@dataclass(frozen=True)
class Contender:
    """Who takes part.

    Attributes:
      name: its column in the tables.
      factory: `module:attribute`; called with images, k, the batch size, the number of stochastic layers and the
        options, it returns an object with `train(num_steps)` or `log_likelihood(x, num_samples)` and a `device`.
      options: keyword arguments of the factory.
      python: the interpreter that has its libraries.
      environment: environment variables that it needs.
    """

    name: str
    factory: str
    options: dict[str, Any] = field(default_factory=dict)
    python: str = sys.executable
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """What the measurements of one run share.

    Attributes:
      command: what was called.
      images: path of the grey images, a .npy of uint8 `[n, 784]`.
      source: what they are.
      rounds: turns of every contender.
      quick: whether it is a smoke run of few steps.
      peer_python: the interpreter that has the peers.
      device: "cpu" or "gpu".
    """

    command: str
    images: str
    source: str
    rounds: int
    quick: bool
    peer_python: str
    device: str

    @property
    def folder(self):
        """Where the figures go: those of a smoke run to where nobody takes them for results."""
        return ROOT / "runs" / "benchmarks" if self.quick else ROOT / "benchmarks" / "results"

    def adapt(self, case):
        """Returns the case as this run measures it."""
        return case.shortened() if self.quick else case


class Process:
    """A contender at work on one case; a context manager.

    Args:
      contender: a `Contender`.
      case: a `Case`.
      settings: the `Settings`.

    Raises:
      AbsentError: if it does not start, or runs on another device.
    """

    def __init__(self, contender, case, settings):
        task = {"factory": contender.factory, "options": contender.options, "case": asdict(case)}
        # Several processes share the device: none may take all of its memory. Without this, TensorFlow and JAX do.
        shared = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        hidden = {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"} if settings.device == "cpu" else {}
        self._process = subprocess.Popen(
            [contender.python, "-m", "benchmarks.worker", json.dumps(task | {"images": settings.images})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **shared, **hidden, **contender.environment},
        )
        try:
            hello = self._read()
            if hello["device"] != settings.device:
                raise AbsentError(f"runs on the {hello['device']}, not on the {settings.device}")
        except AbsentError:
            self.close()
            raise
        self.versions = hello["versions"]

    def run(self, **request):
        """Does the work of the case once; returns `seconds`, the `value` it gave, and `peak_mib` so far.

        Args:
          **request: nothing; or `score`, the path of binary images, and `num_samples`, to score these instead.
        """
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return self._read()

    def _read(self):
        line = self._process.stdout.readline()
        if not line:
            raise AbsentError(f"its process ended with code {self._process.wait()}")
        reply = json.loads(line)
        if "error" in reply:
            raise AbsentError(reply["error"])
        return reply

    def close(self):
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def take_turns(contenders, case, settings):
    """Lets the contenders do the work of one case in turn.

    Args:
      contenders: a sequence of `Contender`.
      case: a `Case`.
      settings: the `Settings`. Before the rounds each works once, which compiles.

    Returns:
      `{name: measurement}`, where a measurement has `seconds` (of a step or of a likelihood, the median), `rounds`
      (those it is the median of), `compiling` (seconds that the first time took longer), `peak_mib` (the largest
      resident memory), `value` (the mean loss or likelihood last returned) and `versions`; or, for a contender that
      could not run, `absent`, the reason.
    """
    results, working, first = {}, {}, {}
    with contextlib.ExitStack() as stack:
        for contender in contenders:
            results[contender.name] = None  # holds its place in the order
            try:
                process = stack.enter_context(Process(contender, case, settings))
                first[contender.name] = process.run()["seconds"]
                working[contender.name] = process, []
            except AbsentError as error:
                results[contender.name] = {"absent": str(error)}
        for _ in range(settings.rounds):
            for name, (process, replies) in list(working.items()):
                time.sleep(PAUSE)
                try:
                    replies.append(process.run())
                except AbsentError as error:
                    results[name] = {"absent": str(error)}
                    del working[name]
    for name, (process, replies) in working.items():
        seconds = [reply["seconds"] for reply in replies]
        results[name] = {
            "seconds": statistics.median(seconds) / case.repeats,
            "rounds": [s / case.repeats for s in seconds],
            "compiling": first[name] - statistics.median(seconds),
            "peak_mib": replies[-1]["peak_mib"],
            "value": replies[-1]["value"],
            "versions": process.versions,
        }
    return results
