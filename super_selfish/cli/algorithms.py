"""The algorithms as they stand in the source: names, papers, and their keywords as flags."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from super_selfish.cli.flags import Flag, flags_of
from super_selfish.cli.reading import find, read_function, tree, value_of

SUPERVISORS = "super_selfish.supervisors"
# Keywords of `supervise()` that `pretrain` and `choose` decide themselves.
DECIDED = ("super_selfish.pretraining.asking", "OF_THE_CALL")
SUPERVISE = "supervise"  # the group of the keywords of `supervise()`


class Algorithm(NamedTuple):
    """An algorithm.

    Attributes:
        name: Short one.
        kind: Name of its class.
        module: Where the class is.
        idea: The first sentence of its file.
        papers: What its file cites.
    """

    name: str
    kind: str
    module: str
    idea: str
    papers: str


@functools.cache
def _table() -> dict[str, str]:
    """Names of the classes by short name, from `SUPERVISORS`."""
    found = find(SUPERVISORS, "SUPERVISORS")
    assert found is not None and isinstance(found.node, ast.Dict)  # noqa: S101
    return {
        str(value_of(SUPERVISORS, key)): value.id
        for key, value in zip(found.node.keys, found.node.values, strict=True)
        if key is not None and isinstance(value, ast.Name)
    }


ALGORITHMS = tuple(sorted(_table()))


@functools.cache
def read_algorithm(name: str) -> Algorithm:
    """What the file of an algorithm says of it.

    Args:
        name: Short one, from `ALGORITHMS`.
    """
    kind = _table()[name]
    found = find(SUPERVISORS, kind)
    assert found is not None  # noqa: S101
    said = ast.get_docstring(tree(found.module)) or ""
    paragraphs = [" ".join(part.split()) for part in said.split("\n\n")]
    papers = [part for part in paragraphs[1:] if re.search(r"\b(19|20)\d\d\b", part)]
    return Algorithm(name, kind, found.module, paragraphs[0], " ".join(papers))


def algorithm_flags(name: str) -> list[Flag]:
    """The keywords of an algorithm: `--moco.temperature`.

    Args:
        name: Short one.
    """
    constructor = read_function(SUPERVISORS, f"{_table()[name]}.__init__")
    said = value_of("super_selfish.pretraining.asking", _expression("OF_IMAGES"))
    return [
        flag for flag in flags_of(constructor, name) if flag.name.rpartition(".")[2] not in said
    ]


def supervise_flags(decided: tuple[str, str]) -> list[Flag]:
    """The keywords of `supervise()`: `--supervise.lr`.

    Args:
        decided: Module and name of a collection of those that the call decides itself.
    """
    found = find(*decided)
    assert found is not None  # noqa: S101
    taken = set(value_of(*found))
    flags = flags_of(read_function(SUPERVISORS, "Supervisor.supervise"), SUPERVISE)
    return [flag for flag in flags if flag.name.rpartition(".")[2] not in taken]


def groups_in(words: Sequence[str]) -> list[str]:
    """Algorithms that are named in a command line, or in the file that it names.

    Args:
        words: Of a user.
    """
    said = [re.split(r"[=.]", word.lstrip("-")) for word in words]
    text = " ".join(part for parts in said for part in parts)
    for path in _files(words):
        try:
            with open(path, encoding="utf-8") as file:
                text += " " + file.read()
        except (OSError, UnicodeDecodeError):  # which the parser tells in words
            continue
    named = set(re.findall(r"\w+", text))
    return [name for name in ALGORITHMS if name in named]


def _files(words: Sequence[str]) -> list[str]:
    found = [value for word, value in pairwise(words) if word == "--config"]
    return found + [word.partition("=")[2] for word in words if word.startswith("--config=")]


def _expression(name: str) -> ast.AST:
    found = find("super_selfish.pretraining.asking", name)
    assert found is not None  # noqa: S101
    return found.node
