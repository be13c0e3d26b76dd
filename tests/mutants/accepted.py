"""Faults that need not be noticed, and why."""

from __future__ import annotations

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


def read_accepted(path: Path = LIST) -> set[Fault]:
    """What the list names.

    A paragraph has a reason (lines that begin with `#`), a file, and pairs of lines; one of
    comments alone is for readers.

    Raises:
        ValueError: If a paragraph says no reason, or no file.
    """
    faults = set()
    for paragraph in path.read_text(encoding="utf-8").strip().split("\n\n"):
        lines = paragraph.splitlines()
        reason = [line for line in lines if line.startswith("#")]
        rest = lines[len(reason) :]
        if not rest and paragraph.startswith("#"):
            continue  # a heading
        if not reason or not rest or not rest[0].startswith("super_selfish/"):
            raise ValueError(f"a reason (#), a file and faults are expected, got {paragraph!r}")
        pairs = zip(rest[1::2], rest[2::2], strict=True)
        faults |= {Fault(rest[0], old[2:], new[2:]) for old, new in pairs}
    return faults
