"""Very many paths in little memory: their text in one piece, with the place of each in it.

A list of strings takes three times as much, and memory of its own in every process that reads
images: to look at a Python object is to write its count of references, so that the page in which
it lies is copied. Tensors are shared, with processes that are forked as with those that are not.
"""

from __future__ import annotations

import operator
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import torch
from torch import Tensor

_ENCODING = ("utf-8", "surrogatepass")  # every string of Python there and back
_AT_ONCE = 4096  # places that are looked up together


class Paths(Sequence[str]):
    """A sequence of strings that cannot be changed."""

    def __init__(self, prefix: str, text: Tensor, starts: Tensor, ends: Tensor) -> None:
        """Takes what `PathsBuilder` has put together.

        Args:
            prefix: With what all of them begin, which is not part of `text`.
            text: `[bytes]` uint8.
            starts: `[N]` int64, where each begins in `text`.
            ends: `[N]` int64.
        """
        # No array of NumPy is kept: it would not notice when torch moves the tensors into memory
        # that processes share.
        self._prefix = prefix
        self._text = text
        self._starts = starts
        self._ends = ends

    @classmethod
    def of(cls, paths: Iterable[str]) -> Paths:
        """Takes paths one by one."""
        builder = PathsBuilder()
        builder.add("", paths)
        return builder.built()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        """One path, or a list of some."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return self._between(start, stop)
            return [self[place] for place in range(start, stop, step)]
        place = operator.index(index)
        if not -len(self) <= place < len(self):
            raise IndexError(f"index {place} is out of range for {len(self):,} paths")
        piece = self._text[int(self._starts[place]) : int(self._ends[place])]
        return self._prefix + str(piece.numpy().data, *_ENCODING)

    def __iter__(self) -> Iterator[str]:
        """One after the other, which is faster than by their numbers."""
        for first in range(0, len(self), _AT_ONCE):
            yield from self._between(first, first + _AT_ONCE)

    def _between(self, first: int, last: int) -> list[str]:
        text, prefix = self._text.numpy().data, self._prefix
        starts, ends = self._starts[first:last].tolist(), self._ends[first:last].tolist()
        return [
            prefix + str(text[start:end], *_ENCODING)
            for start, end in zip(starts, ends, strict=True)
        ]

    def __eq__(self, other: object) -> bool:
        """Whether the other is a sequence of the same paths, such as a list."""
        if not isinstance(other, Paths | list | tuple):
            return NotImplemented
        return len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """How many, and the first ones."""
        more = ", ..." if len(self) > 3 else ""
        return f"<{len(self):,} paths: {', '.join(map(repr, self[:3]))}{more}>"

    @property
    def nbytes(self) -> int:
        """Memory that they take, in bytes."""
        return self._text.nbytes + self._starts.nbytes + self._ends.nbytes

    def state(self) -> dict[str, str | Tensor]:
        """What `from_state` makes the same of."""
        parts = {"text": self._text, "starts": self._starts, "ends": self._ends}
        return {"prefix": self._prefix, **parts}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Paths:
        """The paths that `state` was asked of."""
        return cls(state["prefix"], state["text"], state["starts"], state["ends"])

    def repeated(self, counts: Sequence[int]) -> Paths:
        """Each of them several times, one after the other; the text stands once.

        Args:
            counts: How often each.
        """
        times = torch.tensor(counts, dtype=torch.int64)
        starts, ends = (each.repeat_interleave(times) for each in (self._starts, self._ends))
        return Paths(self._prefix, self._text, starts, ends)


class PathsBuilder:
    """Puts paths together, some at a time."""

    def __init__(self, prefix: str = "") -> None:
        """Begins without any.

        Args:
            prefix: With what all of them begin.
        """
        self._prefix = prefix
        self._text = bytearray()
        self._ends = array("q", [0])

    def add(self, folder: str, names: Iterable[str]) -> None:
        """Adds some of one folder.

        Args:
            folder: What stands before each of the names, with its last separator.
            names: The rest of each path.
        """
        text, ends = self._text, self._ends
        before = folder.encode(*_ENCODING)
        for name in names:
            text += before
            text += name.encode(*_ENCODING)
            ends.append(len(text))

    def built(self) -> Paths:
        """All of them; nothing may be added afterwards."""
        # `torch.frombuffer` takes no buffer that is empty.
        text = torch.frombuffer(self._text or bytearray(1), dtype=torch.uint8)
        places = torch.frombuffer(self._ends, dtype=torch.int64)
        return Paths(self._prefix, text, places[:-1], places[1:])


def common_folder(paths: Paths) -> int:
    """The number of letters with which all begin, up to a separator, which is not counted."""
    common = paths[0]
    for path in paths:
        if not path.startswith(common):
            common = os.path.commonprefix([common, path])  # noqa: RUF071
    return len(os.path.dirname(common))
