"""Images that are left out of a run since they cannot be read: each is told once, and counted."""

from __future__ import annotations

import re
from collections.abc import Iterable

from super_selfish.training.telling import warn

_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")  # of an object in a reason: another one every time


class LeftOut:
    """Those that were met up to now; of each, the name and the reason."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __len__(self) -> int:
        """Number of different images."""
        return len(self._told)

    def meet(self, images: Iterable[str]) -> None:
        """Warns of those that are new.

        Args:
            images: Names, each with why it cannot be read.
        """
        new = []
        for image in images:
            known = _ADDRESS.sub("", image)
            if known not in self._told:
                self._told.add(known)
                new.append(image)
        if new:
            warn(f"left out: {'; '.join(new)}")
