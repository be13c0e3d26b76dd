"""Features of frozen networks in files, so that the next evaluation need not compute them again.

The name of a file is a hash of all that its features depend on: structure and weights of backbone
and preprocessing, the labels, and the images. Those in one array are told by their pixels, files
(of a folder, a list, or an `ImageFolder`) by name, size and time of change. Of any other data set
all images are read to tell them, which takes as long as reading takes, but no network. After a
change to the code of a network, or of a folder's `transform` that sixteen images do not show, give
another folder.

What is read is checked: where a file is broken, or holds anything but features and labels, they are
computed anew, with a warning.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from super_selfish.data.files import FileList
from super_selfish.data.items import ArrayItems
from super_selfish.data.known_labels import is_our_source, known_file
from super_selfish.data.sources import ImageSource, labels_of
from super_selfish.evaluation.comparison.fingerprints import describe, describe_data, fingerprint
from super_selfish.evaluation.features import Features, LabelledSource
from super_selfish.training.checkpoint import read_checkpoint, write_checkpoint
from super_selfish.training.telling import warn


class FeatureCache:
    """A folder of features, which is made when the first are stored."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Remembers the folder."""
        self.folder = Path(os.path.expanduser(folder))

    def path(self, backbone: nn.Module, data: LabelledSource, preprocess: nn.Module | None) -> Path:
        """The file for a network and a data set, whether it exists or not."""
        parts = [backbone, preprocess, describe_data(data), _identity(data.images)]
        return self.folder / f"features-{fingerprint(parts)}.pt"

    def read(self, path: Path) -> Features | None:
        """What is stored, or `None`."""
        if not path.is_file():
            return None
        try:
            stored = read_checkpoint(path)
            return _checked(stored.get("features"), stored.get("labels"))
        except (ValueError, OSError) as error:
            warn(f"{path} is of no use, features are computed anew: {error}")
            return None

    def write(self, path: Path, features: Features) -> None:
        """Stores features, in one step that nothing can interrupt."""
        write_checkpoint(path, features._asdict())


def _checked(features: object, labels: object) -> Features:
    """What a file holds, if it can be features `[N, D]` and labels `[N]` or `[N, Y]`."""
    if not _is_plain(features, torch.float32, (2,)) or not torch.isfinite(features).all():
        raise ValueError("it holds no finite features [N, D]")
    if labels is not None and not _is_plain(labels, torch.int64, (1, 2)):
        raise ValueError("it holds no labels of whole numbers")
    if labels is not None and len(labels) != len(features):
        raise ValueError(f"it holds {len(features)} features, but {len(labels)} labels")
    return Features(features, labels)


def _is_plain(value: object, dtype: torch.dtype, dimensions: tuple[int, ...]) -> TypeGuard[Tensor]:
    """Whether this is an ordinary tensor of a kind, of which every entry was stored."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.dtype == dtype
        and value.dim() in dimensions
        and value.is_contiguous()
    )


def _identity(source: ImageSource) -> Any:
    """What tells the images and labels of a source."""
    if not is_our_source(source):
        return _every_image(source)
    items = source.items
    if isinstance(items, ArrayItems):
        return [items.images, items.labels]
    if isinstance(items, FileList):
        options = [items.frames, source.value_range, str(source.reader.pages)]
        return [items.labels, options, [_state(file) for file in items.files]]
    files = [known_file(items, index) for index in range(len(items))]
    known = source.known_labels()
    if known is not None and all(file is not None for file in files):
        return [labels_of(source), [_state(file) for file in files if file is not None]]
    return _every_image(source)


def _state(file: str) -> list[object]:
    try:
        status = os.stat(file)
    except OSError:  # whoever reads the image will say so
        return [file]
    return [file, status.st_size, status.st_mtime_ns]


def _every_image(source: ImageSource) -> list[Any]:
    samples = (source[index] for index in range(len(source)))
    return [describe(list(sample)) for sample in samples]
