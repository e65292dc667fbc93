"""Copies what `iwae-tf reproduce` has made to docs/reproductions, and writes the table of docs/reproductions.md.

python -m benchmarks.reproduced
"""

import argparse
import re
import shutil
from pathlib import Path

import pandas as pd

from benchmarks.tables import markdown
from benchmarks.turns import ROOT
from iwae_tf.reproductions import NAMES

DOCS = ROOT / "docs"
#: Budgets in the order of the pages, the largest first.
BUDGETS = ("paper", "hour", "quick")
VERDICTS = ("yes", "undecided", "no")


def list_done(folder):
    """Returns the folders of the results by reproduction: those of the largest budget first."""
    done = {name: [folder / f"{name}-{budget}" for budget in BUDGETS] for name in NAMES}
    return {name: paths for name in done if (paths := [path for path in done[name] if path.exists()])}


def write_page(name, paths):
    """Writes the page of a reproduction, with a section for each budget."""
    entry = NAMES[name]
    parts = [f"# {name}\n\n{entry.shows[0].upper()}{entry.shows[1:]}. Source: {entry.source}.\n"]
    for path in paths:
        budget = path.name.rpartition("-")[2]
        shutil.copyfile(path / "figure.png", DOCS / "images" / "reproductions" / f"{path.name}.png")
        _, _, text = (path / "page.md").read_text().partition("Source: ")
        text = text.partition("\n\n")[2].replace("(figure.png)", f"(../images/reproductions/{path.name}.png)")
        parts.append(f"## Budget {budget}\n\n{text.replace('## Changes', '### Changes')}")
    (DOCS / "reproductions" / f"{name}.md").write_text("\n".join(parts))


def make_table(done, page):
    """Returns the table of all reproductions: how many claims hold, and which are contradicted.

    A reproduction that is not done here keeps the rows that it has on the page.
    """
    rows = []
    for name, entry in NAMES.items():
        if name not in done:
            kept = re.findall(rf"^\| (\[`{name}`\].*) \|$", page, re.M)
            rows += [row.split(" | ") for row in kept] or [[f"`{name}`", entry.source, "not run yet", *[""] * 4]]
        for path in done.get(name, []):
            claims = pd.read_csv(path / "claims.csv")
            counts = [int((claims.verdict == verdict).sum()) for verdict in VERDICTS]
            missing = "; ".join(claims.statement[claims.verdict == "no"])
            budget = path.name.rpartition("-")[2]
            rows.append([f"[`{name}`](reproductions/{name}.md)", entry.source, budget, *counts, missing])
    return markdown(["reproduction", "source", "budget", *VERDICTS, "contradicted"], rows)


def main():
    """Writes the pages."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.reproduced", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "reproductions")
    done = list_done(parser.parse_args().folder)
    for folder in (DOCS / "reproductions", DOCS / "images" / "reproductions"):
        folder.mkdir(exist_ok=True)
    for name, paths in done.items():
        write_page(name, paths)
    page = DOCS / "reproductions.md"
    table = f"<!-- table -->\n{make_table(done, page.read_text())}\n<!-- end of the table -->"
    page.write_text(re.sub("<!-- table -->.*<!-- end of the table -->", lambda _: table, page.read_text(), flags=re.S))


if __name__ == "__main__":
    main()
