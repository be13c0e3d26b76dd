"""What is written as HTML: templates with escaped texts, and the small card of a notebook.

Jinja2 escapes every text that is put into a template, so that no name, path or caption is ever
taken for a tag. Cards have neither scripts nor addresses, and no colours of their own but for the
mark of a verdict: they are read on light and on dark ground.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from jinja2 import BaseLoader, Environment

_SHARED = "super_selfish"  # whose `templates/` every page can use


class Sentence(NamedTuple):
    """What is to be said, and whether it is good news."""

    words: str
    kind: str = ""  # "good", "bad", or "" where nobody can tell


class Rows(NamedTuple):
    """A table: the first cell of a row is its heading."""

    rows: Sequence[Sequence[object]]
    header: Sequence[str] = ()


@cache
def environment(package: str = _SHARED) -> Environment:
    """Where templates are found: those of a package, then those that all share.

    Args:
        package: One with a folder `templates/`.

    Returns:
        It escapes every text, and takes what a template asks for in vain as an error.
    """
    # Supervisors are imported without it: it takes a tenth of a second, for those who look at them.
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    loaders: list[BaseLoader] = [PackageLoader(name) for name in dict.fromkeys((package, _SHARED))]
    return Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def card(
    title: str,
    *,
    about: str = "",
    verdict: Sentence | None = None,
    sentences: Sequence[str] = (),
    table: Rows | None = None,
    remarks: Sequence[str] = (),
    more: Rows | None = None,
    more_title: str = "",
) -> str:
    """A small card: what a notebook shows of an object, `_repr_html_`.

    Args:
        title: What it is.
        about: A sentence below.
        verdict: What one wants to know first.
        sentences: What is to be said besides.
        table: What was measured, or what is known.
        remarks: What the numbers of the table are, in small letters.
        more: A table that is folded.
        more_title: What unfolds it.

    Returns:
        HTML in which every text is escaped.
    """
    told: dict[str, Any] = {
        "title": title,
        "about": about,
        "verdict": verdict,
        "sentences": sentences,
        "table": table,
        "remarks": remarks,
        "more": more,
        "more_title": more_title,
    }
    text = environment().get_template("card.html").render(told)
    # Names of files need not be Unicode: what has no letter is written as in Python.
    return text.encode(errors="backslashreplace").decode()
