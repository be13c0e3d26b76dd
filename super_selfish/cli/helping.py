"""The pages of `--help`, for a terminal of 80 columns or whatever there is."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from super_selfish.cli.flags import Flag, default_in_words, letters
from super_selfish.wrapping import columns

_NAME = 22  # columns of the names


def page(usage: str, text: str, sections: Sequence[tuple[str, Sequence[Flag]]]) -> str:
    """A page of help.

    Args:
        usage: How the command is called.
        text: What it does.
        sections: A heading and flags.
    """
    parts = [f"Usage: {usage}", "\n".join(textwrap.wrap(text, columns()))]
    for heading, flags in sections:
        if flags:
            parts.append("\n".join([heading, *(described(flag) for flag in flags)]))
    return "\n\n".join(parts)


def described(flag: Flag) -> str:
    """Name and values of a flag, and what it is for."""
    name = flag.typed
    if flag.is_switch and flag.default is True:
        name = "--[no-]" + name.removeprefix("--")
    elif not flag.is_placed and not flag.is_switch:
        name = f"{name} {letters(flag.type)}"
    default = "" if flag.is_switch else default_in_words(flag)
    return row(name, flag.text + (f" ({default})" if default else ""))


def row(name: str, text: str, wide: int = _NAME) -> str:
    """A name, and beside it a text; below it where the name is long.

    Args:
        name: On the left.
        text: On the right.
        wide: Columns of the left.
    """
    lines = textwrap.wrap(
        text, columns(), initial_indent=" " * (wide + 4), subsequent_indent=" " * (wide + 4)
    )
    if len(name) > wide or not lines:
        return "\n".join([f"  {name}", *lines])
    return "\n".join([f"  {name:<{wide}}  {lines[0].lstrip()}", *lines[1:]])
