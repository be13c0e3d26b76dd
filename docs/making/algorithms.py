"""A page for each algorithm, and one that lists them, made of what stands in code."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docs.making import facts
from super_selfish.supervisors import SUPERVISORS, Supervisor

OBVIOUS = ("algorithm", "seeds")  # columns of a measured table that a page leaves out
PICTURES = facts.ROOT / "docs" / "pictures"
LISTED = """# The algorithms

All of them take the same two lines, the same backbones and the same images. Each page is made of
what stands in the code: the idea, the equation, defaults beside those of the paper, what it needs,
how it fails and what it learned here. [What a guess costs](guessing.md) has their losses beside
each other.
"""


def write_all(folder: Path) -> None:
    """Writes the pages.

    Args:
        folder: Where they go; pages of algorithms that are gone are removed.
    """
    pages = {"index": _index(), "guessing": _guessing()}
    write(folder, {**pages, **{name: page(name) for name in SUPERVISORS}})


def write(folder: Path, pages: dict[str, str]) -> None:
    """Writes pages, those alone whose text has changed, and removes all others.

    Args:
        folder: Where they go.
        pages: Text by name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for former in folder.glob("*.md"):
        if former.stem not in pages:
            former.unlink()
    for name, text in pages.items():
        file = folder / f"{name}.md"
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def _index() -> str:
    parts = [LISTED]
    listed = []
    for family, lines in facts.families().items():
        parts.append(f"## {family}\n")
        rows = []
        for line in lines:
            listed.append(line.name)
            rows.append([f"[`{line.name}`]({line.name}.md)", line.paper, line.predicts])
        parts.append(table(["name", "paper", "predicts"], rows))
    parts.append("```{toctree}\n:hidden:\n\n" + "\n".join(listed) + "\n```\n")
    return "\n".join(parts)


def _guessing() -> str:
    """What a guess costs each algorithm, and the columns of its history."""
    rows = []
    for lines in facts.families().values():
        for line in lines:
            kind = SUPERVISORS[line.name]
            columns = ", ".join(f"`{column}`" for column in _meanings(kind))
            chance = _chance(kind) or "nobody knows: it has several players or tasks"
            rows.append([f"[`{line.name}`]({line.name}.md)", chance, columns])
    return (
        "# What a guess costs\n\nThe loss of a network that has learned nothing, and what each "
        "algorithm writes into the history besides: its page says what the columns mean. "
        "[What does my loss mean?](../loss.md)\n\n"
        + table(["algorithm", "a guess costs", "columns"], rows)
    )


def page(name: str) -> str:
    """The page of an algorithm, in Markdown."""
    kind = SUPERVISORS[name]
    note = facts.note(name)
    first, idea, papers = facts.idea(kind)
    _, besides, differences = facts.told(kind)
    family, line = _line(name)
    parts = [
        f"# {_title(kind)}\n",
        f"*{kind.question}*\n" if kind.question else "",
        f"`{name}` \N{MIDDLE DOT} [`{kind.__name__}`](../reference/supervisors.md)"
        f" \N{MIDDLE DOT} [{family}](index.md)\n",
        f"```python\nfrom super_selfish.supervisors import {kind.__name__}\n\n"
        f'supervisor = {kind.__name__}("path/to/images")\n'
        f'supervisor.supervise(epochs=50, batch_size=64, name="store/{name}")\n```\n',
        "## The idea\n",
        f"{first}\n",
        f"{idea}\n",
        _picture(name, kind),
        f"Paper: {papers}\n" if papers else "",
        "## The equation\n",
        f"{note.equation}\n",
        "## What it needs\n",
        "\n".join(
            f"- {sentence}"
            for sentence in (
                f"It predicts {line.predicts}.",
                f"Besides the network it keeps {note.keeps}.",
                f"Where `lr=` is left out, Adam trains at a constant rate of {kind.default_lr:g}.",
                *facts.needs(name),
            )
        )
        + "\n",
        "## Defaults\n",
        _defaults(name),
        "What every algorithm takes besides (`backbone=`, `image_size=`, `normalize=`, ...) stands "
        "in [What goes in](../own-data.md), the settings of a run in "
        "[Training](../training.md).\n",
        "## Differences from the paper\n",
        f"In short: {note.differs}.\n" if note.differs != "\N{EN DASH}" else "",
        f"{differences}\n" if differences else "",
        "## Good to know\n" if besides else "",
        f"{besides}\n" if besides else "",
        _loss(kind),
        "## How it fails\n",
        f"{note.fails}\n",
        _warnings(kind),
        _measured(name),
    ]
    return "\n".join(part for part in parts if part)


def _title(kind: type[Any]) -> str:
    return str(kind.title or kind.__name__)


def _line(name: str) -> tuple[str, facts.Line]:
    for family, lines in facts.families().items():
        for line in lines:
            if line.name == name:
                return family, line
    raise ValueError(f"the README's tables have no line for {name}")


def _picture(name: str, kind: type[Any]) -> str:
    if not (PICTURES / f"{name}.png").exists():
        return ""
    told = f"What {_title(kind)} saw and said of photographs, after a moment of training."
    return f"```{{figure}} ../pictures/{name}.png\n:alt: {told}\n\n{told}\n```\n"


def _defaults(name: str) -> str:
    rows = [[f"`{d.name}`", d.default, d.paper, d.said] for d in facts.defaults(name)]
    return table(["argument", "default", "in the paper", "is"], rows)


def _meanings(kind: type[Any]) -> Mapping[str, str]:
    """Columns of the history; of several tasks they are a property, which asks each."""
    return kind.meanings if isinstance(kind.meanings, Mapping) else {}


def _chance(kind: type[Any]) -> str:
    """What the loss of a network is that guesses, or nothing where nobody knows."""
    if kind.chance_loss is Supervisor.chance_loss:
        return ""
    return " ".join(inspect.cleandoc(kind.chance_loss.__doc__ or "").split())


def _loss(kind: type[Any]) -> str:
    """What the numbers of the history mean."""
    parts = ["## What its numbers mean\n"]
    if chance := _chance(kind):
        parts.append(f"The loss of a network that guesses: {chance[:1].lower() + chance[1:]}\n")
    rows = [[f"`{column}`", meaning] for column, meaning in _meanings(kind).items()]
    if rows:
        parts.append("Columns of the history besides the loss:\n")
        parts.append(table(["column", "means"], rows))
    return "\n".join(parts) if len(parts) > 1 else ""


def _warnings(kind: type[Any]) -> str:
    said = facts.sentences(kind, "_health")
    if not said:
        return ""
    lines = [f"- {_begun(sentence)}." for sentence in said]
    return "What it says itself, as a `HealthWarning` after an epoch:\n\n" + "\n".join(lines) + "\n"


def _begun(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _measured(name: str) -> str:
    tables = facts.measured(name)
    parts = ["## What it learned here\n"]
    if not tables:
        parts.append("Not measured yet.\n")
    for found in tables:
        kept = [place for place, column in enumerate(found.header) if column not in OBVIOUS]
        rows = [found.header, *found.rows]
        header, *own = [[row[place] for place in kept] for row in rows]
        parts.append(table(header, own))
        parts.append(
            "Accuracy in percent, mean and standard deviation over seeds, beside the same network "
            "untrained; conditions and all other algorithms: "
            f"[{found.file}](../../benchmarks/results/{found.file}).\n"
        )
    return "\n".join(parts)


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
