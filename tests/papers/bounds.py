"""Numbers that are taken at the edge of their range, and those just beyond it that are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

TINY = 1e-9
Edges = tuple[list[Any], list[Any]]
COUNT: Edges = ([1], [0, -1])
SHARE: Edges = ([0.0, 1.0], [-TINY, 1 + TINY])
INNER_SHARE: Edges = ([TINY, 1 - TINY], [0.0, 1.0])


class Part(NamedTuple):
    """What is called, with what else, and for arguments the values taken and those refused."""

    call: Callable[..., Any]
    others: dict[str, Any]
    edges: dict[str, Edges]

    def check(self, argument: str) -> None:
        """Calls it with all values of an argument."""
        taken, refused = self.edges[argument]
        for value in taken:
            self.call(**{**self.others, argument: value})
        for value in refused:
            with pytest.raises(ValueError):
                self.call(**{**self.others, argument: value})


def arguments_of(parts: dict[str, Part]) -> list[tuple[str, str]]:
    """The name of each part with each of its arguments."""
    return [(name, argument) for name, part in parts.items() for argument in part.edges]
