"""What is written for people, and for machines."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any

_WIDEST = 100


def columns() -> int:
    """How many letters fit into a line: those of the terminal, 80 where there is none."""
    return min(_WIDEST, max(40, shutil.get_terminal_size((80, 24)).columns))


def say(text: str) -> None:
    """Writes sentences and tables to where results go; breaks lines that are too long."""
    sys.stdout.write(broken(text, columns()) + "\n")
    sys.stdout.flush()


def broken(text: str, width: int) -> str:
    """Text with no line longer than a width, but for rows of tables and long words."""
    return "\n".join(part for line in text.splitlines() for part in _broken(line, width))


def _broken(line: str, width: int) -> list[str]:
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


def give(result: Any, *, as_json: bool, out: list[str] | None) -> None:
    """Shows a result, and writes it to files.

    Args:
        result: Prints as sentences, has `as_dict()`, and perhaps `to_csv`, `to_markdown`, `plot`.
        as_json: Shows it as JSON instead.
        out: Files, whose endings say what is written.

    Raises:
        ValueError: If it cannot be written so.
    """
    if as_json:
        sys.stdout.write(_json(result))
    else:
        say(str(result))
    for path in out or []:
        write(result, path)


WRITERS = {".csv": "to_csv", ".md": "to_markdown"}


def require_writable(path: str, kind: type) -> None:
    """Refuses a file before hours are spent on what shall lie in it.

    Args:
        path: The file.
        kind: Of the result.

    Raises:
        ValueError: If a result of that kind cannot be written so.
    """
    ending = os.path.splitext(path)[1].lower()
    method = WRITERS.get(ending, "as_dict" if ending == ".json" else "plot")
    if not hasattr(kind, method) or not ending:
        known = [".json", *(end for end, name in WRITERS.items() if hasattr(kind, name))]
        known += [".png"] if hasattr(kind, "plot") else []
        raise ValueError(f"{path} must end in {', '.join(known)}")


def write(result: Any, path: str) -> None:
    """Writes a result as the ending of a file says."""
    from super_selfish.training.atomic import write_atomically

    place = Path(os.path.expanduser(path))
    ending = place.suffix.lower()
    place.parent.mkdir(parents=True, exist_ok=True)
    if ending == ".json":
        write_atomically(place, lambda file: file.write(_json(result).encode()))
    elif ending in WRITERS:
        text = getattr(result, WRITERS[ending])()
        write_atomically(place, lambda file: file.write(text.encode(errors="surrogateescape")))
    else:
        result.plot(place)


def _json(result: Any) -> str:
    return json.dumps(result.as_dict(), indent=2, ensure_ascii=False) + "\n"
