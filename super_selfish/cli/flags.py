"""Flags of a command: the arguments of a function that a word on a command line can hold.

An annotation names all that a function takes. What is left of it here are numbers, words, and
sequences of these; networks, tensors and functions fall away, and so does an argument of which
nothing is left.
"""

from __future__ import annotations

import ast
import types
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from super_selfish.cli.reading import Code, Function, Missing, find, value_of

_PLAIN: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
_IN_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
_LETTERS = {str: "TEXT", int: "N", float: "X", bool: "true|false"}


class Flag(NamedTuple):
    """A flag."""

    name: str  # as in Python, with a group before it: "batch_size", "moco.temperature"
    type: Any
    default: Any  # of the Python function; `Missing` if it must be given
    text: str
    is_placed: bool = False  # whether it is given by its place, without its name

    @property
    def typed(self) -> str:
        """What a user types."""
        return self.name.upper() if self.is_placed else "--" + self.name.replace("_", "-")

    @property
    def is_switch(self) -> bool:
        """Whether its name alone says enough."""
        return kinds_of(self.type) == [bool]

    @property
    def takes_several(self) -> bool:
        """Whether several words may follow."""
        return any(get_origin(kind) in (list, tuple) for kind in kinds_of(self.type))

    @property
    def takes_names(self) -> bool:
        """Whether words such as `name=value` may follow."""
        return any(get_origin(kind) is dict for kind in kinds_of(self.type))

    @property
    def takes_numbers(self) -> bool:
        """Whether these are all numbers."""
        kinds = [kind for kind in kinds_of(self.type) if get_origin(kind) in (list, tuple)]
        return bool(kinds) and all(_leaves(kind) <= {int, float} for kind in kinds)

    @property
    def takes_one(self) -> bool:
        """Whether one word is a value of its own, and no sequence of one."""
        return any(get_origin(kind) not in (list, tuple, dict) for kind in kinds_of(self.type))


def flags_of(function: Function, group: str = "") -> list[Flag]:
    """The flags for a function.

    Args:
        function: As it was read.
        group: Put before each name.
    """
    found = []
    for parameter in (function.parameters | function.further).values():
        kind = type_of(parameter.module, parameter.annotation)
        if kind is not None:
            is_placed = not parameter.is_keyword and not group
            name = f"{group}.{parameter.name}" if group else parameter.name
            text = parameter.text.replace("`", "")
            found.append(Flag(name, kind, parameter.default, text, is_placed))
    return found


def kinds_of(kind: Any) -> list[Any]:
    """The types of which a value may be one, without `None`."""
    parts = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return [part for part in parts if part is not types.NoneType]


def _leaves(kind: Any) -> set[Any]:
    """The types of single values in sequences, however deep."""
    inner = [part for each in get_args(kind) for part in kinds_of(each)]
    return set().union(*(_leaves(each) if get_args(each) else {each} for each in inner))


def type_of(module: str, annotation: ast.AST | None) -> Any:
    """What is left of an annotation, as a type; `None` if nothing is.

    Args:
        module: In which it stands.
        annotation: The expression.
    """
    kinds = list(dict.fromkeys(_kinds(module, annotation)))
    if all(kind is types.NoneType for kind in kinds):
        return None
    return Union[tuple(kinds)]  # noqa: UP007  # made of what was found


def in_words(kind: Any) -> str:
    """What a flag takes, for who has given something else."""
    told = []
    for part in kinds_of(kind):
        if get_origin(part) is Literal:
            told += [repr(value) for value in get_args(part)]
        elif get_origin(part) in (list, tuple):
            inner = [each for each in get_args(part) if each is not Ellipsis]
            number = f"{len(inner)} times " if get_origin(part) is tuple else "several times "
            told.append(number + in_words(kinds_of(inner[0])[0]))
        elif get_origin(part) is dict:
            told.append("NAME=VALUE")
        else:
            told.append(_IN_WORDS[part])
    return " or ".join(told)


def letters(kind: Any) -> str:
    """What stands for a value in a line of help: `N [N]` for a side, or height and width."""
    parts = kinds_of(kind)
    lists = [letters(get_args(part)[0]) for part in parts if get_origin(part) is list]
    if lists:
        return f"{lists[0]} ..."
    told = []
    for part in parts:
        if get_origin(part) is Literal:
            told += [str(value) for value in get_args(part)]
        elif get_origin(part) is tuple:
            each = [letters(kinds_of(inner)[0]) for inner in get_args(part)]
            is_one = each[0] in told
            told = [word for word in told if word != each[0]]
            told.append(f"{each[0]} [{' '.join(each[1:])}]" if is_one else " ".join(each))
        elif get_origin(part) is dict:
            told.append("NAME=VALUE ...")
        else:
            told.append(_LETTERS[part])
    return "|".join(dict.fromkeys(told))


def default_in_words(flag: Flag) -> str:
    """What holds where a flag is left out; empty where its text has to say so, or nothing holds."""
    default = flag.default
    if default is None or default is False or default is Missing or default == ():
        return ""
    if isinstance(default, Code):
        return default.text
    if isinstance(default, tuple):
        return " ".join(map(str, default))
    return f"{default:g}" if isinstance(default, float) else str(default).lower()


def _kinds(module: str, node: ast.AST | None) -> list[Any]:
    """The types that an annotation allows, as far as words can hold them."""
    if isinstance(node, ast.Constant):
        return [types.NoneType] if node.value is None else []
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_kinds(module, node.left), *_kinds(module, node.right)]
    if isinstance(node, ast.Name):
        if node.id in _PLAIN:
            return [_PLAIN[node.id]]
        found = find(module, node.id)
        if found is None or isinstance(found.node, ast.ClassDef | ast.FunctionDef):
            return []
        return _kinds(*found)
    return _kinds_in_brackets(module, node) if isinstance(node, ast.Subscript) else []


def _kinds_in_brackets(module: str, node: ast.Subscript) -> list[Any]:
    """Of `Sequence[...]` and the like."""
    name = ast.unparse(node.value).rpartition(".")[2]
    inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if name == "PathLike":
        return [str]
    if name == "Literal":
        return [Literal[tuple(value_of(module, each) for each in inner)]]
    is_open = isinstance(inner[-1], ast.Constant) and inner[-1].value is Ellipsis
    if name in ("Sequence", "list") or (name == "tuple" and is_open):
        of = type_of(module, inner[0])
        return [] if of is None else [types.GenericAlias(list, (of,))]
    if name == "tuple":
        parts = [type_of(module, each) for each in inner]
        return [] if None in parts else [types.GenericAlias(tuple, tuple(parts))]
    if name in ("Mapping", "dict"):
        holds_any = isinstance(inner[1], ast.Name) and inner[1].id == "Any"
        of = Any if holds_any else type_of(module, inner[1])
        return [] if of is None else [types.GenericAlias(dict, (str, of))]
    return []
