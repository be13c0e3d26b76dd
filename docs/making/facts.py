"""What the code itself says of an algorithm, in pieces that a page can show.

Nothing is written twice: docstrings, signatures, the sentences of health checks, the numbers of the
papers (`tests/papers/numbers.py`), the README's tables and the measured tables are read.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

from super_selfish.evaluation.checking.findings import APART, COLOURS, PLACES
from super_selfish.supervisors import SUPERVISORS, Supervisor
from tests.papers.numbers import AS_PAPER, PLUMBING, RESOLVED, SIGNATURES, Number

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
NOTES = ROOT / "docs" / "notes"
DIFFERENCES = "Differences from the paper: "
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


class Line(NamedTuple):
    """The line of an algorithm in the README."""

    name: str
    kind: str  # its class
    paper: str  # with its address
    predicts: str


@functools.cache
def families() -> dict[str, list[Line]]:
    """The tables of the README: lines by the heading above them."""
    found: dict[str, list[Line]] = {}
    family = ""
    for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"\*\*(.+)\*\*", line):
            family = heading.group(1)
        elif row := re.match(r"\| `(\w+)` \| `(\w+)` \| (.+?) \| (.+?) \|", line):
            if row.group(1) in SUPERVISORS:
                found.setdefault(family, []).append(Line(*row.groups()))
    return found


class Note(NamedTuple):
    """What people have written of an algorithm, in `docs/notes`."""

    keeps: str  # besides the network
    differs: str  # from the paper, in short
    equation: str  # Markdown
    fails: str  # Markdown


def note(name: str) -> Note:
    """Reads the note of an algorithm.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If a part is missing.
    """
    text = (NOTES / f"{name}.md").read_text(encoding="utf-8")
    found = re.fullmatch(
        r"---\nkeeps: (.+)\ndiffers: (.+)\n---\n\n## The equation\n\n(.+)\n## How it fails\n\n(.+)",
        text,
        flags=re.DOTALL,
    )
    if found is None:
        raise ValueError(
            f"docs/notes/{name}.md must have lines keeps: and differs: between two ---, and the "
            "headings '## The equation' and '## How it fails'"
        )
    return Note(*(part.strip() for part in found.groups()))


def idea(kind: type[Any]) -> tuple[str, str, str]:
    """The docstring of an algorithm's file: its first line, the idea, the papers."""
    module = inspect.getmodule(kind)
    assert module is not None
    first, *paragraphs = inspect.cleandoc(module.__doc__ or "").split("\n\n")
    cited = [p for p in paragraphs if re.search(r"\b(19|20)\d\d\b", p) and "Shapes:" not in p]
    told = [p for p in paragraphs if p not in cited and not p.startswith("Shapes:")]
    papers = " ".join(" ".join(cited).split())
    papers = re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", papers)
    return first, "\n\n".join(told), papers


def told(kind: type[Any]) -> tuple[str, str, str]:
    """The docstring of an algorithm's class: first line, other paragraphs, differences."""
    first, *paragraphs = inspect.cleandoc(kind.__doc__ or "").split("\n\n")
    differing = [p.removeprefix(DIFFERENCES) for p in paragraphs if p.startswith(DIFFERENCES)]
    others = [p for p in paragraphs if not p.startswith(DIFFERENCES)]
    differences = "\n\n".join(p[:1].upper() + p[1:] for p in differing)
    return first, "\n\n".join(others), differences


def arguments_said(function: Any) -> dict[str, str]:
    """What a docstring says of each argument."""
    section = re.search(
        r"^Args:\n(.*?)(?=^\S|\Z)",
        inspect.cleandoc(function.__doc__ or ""),
        re.DOTALL | re.MULTILINE,
    )
    if section is None:
        return {}
    entries = re.split(r"^(\*{0,2}\w+): ", textwrap.dedent(section.group(1)), flags=re.MULTILINE)
    return {
        name: " ".join(said.split())
        for name, said in zip(entries[1::2], entries[2::2], strict=True)
    }


def raises(function: Any) -> str:
    """What a docstring says is refused."""
    text = inspect.cleandoc(function.__doc__ or "")
    _, _, said = text.partition("Raises:\n")
    entry = re.match(r" +\w+: (.*?)(?=\n +\w+Error: |\n\n|\Z)", said, flags=re.DOTALL)
    return "" if entry is None else " ".join(entry.group(1).split())


class Default(NamedTuple):
    """An argument of an algorithm, and where its default comes from."""

    name: str
    default: str
    paper: str
    said: str


def defaults(name: str) -> list[Default]:
    """The arguments that are an algorithm's own."""
    constructor = SUPERVISORS[name].__init__
    said = arguments_said(constructor)
    found = []
    for parameter in inspect.signature(constructor).parameters.values():
        if parameter.name in PLUMBING or parameter.name not in SIGNATURES[name]:
            continue
        number = SIGNATURES[name][parameter.name]
        value = "left out" if parameter.default is None else f"`{parameter.default!r}`"
        found.append(
            Default(parameter.name, value, _in_the_paper(number), said.get(parameter.name, ""))
        )
    return found


