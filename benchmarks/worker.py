"""The process of one contender: `turns.Process` starts it and speaks with it, in lines of JSON."""

import functools
import importlib
import json
import os
import re
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np

from benchmarks.cases import Case

LIBRARIES = ("tensorflow", "keras", "tensorflow_probability", "jax", "torch", "pythae", "numpy")


def peak_mib():
    """Largest resident memory of this process; that of `getrusage` counts its parent's too, before exec."""
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def main():
    """Makes the contender, then does its work, or what a line asks for, once for every line of the input."""
    # What libraries print must not come between the replies.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def reply(**content):
        print(json.dumps(content), file=replies, flush=True)

    try:
        task = json.loads(sys.argv[1])
        case = Case(**task["case"])
        images = np.load(task["images"])
        module, attribute = task["factory"].split(":")
        factory = getattr(importlib.import_module(module), attribute)
        contender = factory(images, case.num_samples, case.batch_size, case.num_layers, **task["options"])
        loaded = [name for name in LIBRARIES if name in sys.modules]
        reply(device=contender.device, versions={name: metadata.version(name.replace("_", "-")) for name in loaded})
        x = (images[: case.batch_size] > 127).astype(np.float32)
        for line in sys.stdin:
            request = json.loads(line)
            if request:
                work = functools.partial(contender.log_likelihood, np.load(request["score"]), request["num_samples"])
            elif case.steps:
                work = functools.partial(contender.train, case.steps)
            else:
                work = functools.partial(contender.log_likelihood, x, case.num_samples)
            start = time.perf_counter()
            value = work()
            value = float(np.mean(value))  # of numbers on this side of the device: nothing is still under way
            reply(seconds=time.perf_counter() - start, value=value, peak_mib=peak_mib())
    except Exception as error:  # whatever it is, the others go on and the table says it
        reason = str(error).strip().splitlines() or [""]
        reply(error=f"{type(error).__name__}: {reason[0][:200]}")
        raise


if __name__ == "__main__":
    main()
