"""Small faults that are put into a source on purpose, one at a time.

A change is a piece of text at a place, so that all else stays as it is, comments too.
"""

from __future__ import annotations

import ast
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

KINDS = ("number", "comparison", "arithmetic", "condition", "statement")

_COMPARISONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
_OPERATORS: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
    ast.MatMult: ("@", "*"),
}
# Which line of a user's a warning names is for eyes.
_UNTESTED_KEYWORDS = ("stacklevel",)


class Change(NamedTuple):
    """One fault."""

    kind: str
    line: int  # from 1, where it begins
    begin: int  # offset in the source, in bytes
    end: int
    text: str  # what stands there instead
    lines: tuple[int, int]  # first and last of the innermost statement in a function
    at_import: bool  # whether it acts when the module is imported, and so before any test


def changes(source: str) -> list[Change]:
    """All faults that can be put into a source, in its order."""
    return sorted(_Finder(source).found(), key=lambda change: change.begin)


def changed(source: str, change: Change) -> str:
    """The source with one fault in it."""
    data = source.encode()
    return (data[: change.begin] + change.text.encode() + data[change.end :]).decode()


class _Finder:
    def __init__(self, source: str) -> None:
        self.data = source.encode()
        self.tree = ast.parse(source)
        self.starts = [0]
        for line in self.data.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def found(self) -> Iterator[Change]:
        yield from self._walk(self.tree, (1, 1), True)

    def _walk(self, node: ast.AST, lines: tuple[int, int], at_import: bool) -> Iterator[Change]:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return  # for type checkers alone; nothing of it runs
        if isinstance(node, ast.stmt) and not isinstance(
            node, ast.FunctionDef | ast.ClassDef | ast.With | ast.For | ast.While | ast.If | ast.Try
        ):
            lines = (node.lineno, node.end_lineno or node.lineno)
        elif isinstance(node, ast.expr) and isinstance(getattr(node, "lineno", None), int):
            if not lines[0] <= node.lineno <= lines[1]:  # a test of an `if`, a `for` or a `with`
                lines = (node.lineno, node.end_lineno or node.lineno)
        for begin, end, text, kind in self._here(node):
            line = self.data[:begin].count(b"\n") + 1
            at = lines
            if isinstance(node, ast.If | ast.While):  # it is reached where its test is
                at = (node.test.lineno, node.test.end_lineno or node.test.lineno)
            yield Change(kind, line, begin, end, text, at, at_import)
        if isinstance(node, ast.JoinedStr):  # words, of which Python before 3.12 knows no place
            return
        for name, value in ast.iter_fields(node):
            inside = at_import
            if isinstance(node, ast.FunctionDef | ast.Lambda) and name == "body":
                inside = False
            if name in ("annotation", "returns") or (
                isinstance(node, ast.keyword) and node.arg in _UNTESTED_KEYWORDS
            ):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from self._walk(child, lines, inside)

    def _here(self, node: ast.AST) -> Iterator[tuple[int, int, str, str]]:
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            yield *self._span(node), self._number(node), "number"
        elif isinstance(node, ast.Compare) and len(node.ops) == 1:
            old, new = _COMPARISONS[type(node.ops[0])]
            yield *self._between(node.left, node.comparators[0], old), new, "comparison"
        elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            if not self._is_text(node):
                old, new = _OPERATORS[type(node.op)]
                yield *self._between(node.left, node.right, old), new, "arithmetic"
        elif isinstance(node, ast.AugAssign) and type(node.op) in _OPERATORS:
            begin, end = self._span(node)
            yield begin, end, "pass", "statement"
        elif isinstance(node, ast.BoolOp):
            old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
            yield *self._between(node.values[0], node.values[1], old), new, "condition"
        if isinstance(node, ast.If | ast.While | ast.IfExp):
            begin, end = self._span(node.test)
            yield begin, end, f"(not ({self.data[begin:end].decode()}))", "condition"
        if isinstance(node, ast.Raise) or (
            isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant | ast.Yield)
        ):
            yield *self._span(node), "pass", "statement"
        if isinstance(node, ast.Assign) and isinstance(
            node.targets[0], ast.Attribute | ast.Subscript
        ):
            yield *self._span(node), "pass", "statement"

    def _number(self, node: ast.Constant) -> str:
        """A number that is another one clearly: a fifth less or a quarter more, or the next."""
        begin, end = self.starts[node.lineno - 1], self.starts[node.lineno]
        # By the line, so that a fault stays the same where lines above it come and go.
        is_more = zlib.crc32(self.data[begin:end].strip()) % 2 == 0
        value: Any = node.value
        if isinstance(value, int) and abs(value) < 10:
            return str(value + (1 if is_more or value < 1 else -1))
        other = value * 1.25 if is_more else value * 0.8
        return str(round(other)) if isinstance(value, int) else repr(other or 0.25)

    def _is_text(self, node: ast.BinOp) -> bool:
        sides = (node.left, node.right)
        return any(
            isinstance(side, ast.JoinedStr)
            or (isinstance(side, ast.Constant) and isinstance(side.value, str))
            for side in sides
        )

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        end_line, end = node.end_lineno or node.lineno, node.end_col_offset or 0
        return self.starts[node.lineno - 1] + node.col_offset, self.starts[end_line - 1] + end

    def _between(self, left: ast.expr, right: ast.expr, symbol: str) -> tuple[int, int]:
        begin, end = self._span(left)[1], self._span(right)[0]
        place = begin + self.data[begin:end].index(symbol.encode())
        return place, place + len(symbol)
