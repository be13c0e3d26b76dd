"""Data sets that are not asked by numbers, with a sampler that knows by what they are.

TorchGeo's data sets of the globe give the patch at a place and a time, and its samplers give
places and times.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch.utils.data import Dataset


class SampledItems(Dataset[Any]):
    """The items of a data set for the keys that a sampler gives, numbered from 0.

    Attributes:
        dataset: The data set.
        keys: Of its items, in order.
    """

    def __init__(self, dataset: Any, sampler: Iterable[Any]) -> None:
        """Asks the sampler once: a random one gives the same items in every epoch.

        Args:
            dataset: Gives `dataset[key]`.
            sampler: Gives keys, and comes to an end.
        """
        self.dataset = dataset
        self.keys = list(sampler)

    def __len__(self) -> int:
        """Number of keys."""
        return len(self.keys)

    def __getitem__(self, index: int) -> Any:
        """One item."""
        return self.dataset[self.keys[index]]
