"""Images that take the place of those that cannot be read, so that no batch is left too small.

Which they are depends on the batch and the images alone, so a run that is repeated or resumed sees
the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch.utils.data import Dataset

from super_selfish.data.left_out import LeftOut
from super_selfish.data.samples import Batch, Unreadable


class Readable(Protocol):
    """Gives items, and `Unreadable` for those that cannot be read."""

    def __len__(self) -> int:
        """Number of items."""

    def __getitem__(self, index: int, /) -> Any:
        """One item."""


class FilledBatches(Dataset[Any]):
    """Items of a source of which unreadable ones are skipped, in batches that networks can take.

    Batch norm cannot train on one image. So a batch that is left with less than two is filled up to
    two; and where several processes train together, all of them up to the size that was asked for,
    since what they gather must be of one size. The next image of the dataset that can be read, and
    that is not in the batch, takes the place.

    Attributes:
        decodes_files: As of the source.
    """

    def __init__(self, items: Readable, *, to_full_size: bool = False) -> None:
        """Takes the source, and whether every batch shall have the size that was asked for."""
        self.items = items
        self.to_full_size = to_full_size
        self.decodes_files = bool(getattr(items, "decodes_files", False))

    def __len__(self) -> int:
        """Number of items."""
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        """One item, whether it can be read or not."""
        return self.items[index]

    def __getitems__(self, indices: list[int]) -> Batch | list[Any]:
        """A batch, with `Unreadable` for each that could not be read, and others in their place.

        If too few images of the whole dataset can be read, it stays too small.
        """
        get_several = getattr(self.items, "__getitems__", None)
        given: Batch | list[Any]
        given = [self.items[i] for i in indices] if get_several is None else get_several(indices)
        missing = [place for place, item in enumerate(given) if isinstance(item, Unreadable)]
        wanted = len(indices) if self.to_full_size else min(2, len(indices))
        lacking = wanted - (len(given) - len(missing))
        if lacking <= 0:
            return given
        found = self._others(indices, missing, lacking)
        if self.to_full_size and len(found) < lacking:  # more processes than images, nearly
            good = [item for item in (*given, *found) if not isinstance(item, Unreadable)]
            found += [good[i % len(good)] for i in range(lacking - len(found))] if good else []
        return [*given, *found]

    def _others(self, indices: list[int], missing: list[int], number: int) -> list[Any]:
        """Readable items that are not in the batch, those after the missing ones first."""
        total, tried = len(self.items), set(indices)
        found: list[Any] = []
        for step in range(1, total):
            for place in missing:
                index = (indices[place] + step) % total
                if index in tried:
                    continue
                tried.add(index)
                item = self.items[index]
                if not isinstance(item, Unreadable):
                    found.append(item)
                if len(found) == number or len(tried) == total:
                    return found
        return found


class ReadableItems:
    """A plain `collate_fn`, which is given the items that could be read."""

    def __init__(self, collate_fn: Callable[[list[Any]], Any]) -> None:
        """Takes the function of the user."""
        self.collate_fn = collate_fn
        self.left_out = LeftOut()  # known to this process only

    def __call__(self, items: Sequence[Any]) -> Any:
        """Leaves out the others, with a warning of each that is new.

        Raises:
            ValueError: None can be read.
        """
        good = [item for item in items if not isinstance(item, Unreadable)]
        left_out = [item for item in items if isinstance(item, Unreadable)]
        said = [f"{item.name}: {item.reason}" for item in left_out]
        if not good:
            raise ValueError(f"no item of the dataset can be read: {'; '.join(said)}")
        self.left_out.meet(said)
        return self.collate_fn(good)
