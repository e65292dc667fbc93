"""Results as markdown and JSON."""

import json
import os
import platform
from pathlib import Path


def markdown(header, rows):
    """A table: `header` a sequence of strings, `rows` sequences of what can be printed."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def number(value):
    """Three significant digits, and never a power of ten."""
    return f"{value:#.3g}".rstrip(".") if abs(value) < 1000 else f"{value:,.0f}"


def write(folder, name, result, **about):
    """Writes a result to `folder/name.json`, beside the machine and what else there is to say about the run."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}"
    path = Path(folder) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, **about, **result}, indent=2) + "\n")
