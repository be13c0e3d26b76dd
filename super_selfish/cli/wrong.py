"""What a user has typed and cannot have meant, in a line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WrongLineError(Exception):
    """A word of a command line that its command does not take."""


def meant(wrong: str, known: Iterable[str]) -> str:
    """The end of a sentence with the names that were probably meant; empty if there is none near.

    Args:
        wrong: What was typed.
        known: What there is.
    """
    near = difflib.get_close_matches(wrong, sorted(known), n=2, cutoff=0.6)
    return f": did you mean {' or '.join(near)}?" if near else ""
