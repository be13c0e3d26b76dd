"""Lines that fit into a terminal."""

from __future__ import annotations

import re
import shutil
import textwrap

WIDEST = 100  # letters; longer lines are hard to read


def columns() -> int:
    """How many letters fit into a line: those of the terminal, 80 where there is none."""
    return min(WIDEST, max(40, shutil.get_terminal_size((80, 24)).columns))


def broken(text: str, width: int | None = None) -> str:
    """Text with no line longer than a width, but for rows of tables and long words.

    Args:
        text: Some lines. What a line is continued by is indented.
        width: In letters. Default: that of the terminal.
    """
    most = columns() if width is None else width
    return "\n".join(part for line in text.splitlines() for part in _parts(line, most))


def _parts(line: str, width: int) -> list[str]:
    is_row = re.search(r"\S {2,}\S", line) is not None
    if len(line) <= width or is_row:
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.wrap(
        line.strip(),
        width,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
