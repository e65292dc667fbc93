"""Pages of HTML with tables and figures, which need no other file."""

import base64
import html
import io

import pandas as pd
from matplotlib.figure import Figure

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; }}
table {{ border-collapse: collapse; margin: 1em 0; }} td, th {{ border: 1px solid #ccc; padding: .2em .6em; }}
td {{ text-align: right; }} img {{ max-width: 100%; }}
</style></head><body><h1>{title}</h1>
{body}
</body></html>
"""
#: Tables with more rows are summarised.
MAX_ROWS = 30


def page(title: str, *sections: str) -> str:
    """Returns a page with these sections of HTML."""
    return _PAGE.format(title=html.escape(title), body="\n".join(sections))


def section(name: str, content: str) -> str:
    """Returns a section; its heading is a name such as `active_units`."""
    return f"<h2>{name.replace('_', ' ').capitalize()}</h2>{content}"


def paragraph(text: str) -> str:
    """Returns a paragraph of plain text."""
    return f"<p>{html.escape(text)}</p>"


def table_html(table: pd.DataFrame) -> str:
    """Returns a table as HTML."""
    return table.to_html(float_format=lambda value: f"{value:.4g}")


def summary_html(table: pd.DataFrame) -> str:
    """Returns a table as HTML, or its statistics if it is long."""
    return table_html(table if len(table) <= MAX_ROWS else table.describe())


def figure_html(figure: Figure) -> str:
    """Returns a figure as HTML, with the image in it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return f'<img src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
