"""Images that are left out of a run since they cannot be read: each is told once, and counted."""

from __future__ import annotations

import re
from collections.abc import Iterable

from super_selfish.training.distributed import rank
from super_selfish.training.telling import warn

_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")  # of an object in a reason: another one every time


class LeftOut:
    """Those that were met up to now; of each, the name and the reason."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __len__(self) -> int:
        """Number of different images."""
        return len(self._told)

    @property
    def told(self) -> list[str]:
        """What is known of each, without addresses."""
        return sorted(self._told)

    def know(self, others: Iterable[str]) -> None:
        """Counts those that other processes have met as well.

        Args:
            others: What they have `told`.
        """
        self._told.update(others)

    def meet(self, images: Iterable[str]) -> None:
        """Warns of those that are new; of several processes, which all are told, the first does.

        Args:
            images: Names, each with why it cannot be read.
        """
        new = []
        for image in images:
            known = _ADDRESS.sub("", image)
            if known not in self._told:
                self._told.add(known)
                new.append(image)
        if new and rank() == 0:
            warn(f"left out: {'; '.join(new)}")
