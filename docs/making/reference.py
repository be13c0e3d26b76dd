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
        if name == "super_selfish" and public in _elsewhere():
            continue
        found = getattr(module, public)
        if inspect.isclass(found):
            lines += [f".. autoclass:: {public}", "   :members:", "   :show-inheritance:", ""]
        elif callable(found):
            lines += [f".. autofunction:: {public}", ""]
        else:
            lines += [f".. autodata:: {public}", "   :no-value:", ""]
    return "\n".join([*lines, "```", ""])


def _elsewhere() -> set[str]:
    """Public names that a part below the top documents as well."""
    parts = [importlib.import_module(name) for name in PARTS if name != "super_selfish"]
    return {public for part in parts for public in part.__all__}


def tables_as_rst(
    app: object, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Makes the tables of a docstring, which are Markdown, those of reStructuredText."""
    made: list[str] = []
    for line in lines:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not line.lstrip().startswith("|") or len(cells) < 2:
            made.append(line)
        elif all(re.fullmatch(":?-+:?", cell) for cell in cells):
            continue
        else:
            if not made or not made[-1].startswith("   "):
                made += ["", ".. list-table::", "   :header-rows: 1", ""]
            made.append(f"   * - {cells[0]}")
            made += [f"     - {cell}" for cell in cells[1:]]
    lines[:] = made
