"""By what a data set is known again: not by all its pixels, which would take long."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from super_selfish.augmentations.base import to_unit_range
from super_selfish.data.files import FileList
from super_selfish.data.items import ArrayItems
from super_selfish.data.samples import Sample
from super_selfish.data.sources import ImageSource

_ROWS = 16  # of an array
_ITEMS = 4  # of other data sets, which have to be asked


def likeness(source: ImageSource) -> dict[str, Any]:
    """A short text that another data set of the same length has otherwise.

    Of files the names below their common folder, which may have moved; of an array some of its
    rows; of other data sets the mean brightness of some items, where they are the same when asked
    twice. Nothing is known of a data set whose items change.

    Args:
        source: The images.

    Returns:
        One entry, named after what is compared; or none.
    """
    items = source.items
    if isinstance(items, FileList):
        return {"names of the image files (digest)": _digest(*_names(items.files))}
    places = sorted({position * (len(source) - 1) // (_ROWS - 1) for position in range(_ROWS)})
    if isinstance(items, ArrayItems):
        rows = torch.stack([torch.as_tensor(items.images[place]) for place in places])
        return {"images (digest of some)": _digest(_bytes(rows))}
    with _streams_left_alone():
        shades = [_shade(source, place) for place in places[:: _ROWS // _ITEMS]]
        if shades != [_shade(source, place) for place in places[:: _ROWS // _ITEMS]]:
            return {}
    return {"brightness of some images": shades}


def _names(files: list[Any]) -> list[bytes]:
    paths = [os.path.abspath(file) for file in files]
    folder = os.path.dirname(paths[0]) if len(paths) == 1 else os.path.commonpath(paths)
    return [Path(path).relative_to(folder).as_posix().encode() for path in paths]


def _shade(source: ImageSource, index: int) -> float:
    sample = source.decode(index)
    if not isinstance(sample, Sample):
        return -1.0
    return round(float(to_unit_range(sample.image).mean()), 4)


def _bytes(rows: Tensor) -> bytes:
    return rows.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


@contextmanager
def _streams_left_alone() -> Iterator[None]:
    """A data set may draw from any stream when it is asked."""
    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)  # noqa: NPY002
