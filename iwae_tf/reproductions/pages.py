"""The files of a reproduction: table, figure and page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from iwae_tf.reproductions.catalog import Entry
from iwae_tf.reproductions.results import Claim, Result, Runs

_PAGE = """# {name}

{shows}. Source: {source}.

`iwae-tf reproduce {name} --budget {budget}`: {count} runs, {minutes:.1f} minutes of training.

{claims}
{table}

![{name}](figure.png)

{note}

## Changes from the published protocol

{changes}
"""
_NOTE = (
    "NLL is the negative log-likelihood of {observations:,} test observations with {samples:,} samples, in nats; "
    "errors are standard errors over these observations, of one seed."
)


def write(
    folder: Path, entry: Entry, trained: Runs, result: Result, changes: Mapping[str, tuple[list[str], list[str]]]
) -> None:
    """Writes `table.csv`, `table.md`, `figure.png`, `claims.csv` and `page.md` to an existing folder."""
    budget = next(iter(trained.values())).budget
    table = table_markdown(result.table)
    result.table.to_csv(folder / "table.csv")
    (folder / "table.md").write_text(f"{table}\n")
    result.figure.savefig(folder / "figure.png")
    claims = [{**claim._asdict(), "verdict": claim.verdict} for claim in result.claims]
    pd.DataFrame(claims, columns=["statement", "difference", "error", "verdict"]).to_csv(
        folder / "claims.csv", index=False
    )
    page = _PAGE.format(
        **entry._asdict() | {"changes": _describe_changes(entry, changes)},
        budget=budget.name,
        count=len(trained),
        minutes=sum(run.training["seconds"] for run in trained.values()) / 60,
        claims=claims_markdown(result.claims),
        table=table,
        note=result.note or _NOTE.format(observations=budget.num_observations, samples=budget.num_samples),
    )
    (folder / "page.md").write_text(page)


def table_markdown(table: pd.DataFrame) -> str:
    """Returns a table as Markdown, with two decimals of numbers from 10 up, three of smaller ones."""
    return str(table.map(format_value).reset_index().to_markdown(index=False, disable_numparse=True))


def format_value(value: Any) -> str:
    """Writes a value of a table; missing ones are empty."""
    if not isinstance(value, (float, np.floating)):
        return "" if value is None else str(value)
    value = float(value)
    if np.isnan(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def claims_markdown(claims: tuple[Claim, ...]) -> str:
    """Returns the claims as a Markdown table; empty without claims."""
    if not claims:
        return ""
    rows = [
        {
            "claim": claim.statement,
            "difference": f"{claim.difference:+.3f}" + (f" \u00b1 {claim.error:.3f}" if claim.error else ""),
            "reproduced": claim.verdict,
        }
        for claim in claims
    ]
    return f"{pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)}\n"


def describe_key(key: Any) -> str:
    """Returns what a run differs in as text."""
    return ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _describe_changes(entry: Entry, changes: Mapping[str, tuple[list[str], list[str]]]) -> str:
    lines = [f"- {entry.changes}"] if entry.changes else []
    lines += [
        f"- {name.replace('_', ' ')}: {_join(ours)}, published {_join(published)}."
        for name, (published, ours) in changes.items()
    ]
    return "\n".join(lines) or "None."


def _join(values: list[str]) -> str:
    return ", ".join(values) if len(values) <= 8 else f"{len(values)} values"
