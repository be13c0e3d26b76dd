"""Features of frozen networks in files, so that the next evaluation need not compute them again.

The name of a file is a hash of all that its features depend on: structure and weights of backbone
and preprocessing, the labels, and the images. Those in one array are told by their pixels, files by
name, size and time of change, and those of any other data set by sixteen of them: after a change to
such a data set that keeps its length and labels, or to the code of a network, give another folder.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Subset

from super_selfish.data.files import FileList
from super_selfish.data.items import ArrayItems
from super_selfish.data.labels import stored_labels
from super_selfish.evaluation.comparison.fingerprints import describe_data, fingerprint
from super_selfish.evaluation.features import Features, LabelledSource
from super_selfish.training.checkpoint import write_atomically


class FeatureCache:
    """A folder of features, which is made when the first are stored."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Remembers the folder."""
        self.folder = Path(folder)

    def path(self, backbone: nn.Module, data: LabelledSource, preprocess: nn.Module | None) -> Path:
        """The file for a network and a data set, whether it exists or not."""
        parts = [backbone, preprocess, describe_data(data), _identity(data.images.items)]
        return self.folder / f"features-{fingerprint(parts)}.pt"

    def read(self, path: Path) -> Features | None:
        """What is stored, or `None`."""
        if not path.is_file():
            return None
        stored = torch.load(path, map_location="cpu", weights_only=True)
        return Features(stored["features"], stored["labels"])

    def write(self, path: Path, features: Features) -> None:
        """Stores features, in one step that nothing can interrupt."""
        write_atomically(path, lambda file: torch.save(features._asdict(), file))


def _identity(items: Any) -> Any:
    """What tells the images and labels of a source, without decoding any of them."""
    if isinstance(items, ArrayItems):
        return [items.images, items.labels]
    if isinstance(items, FileList):
        stats = [(str(file), Path(file).stat()) for file in items.files]
        return [items.labels, [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]]
    if isinstance(items, Subset):
        return [list(items.indices), _identity(items.dataset)]
    return stored_labels(items)