def _in_the_paper(number: Number) -> str:
    """What a paper has, where that is read, and why we depart from it."""
    # The first part is the section of the project's own reference of methods.
    source = re.sub(r"^\d+(\.\d+)*( [AR][\w-]*)*[;:]?\s*", "", number.source)
    value = _short(number.paper)
    if number.paper is None:
        text = "\N{EN DASH}"
    elif source:
        text = f"{value} ({source})"
    else:
        text = value
    if number.ours is not AS_PAPER and number.why not in ("", RESOLVED):
        text += f"; ours: {number.why}"
    return text


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple):
        return f"({', '.join(_short(each) for each in value)})"
    return str(value)


def sentences(kind: type[Any], method: str) -> list[str]:
    """The sentences that a method of an algorithm may return, with gaps for numbers.

    Follows functions of this package that the method returns the words of.
    """
    function = getattr(kind, method)
    if function is getattr(Supervisor, method):
        return []
    said = _sentences_of(function, {"self.against_collapse": kind.against_collapse}, set())
    return [words for words in dict.fromkeys(said) if re.search(r"\w+ \w+", words)]


def _sentences_of(function: Any, known: dict[str, Any], seen: set[Any]) -> list[str]:
    """What a function may return, where it returns words.

    Args:
        function: One of this package.
        known: What stands in its sentences, by the code that stands for it.
        seen: Functions that were looked at, which this one joins.
    """
    function = inspect.unwrap(function)
    if function in seen:
        return []
    seen.add(function)
    numbers = {k: v for k, v in function.__globals__.items() if isinstance(v, int | float)}
    known = {**numbers, **known}
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    returned: list[ast.expr] = []
    named: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            named.setdefault(node.targets[0].id, []).append(node.value)
        elif isinstance(node, ast.Return) and node.value is not None:
            returned.append(node.value)
    found: list[str] = []
    for part in [part for value in returned for part in _parts(value, named)]:
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Name):
            other = function.__globals__.get(part.func.id)
            if inspect.isfunction(other) and other.__module__.startswith("super_selfish"):
                found += _sentences_of(other, _given(part, other, known), seen)
        else:
            found += [words] if (words := _words(part, known)) is not None else []
    return found


def _parts(value: ast.expr, named: dict[str, list[ast.expr]]) -> list[ast.expr]:
    """What an expression may be: either side of `or`, of an `if`, what a name stands for."""
    if isinstance(value, ast.BoolOp):
        return [part for each in value.values for part in _parts(each, named)]
    if isinstance(value, ast.IfExp):
        return [*_parts(value.body, named), *_parts(value.orelse, named)]
    if isinstance(value, ast.Name) and value.id in named:
        others = {k: v for k, v in named.items() if k != value.id}
        return [part for each in named[value.id] for part in _parts(each, others)]
    return [value]


def _given(call: ast.Call, function: Any, known: dict[str, Any]) -> dict[str, Any]:
    """The words that a call hands on, by the name of the argument."""
    signature = inspect.signature(function)
    defaults = {name: p.default for name, p in signature.parameters.items()}
    given = dict(zip(defaults, call.args, strict=False))
    given.update({keyword.arg: keyword.value for keyword in call.keywords if keyword.arg})
    words = {name: _words(value, known) for name, value in given.items()}
    return {k: v for k, v in {**defaults, **words}.items() if isinstance(v, str)}


def _words(text: ast.expr, known: dict[str, Any]) -> str | None:
    """A sentence, with gaps for what nobody knows before a run; None of what is none."""
    if isinstance(text, ast.Constant):
        return text.value if isinstance(text.value, str) else None
    if not isinstance(text, ast.JoinedStr):
        return known.get(ast.unparse(text))
    pieces = []
    for part in text.values:
        if isinstance(part, ast.FormattedValue):
            pieces.append(str(known.get(ast.unparse(part.value), _ELLIPSIS)))
        elif isinstance(part, ast.Constant):
            pieces.append(str(part.value))
    return "".join(pieces)


def needs(name: str) -> list[str]:
    """What images and runs an algorithm asks for, in sentences."""
    kind = SUPERVISORS[name]
    said = []
    if name in COLOURS:
        said.append(
            "Images with colour: three channels. Grey ones, and images of other channels, are "
            "refused in words."
        )
    if name in PLACES:
        said.append(
            "Images with an upright orientation, or parts that have a place: textures, cells and "
            "views from above may have neither."
        )
    if name in APART:
        said.append(
            "Images that differ: it tells each image from all others, so copies and frames of one "
            "film work against it (`check` finds them)."
        )
    if kind.asks_by_number:
        said.append(
            "Images that keep their number: it remembers each. Streams are refused, unless their "
            "items hold a number that is the same in every pass."
        )
    refused = raises(kind.__init__)
    if refused:
        said.append(f"The constructor refuses, before anything is trained: {_lower(refused)}")
    return said + [
        f"Before the first step it warns: {text}." for text in sentences(kind, "_caution")
    ]


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


class Table(NamedTuple):
    """Rows of a measured table that are about one algorithm."""

    file: str
    header: list[str]
    rows: list[list[str]]


def measured(name: str) -> list[Table]:
    """What was measured of an algorithm beside its untrained twin."""
    found = []
    for file in sorted(RESULTS.glob("*_learning.md")):
        lines = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in file.read_text(encoding="utf-8").splitlines()
            if line.startswith("|")
        ]
        header, _, *rows = lines
        place = header.index("algorithm")
        own = [row for row in rows if row[place] == name]
        if own:
            found.append(Table(file.name, header, own))
    return found
