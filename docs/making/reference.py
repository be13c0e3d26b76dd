"""Pages of the reference: every public name of a folder, with its docstring."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

from docs.making.algorithms import write

PARTS = {
    "super_selfish": "The top: from a folder to an answer",
    "super_selfish.supervisors": "The algorithms",
    "super_selfish.data": "Images on their way",
    "super_selfish.augmentations": "Views of images",
    "super_selfish.models": "Networks",
    "super_selfish.losses": "Losses",
    "super_selfish.memory": "What is remembered",
    "super_selfish.training": "What a run needs",
    "super_selfish.evaluation": "Did it help?",
    "super_selfish.export": "Taking the backbone away",
}
_LISTED = """# Reference

Every public name, from its docstring. Shapes and units stand there too.

```{{toctree}}
:maxdepth: 1

{pages}
```
"""


def write_all(folder: Path) -> None:
    """Writes a page for each part of the package, and one that lists them."""
    pages = {name.rpartition(".")[2]: _page(name, title) for name, title in PARTS.items()}
    pages["index"] = _LISTED.format(pages="\n".join(pages))
    write(folder, pages)


def _page(name: str, title: str) -> str:
    module = importlib.import_module(name)
    lines = [f"# `{name}`\n", f"{title}.\n", "```{eval-rst}", f".. currentmodule:: {name}", ""]
    for public in sorted(module.__all__, key=str.lower):
        found = getattr(module, public)
        if _home(public, found) != name:
            continue
        if inspect.isclass(found):
            lines += [f".. autoclass:: {public}", "   :members:", "   :show-inheritance:", ""]
        elif callable(found):
            lines += [f".. autofunction:: {public}", ""]
        else:
            told = ", ".join(f"``{each}``" for each in found)
            lines += [f".. py:data:: {public}", "", f"   By name: {told}.", ""]
    return "\n".join([*lines, "```", ""])


def _home(public: str, found: object) -> str:
    """The one part, of those with this name, on whose page it stands: that where it is defined."""
    parts = [part for part in PARTS if public in importlib.import_module(part).__all__]
    defined = getattr(found, "__module__", "")
    return max(parts, key=lambda part: (f"{defined}.".startswith(f"{part}."), len(part)))


def as_rst(
    app: object, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Makes reStructuredText of a docstring, whose code and tables are Markdown's."""
    made: list[str] = []
    for line in lines:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not line.lstrip().startswith("|") or len(cells) < 2:
            made.append(_line_as_rst(line))
        elif not all(re.fullmatch(":?-+:?", cell) for cell in cells):
            if not made or not made[-1].startswith("   "):
                made += ["", ".. list-table::", "   :header-rows: 1", ""]
            made.append(f"   * - {cells[0]}")
            made += [f"     - {cell}" for cell in cells[1:]]
    lines[:] = made


def _line_as_rst(line: str) -> str:
    """Escapes what means something else there: bars, and letters right behind code."""
    parts = re.split(r"(`+[^`]+`+)", line)
    parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
    parts[2::2] = [rf"\ {part}" if part[:1].isalnum() else part for part in parts[2::2]]
    return "".join(parts)
