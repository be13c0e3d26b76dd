"""Faults that need not be noticed, and why."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from tests.mutants.changes import Change, changed

LIST = Path(__file__).with_name("accepted.txt")


class Fault(NamedTuple):
    """A fault by what can be read of it: it stays the same where lines above it come and go."""

    file: str
    before: str  # the changed lines, without what indents them
    after: str

    @classmethod
    def of(cls, file: str, source: str, change: Change) -> Fault:
        """The fault that a change of a file's source is."""
        before, after = source.splitlines(), changed(source, change).splitlines()
        first = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), 0)
        last = 0
        while before[-1 - last] == after[-1 - last]:
            last += 1
        lines = [text[first : len(text) - last] for text in (before, after)]
        return cls(file, *(" ".join(line.strip() for line in of) for of in lines))

    def shown(self) -> str:
        """Two lines, as `accepted.txt` holds them."""
        return f"- {self.before}\n+ {self.after}"


class Accepted(NamedTuple):
    """What need not be noticed: single faults, and kinds of faults in files of one sort."""

    faults: set[Fault]
    lines: set[tuple[str, str]]  # a file, and a line of which every fault is among them
    rules: list[tuple[str, str]]  # a pattern of files, and a kind

    def has(self, fault: Fault, kind: str) -> bool:
        """Whether a fault of a kind is among them."""
        if fault in self.faults or (fault.file, fault.before) in self.lines:
            return True
        return any(fnmatch(fault.file, pattern) and kind == of for pattern, of in self.rules)


def read_accepted(path: Path = LIST) -> Accepted:
    """What the list names.

    A paragraph has a reason (lines that begin with `#`), a file, and pairs of lines, of which the
    second is missing where every fault of the first is meant; or a reason, and patterns of files
    with kinds after a colon. One of comments alone is for readers.

    Raises:
        ValueError: If a paragraph says no reason, or no file.
    """
    accepted = Accepted(set(), set(), [])
    for paragraph in path.read_text(encoding="utf-8").strip().split("\n\n"):
        lines = paragraph.splitlines()
        reason = [line for line in lines if line.startswith("#")]
        rest = lines[len(reason) :]
        if not rest and reason:
            continue
        if not reason or not rest[0].startswith("super_selfish/"):
            raise ValueError(f"a reason (#), a file and faults are expected, got {paragraph!r}")
        if ".py:" in rest[0]:
            for line in rest:
                pattern, _, kinds = line.partition(":")
                accepted.rules.extend((pattern, kind.strip()) for kind in kinds.split(","))
            continue
        for line, following in zip(rest[1:], [*rest[2:], ""], strict=True):
            if line.startswith("- ") and following.startswith("+ "):
                accepted.faults.add(Fault(rest[0], line[2:], following[2:]))
            elif line.startswith("- "):
                accepted.lines.add((rest[0], line[2:]))
    return accepted
