"""Links the arXiv numbers of the pages and of the docstrings to their papers while the site is built."""

import re

#: What keeps its text: links, code and tags; and the numbers.
PARTS = re.compile(r"<(a|code|pre)\b.*?</\1>|<[^>]*>|\barXiv:(\d{4}\.\d{4,5})", re.DOTALL)


def on_page_content(content: str, **_: object) -> str:
    return PARTS.sub(link, content)


def link(match: re.Match[str]) -> str:
    number = match[2]
    return f'<a href="https://arxiv.org/abs/{number}">arXiv:{number}</a>' if number else match[0]
