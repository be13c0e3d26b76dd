"""By what a data set is known again: not by all its pixels, which would take long."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from super_selfish.augmentations.base import to_unit_range
from super_selfish.data.files import FileList
from super_selfish.data.items import ArrayItems
from super_selfish.data.paths import Paths
from super_selfish.data.samples import DatasetError, Sample
from super_selfish.data.sources import ImageSource
from super_selfish.training.plain import is_plain, plain

_ROWS = 16  # of an array
_ITEMS = 4  # of other data sets, which have to be asked
_MOST_BYTES = 2**26  # of labels


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
    if not source.has_random_access:
        return {}
    if isinstance(items, FileList):
        return {"names of the image files (digest)": _digest(_names(items.files))}
    places = sorted({position * (len(source) - 1) // (_ROWS - 1) for position in range(_ROWS)})
    if isinstance(items, ArrayItems):
        rows = torch.stack([torch.as_tensor(items.images[place]) for place in places])
        return {"images (digest of some)": _digest([_bytes(rows)])}
    with streams_left_alone():
        shades = [_shade(source, place) for place in places[:: _ROWS // _ITEMS]]
        if shades != [_shade(source, place) for place in places[:: _ROWS // _ITEMS]]:
            return {}
    return {"brightness of some images": shades}


def label_likeness(source: ImageSource) -> dict[str, Any]:
    """The same of the labels: a digest of all that are known without reading items, or of some.

    Args:
        source: The images.

    Returns:
        One entry; none where there are no labels, or they change from one time to the next.
    """
    if not source.has_random_access:
        return {}
    digests = [_labels(source) for _ in range(2)]
    if digests[0] is None or digests[0] != digests[1]:
        return {}
    return {"labels (digest)": digests[0]}


def _labels(source: ImageSource) -> str | None:
    with streams_left_alone():
        labels = source.known_labels()
        if labels is None:
            places = sorted({part * (len(source) - 1) // (_ITEMS - 1) for part in range(_ITEMS)})
            try:
                labels = [source.label(place) for place in places]
            except (OSError, ValueError, TypeError, DatasetError):
                return None  # training says of it what is to be said
    if isinstance(labels, Tensor):
        every = 1 + labels.nbytes // _MOST_BYTES  # of masks not all
        return _digest([str(list(labels.shape)).encode(), _bytes(labels[::every])])
    if all(label is None for label in labels) or not is_plain(list(labels)):
        return None
    return _digest(_label_bytes(label) for label in labels)


def _label_bytes(label: Any) -> bytes:
    label = plain(label)
    return _bytes(label) if isinstance(label, Tensor) else repr(label).encode()


def _names(files: Paths) -> Iterator[bytes]:
    """The paths of files below their common folder, which may have been reached otherwise."""
    if len(files) > 1 and all(file == files[0] for file in files):  # the pages of one
        yield from (b"." for _ in files)
        return
    folders: dict[str, str] = {}  # as they were given: where they are
    for file in files:
        given, _ = _split(file)
        if given not in folders:
            folders[given] = os.path.abspath(given)
    common = os.path.commonpath(list(folders.values()))
    below = {}
    for given, folder in folders.items():
        parts = Path(folder).relative_to(common).parts
        below[given] = "".join(part + "/" for part in parts)
    for file in files:
        given, name = _split(file)
        # Linux has names of any bytes.
        yield (below[given] + name).encode(errors="surrogatepass")


def _split(file: str) -> tuple[str, str]:
    """Folder and name of a file; a name that is none, such as "..", is made one."""
    folder, name = os.path.split(file)
    is_name = name not in ("", os.curdir, os.pardir)
    return (folder, name) if is_name else os.path.split(os.path.abspath(file))


def _shade(source: ImageSource, index: int) -> float:
    sample = source.decode(index)
    if not isinstance(sample, Sample):
        return -1.0
    return round(float(to_unit_range(sample.image).mean()), 4)


def _bytes(rows: Tensor) -> bytes:
    return rows.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for number, part in enumerate(parts):
        digest.update(b"\0" + part if number else part)
    return digest.hexdigest()[:12]


@contextmanager
def streams_left_alone() -> Iterator[None]:
    """While entered, a data set may draw from any stream: afterwards each is where it was."""
    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)  # noqa: NPY002
