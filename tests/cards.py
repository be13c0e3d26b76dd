"""What a notebook would show of a card, and that it shows nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser

EVIL = "\"><script>alert('1')</script><img src=x onerror=alert(2)>&"
_ATTRIBUTES = {"class", "scope", "tabindex"}
_TAGS = {
    *("div", "style", "p", "strong", "table", "thead", "tbody", "tr", "th", "td"),
    *("ul", "li", "details", "summary"),
}


class Card(HTMLParser):
    """The texts of a card and its classes; anything that could do harm is a failure.

    Attributes:
        text: All of it, spaces made one.
        cells: Of tables, row by row.
        classes: Of all tags.
    """

    def __init__(self, written: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.classes: list[str] = []
        self.cells: list[list[str]] = []
        self._texts: list[str] = []
        self.feed(written)
        self.close()
        assert self.open == []  # all are closed: what follows in the notebook is not in the card
        assert not re.search(r"url\(|@import|//", written.replace("&#39;", "'"))
        assert not re.search(r"(?<![-\w])color: (?!inherit)", written)  # that of the page
        self.text = " ".join(" ".join(self._texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _TAGS and {name for name, _ in attrs} <= _ATTRIBUTES
        self.open.append(tag)
        self.classes += [name for key, value in attrs if key == "class" for name in value.split()]  # type: ignore[union-attr]
        if tag == "tr":
            self.cells.append([])
        if tag in ("th", "td"):
            self.cells[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            return
        self._texts.append(data)
        if self.open and self.open[-1] in ("th", "td"):
            self.cells[-1][-1] += data
