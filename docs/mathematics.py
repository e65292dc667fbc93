"""Typesets the formulas of the pages as MathML while the site is built: browsers need no script to show them."""

import html
import re
from pathlib import Path

import matplotlib
from math_core import LatexToMathML
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

CONVERTER = LatexToMathML()
#: What `pymdownx.arithmatex` writes for `$...$` and `$$...$$`.
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
#: The font for machines without a mathematical one; Matplotlib brings it.
FONT = Path(matplotlib.get_data_path(), "fonts", "ttf", "STIXGeneral.ttf")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    files.append(File.generated(config, f"styles/{FONT.name}", abs_src_path=str(FONT)))
    return files


def on_page_content(content: str, **_: object) -> str:
    return FORMULA.sub(typeset, content)


def typeset(match: re.Match[str]) -> str:
    tag, formula = match.groups()
    return CONVERTER.convert_with_local_state(html.unescape(formula), displaystyle=tag == "div")
