"""Signatures and docstrings as they stand in the files of this package, without importing them.

To import the library is to import torch, which takes seconds; nobody waits so long for a word of
help, or to be told of a misspelt flag. So what the command line knows of a function is read from
its source, and a test holds it against what Python makes of it.
"""

from __future__ import annotations

import ast
import functools
import operator
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = Path(__file__).parents[1]
_ARITHMETIC: dict[type[ast.operator], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


class Code(NamedTuple):
    """A default that is more than a value, such as a function; as it stands in the source."""

    text: str


class Missing:
    """Stands for no default at all."""


class Parameter(NamedTuple):
    """An argument of a function."""

    name: str
    annotation: ast.expr | None
    default: Any  # `Missing`, a value, or `Code`
    is_keyword: bool  # whether it can be given by name alone
    text: str  # what the docstring says of it
    module: str  # where names in the annotation are looked up


class Function(NamedTuple):
    """A function, or the constructor of a class."""

    summary: str
    parameters: dict[str, Parameter]
    further: dict[str, Parameter]  # that it hands on: those of `**options: Unpack[Options]`


class Found(NamedTuple):
    """Where a name is defined."""

    module: str
    node: ast.AST


@functools.cache
def tree(module: str) -> ast.Module:
    """The source of a module of this package.

    Args:
        module: Its full name, such as `"super_selfish.pretraining.pretrain"`.

    Raises:
        FileNotFoundError: If there is none.
    """
    place = PACKAGE.joinpath(*module.split(".")[1:])
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def find(module: str, name: str) -> Found | None:
    """Where a name of a module is defined, through imports within this package.

    Args:
        module: In which the name is used.
        name: Of a function, a class or a value.

    Returns:
        A function, a class, or the expression of a value; `None` if it comes from elsewhere.
    """
    for node in _statements(tree(module).body):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return Found(module, node)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("super_selfish"):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return find(str(node.module), alias.name)
        value = _assigned(node, name)
        if value is not None:
            return Found(module, value)
    return None


def read_function(module: str, name: str) -> Function:
    """What stands of a function in its source.

    Args:
        module: Where it is, or is imported.
        name: Of the function, or of class and method: `"Supervisor.supervise"`.

    Raises:
        LookupError: If there is none.
    """
    outer, _, inner = name.partition(".")
    found = find(module, outer)
    if found is not None and inner:
        found = _method(found, inner)
    if found is None or not isinstance(found.node, ast.FunctionDef):
        raise LookupError(f"{module} has no function {name}")
    said = ast.get_docstring(found.node) or ""
    told = told_of(said)
    parameters = {
        each.arg: Parameter(
            each.arg,
            each.annotation,
            Missing if default is None else value_of(found.module, default),
            is_keyword,
            _in_full(found.module, each.arg, told),
            found.module,
        )
        for each, default, is_keyword in _arguments(found.node)
        if each.arg not in ("self", "cls")
    }
    return Function(said.partition("\n")[0], parameters, _further(found))


def _further(found: Found) -> dict[str, Parameter]:
    """Keywords that a constructor hands to that of `Supervisor`, which says what they are."""
    assert isinstance(found.node, ast.FunctionDef)  # noqa: S101
    rest = found.node.args.kwarg
    if rest is None or rest.annotation is None:
        return {}
    named = ast.unparse(rest.annotation).removeprefix("Unpack[").removesuffix("]")
    options = find(found.module, named)
    if options is None or not isinstance(options.node, ast.ClassDef):
        return {}
    base = read_function("super_selfish.supervisors", "Supervisor.__init__").parameters
    return {
        each.target.id: base[each.target.id]
        for each in options.node.body
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    }


def value_of(module: str, node: ast.AST) -> Any:
    """The value of an expression; `Code` for what cannot be known without running it.

    Args:
        module: In which it stands.
        node: The expression.
    """
    try:
        return _value(module, node)
    except LookupError:
        return Code(ast.unparse(node))


def told_of(docstring: str) -> dict[str, str]:
    """What a docstring says of each argument, each as one line.

    Args:
        docstring: In Google's style, without indentation.
    """
    found: dict[str, list[str]] = {}
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", docstring + "\n", flags=re.M)
    name = ""
    for line in section[1].splitlines() if section else []:
        began = re.match(r" {4}\*{0,2}(\w+): ?(.*)", line)
        if began:
            name, line = began[1], began[2]
            found[name] = []
        if name:
            found[name].append(line.strip())
    return {name: " ".join(" ".join(lines).split()) for name, lines in found.items()}


def _in_full(module: str, name: str, told: dict[str, str]) -> str:
    """What is said of an argument; where that is "As for `pretrain`", what is said of it there."""
    text = told.get(name, "")
    if text.startswith("The same"):
        before = [other for other in told.values() if other.startswith("As for `")]
        text = before[0] if before else text
    reference = re.fullmatch(r"As for `(\w+)`[.;,](.*)", text)
    if reference is None:
        return text
    for place in (module, "super_selfish", "super_selfish.evaluation"):
        found = find(place, reference[1])
        if found is not None and isinstance(found.node, ast.ClassDef):
            found = _method(found, "__init__")
        if found is not None and isinstance(found.node, ast.FunctionDef):
            there = told_of(ast.get_docstring(found.node) or "")
            if name not in there:
                break
            rest = reference[2].strip()
            return f"{_in_full(found.module, name, there)} {rest[:1].upper()}{rest[1:]}".strip()
    return text


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Those of a module, and those that are for types alone."""
    for node in body:
        yield node
        if isinstance(node, ast.If):
            yield from node.body


def _assigned(node: ast.AST, name: str) -> ast.expr | None:
    """What a statement gives a name, if it does."""
    if isinstance(node, ast.AnnAssign):
        is_it = isinstance(node.target, ast.Name) and node.target.id == name
        return node.value if is_it else None
    if not isinstance(node, ast.Assign):
        return None
    for target in node.targets:
        if isinstance(target, ast.Name) and target.id == name:
            return node.value
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            for each, value in zip(target.elts, node.value.elts, strict=True):
                if isinstance(each, ast.Name) and each.id == name:
                    return value
    return None


def _method(found: Found, name: str) -> Found | None:
    """A method of a class, its own or inherited within this package."""
    if not isinstance(found.node, ast.ClassDef):
        return None
    for node in found.node.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return Found(found.module, node)
    for base in found.node.bases:
        parent = find(found.module, base.id) if isinstance(base, ast.Name) else None
        inherited = None if parent is None else _method(parent, name)
        if inherited is not None:
            return inherited
    return None


def _arguments(node: ast.FunctionDef) -> Iterator[tuple[ast.arg, ast.expr | None, bool]]:
    """Arguments, with their defaults, and whether they are given by name alone."""
    placed = [*node.args.posonlyargs, *node.args.args]
    defaults = [None] * (len(placed) - len(node.args.defaults)) + list(node.args.defaults)
    yield from ((*pair, False) for pair in zip(placed, defaults, strict=True))
    named = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    yield from ((*pair, True) for pair in named)


def _value(module: str, node: ast.AST) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Tuple):
        return tuple(value for each in node.elts for value in _entries(module, each))
    if isinstance(node, ast.Dict):
        keys = [None if key is None else _value(module, key) for key in node.keys]
        return dict(zip(keys, (value_of(module, each) for each in node.values), strict=True))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(module, node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        return _ARITHMETIC[type(node.op)](_value(module, node.left), _value(module, node.right))
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "tuple" and len(node.args) == 1:
        return tuple(_value(module, node.args[0]))
    if isinstance(node, ast.Name):
        found = find(module, node.id)
        if found is not None:
            return _value(*found)
    raise LookupError(ast.unparse(node))


def _entries(module: str, node: ast.expr) -> tuple[Any, ...]:
    """What an entry of a tuple adds to it."""
    if isinstance(node, ast.Starred):
        return tuple(_value(module, node.value))
    return (_value(module, node),)
