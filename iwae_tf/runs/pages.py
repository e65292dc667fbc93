"""Pages of HTML with tables and figures, which need no other file."""

import base64
import html
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

# A wide table scrolls within its frame, so that the page itself never does, on a phone either.
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 76em; margin: 0 auto; padding: 1em; color: #222; }}
h1, h2 {{ line-height: 1.2; overflow-wrap: anywhere; }} section + section {{ margin-top: 3em; }} h2 {{ margin-top: 0; }}
p {{ max-width: 46em; }}
nav ul {{ list-style: none; padding: 0; columns: 9em; }} nav a {{ color: #1a5fb4; text-decoration: none; }}
.frame {{ overflow-x: auto; margin: 1em 0; }} img {{ max-width: 100%; max-height: 36em; width: auto; height: auto; }}
table {{ border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }}
td, th {{ border-bottom: 1px solid #ddd; padding: .25em .7em; text-align: right; vertical-align: top; }}
td {{ white-space: nowrap; }}
th {{ font-weight: 600; text-align: left; }} thead th {{ text-align: right; }}
.facts td {{ text-align: left; white-space: normal; overflow-wrap: anywhere; }}
pre {{ margin: 0; font-size: 13px; line-height: 1.4; }}
@media (max-width: 40em) {{ img.wide {{ max-width: none; width: 44em; }} }}
@media (min-width: 60em) {{
  body {{ display: grid; grid-template-columns: 11em minmax(0, 1fr); column-gap: 2.5em; }} h1 {{ grid-column: 1 / 3; }}
  nav {{ position: sticky; top: 1em; align-self: start; font-size: 14px; }} nav ul {{ columns: auto; }}
}}
</style></head><body><h1>{title}</h1>
<nav aria-label="Contents"><ul>
{links}
</ul></nav>
<main>
{sections}
</main></body></html>
"""
#: Words of headings in capitals.
ABBREVIATIONS = ("ais", "bdmc", "kl", "snr")
#: Tables with more rows are summarised.
MAX_ROWS = 30


class Section(NamedTuple):
    """A section of a page.

    Attributes:
      name: the heading in code, such as `active_units`.
      explanation: plain text that says what the section shows and how to read it.
      content: HTML.
    """

    name: str
    explanation: str
    content: str

    @property
    def heading(self) -> str:
        """The heading in words."""
        words = [word.upper() if word in ABBREVIATIONS else word for word in self.name.split("_")]
        return " ".join([words[0][0].upper() + words[0][1:], *words[1:]])


def page(title: str, sections: Iterable[Section]) -> str:
    """Returns a page with a table of contents and these sections."""
    sections = list(sections)
    links = (f'<li><a href="#{section.name}">{html.escape(section.heading)}</a></li>' for section in sections)
    return _PAGE.format(
        title=html.escape(title), links="\n".join(links), sections="\n".join(map(_section_html, sections))
    )


def _section_html(section: Section) -> str:
    heading = f"<h2>{html.escape(section.heading)}</h2>"
    return f'<section id="{section.name}">{heading}{paragraph(section.explanation)}{section.content}</section>'


def paragraph(text: str) -> str:
    """Returns a paragraph of plain text."""
    return f"<p>{html.escape(text)}</p>"


def preformatted(text: str) -> str:
    """Returns text that keeps its lines and columns."""
    return f'<div class="frame"><pre>{html.escape(text)}</pre></div>'


def facts_html(facts: dict[str, str]) -> str:
    """Returns a table of names and texts, a line each."""
    rows = (f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in facts.items())
    return f'<table class="facts">{"".join(rows)}</table>'


def table_html(table: pd.DataFrame, index: bool = True) -> str:
    """Returns a table as HTML; its index is the first column."""
    text = table.map(format_number).rename(columns=lambda name: str(name).replace("_", " "))
    return f'<div class="frame">{text.to_html(index=index, border=0)}</div>'


def summary_html(table: pd.DataFrame) -> str:
    """Returns a table as HTML, or the statistics of its columns if it is long."""
    if len(table) <= MAX_ROWS:
        return table_html(table, index=False)
    note = f"Statistics of {len(table)} rows, of which the CSV file of the same name has every one:"
    return paragraph(note) + table_html(table.describe().drop("count"))


def format_number(value: Any) -> str:
    """Writes a float with three decimals, or three digits if it is very small or large; other values as they are.

    Three decimals of a nat are more than the errors of most estimates.
    """
    if not isinstance(value, (float, np.floating)):
        return str(value)
    number = float(value)
    fits = number == 0 or 1e-3 <= abs(number) < 1e7 or not np.isfinite(number)
    return f"{number:.3f}" if fits else f"{number:.3g}"


def image_html(path: Path) -> str:
    """Returns the image of a PNG file as HTML, with the image in it; its name is read where images are not shown."""
    content = path.read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    # A phone shows a row of panels at a size that can be read, and scrolls.
    shape = ' class="wide"' * (width > 2 * height)
    encoded = base64.b64encode(content).decode()
    return f'<div class="frame"><img alt="{html.escape(path.stem)}"{shape} src="data:image/png;base64,{encoded}"></div>'
