"""Pages that show a file of the repository as it stands: examples, measured tables."""

from __future__ import annotations

import ast
from pathlib import Path

from docs.making.algorithms import table, write
from docs.making.facts import RESULTS, ROOT


def write_examples(folder: Path) -> None:
    """Writes a page for each file of `examples`."""
    files = sorted((ROOT / "examples").glob("*.py"))
    pages, rows = {}, []
    for file in files:
        told = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        first, _, rest = told.partition("\n")
        pages[file.stem] = (
            f"# {file.name}\n\n{first}\n{_commands(rest)}\n\n"
            f"```{{literalinclude}} ../../examples/{file.name}\n:language: python\n```\n"
        )
        rows.append([f"[{file.name}]({file.stem}.md)", first])
    pages["index"] = (
        "# Examples\n\nWhole scripts, shown as they stand. They are not run when these pages are "
        "built, since they train for minutes; the tests run them with tiny settings.\n\n"
        + table(["file", "shows"], rows)
        + _toctree(sorted(pages))
    )
    write(folder, pages)


def write_results(folder: Path) -> None:
    """Writes the list of measured tables, which are pages themselves."""
    rows, listed = [], []
    for file in sorted(RESULTS.glob("*.md")):
        title = titled(file.stem, file.read_text(encoding="utf-8")).partition("\n")[0].lstrip("# ")
        rows.append([f"[{file.name}](../../benchmarks/results/{file.name})", title])
        listed.append(f"../../benchmarks/results/{file.stem}")
    text = (
        "# What was measured\n\nEvery table names its command, its date and its machine; "
        "`benchmarks/` has the scripts.\n\n" + table(["table", "of"], rows) + _toctree(listed)
    )
    write(folder, {"index": text})


def titled(name: str, text: str) -> str:
    """A page with a title: its own, or of a table that has none the file's name in words."""
    if text.lstrip().startswith("# "):
        return text.lstrip()
    return f"# {name.replace('_', ' ').capitalize()}\n\n{text}"


def _commands(text: str) -> str:
    """A docstring's body: indented lines become blocks of code."""
    made, inside = [], False
    for line in text.splitlines():
        indented = line.startswith("    ")
        if indented != inside:
            made += ["", "```bash"] if indented else ["```", ""]
            inside = indented
        made.append(line[4:] if indented else line)
    return "\n".join([*made, "```"] if inside else made)


def _toctree(pages: list[str]) -> str:
    return "\n```{toctree}\n:hidden:\n\n" + "\n".join(p for p in pages if p != "index") + "\n```\n"
