"""Labels of a whole source, without decoding its images where that can be avoided."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from super_selfish.data.items import as_column, as_label
from super_selfish.data.known_labels import Labels, is_our_source
from super_selfish.data.samples import SKIPPED_LABEL, Samples, Unreadable
from super_selfish.training.display import open_bar
from super_selfish.training.telling import warn

_LONG = 60.0  # seconds of reading items for their labels, beyond which it is worth a word
_TRIED_FOR = 2.0  # seconds of reading, after which the rest is estimated


class LabelledSamples(Samples, Protocol):
    """What is asked of a source here."""

    dataset: Any

    def known_labels(self) -> Labels | None:
        """The labels of all items, if they are known without reading the items."""

    def label(self, index: int) -> Tensor | None:
        """The label of one item."""


def labels_of(source: LabelledSamples, *, instead: str = "") -> Tensor | None:
    """Labels of all images in order, as the items give them.

    A list that the dataset keeps beside its items is used where it is sure to be what they give
    (see `super_selfish.data.known_labels`). Otherwise every item is read once, which takes as long
    as the dataset takes to give them; where that is more than a minute, a warning says so.

    Args:
        source: Where from.
        instead: What the caller's user may do to avoid it, as the end of the warning's sentence.

    Returns:
        `[N, ...]`, or `None` if an item has none. The label of an item that cannot be read and
        is skipped is -1.

    Raises:
        ValueError: The labels differ in shape.
    """
    if not getattr(source, "has_random_access", True):
        raise ValueError(
            f"the labels of a {type(source.dataset).__name__} are known only as it passes{instead}"
        )
    known = source.known_labels() if is_our_source(source) else None
    if isinstance(known, Tensor):
        return as_column(known)
    if known is not None and known and all(type(value) is int for value in known):
        return torch.tensor(known)
    given = _read(source, instead) if known is None else (as_label(value) for value in known)
    found: list[Tensor] = []
    for label in given:
        if label is None:
            return None
        found.append(label.detach().cpu())
    shapes = {tuple(label.shape) for label in found}
    if len(shapes) == 2 and () in shapes:
        found = _skipped_filled(found, max(shapes))
        shapes = {tuple(label.shape) for label in found}
    if len(shapes) > 1:
        raise ValueError(f"labels must be of one shape, got {sorted(shapes)[:5]}")
    return torch.stack(found)


def _skipped_filled(labels: list[Tensor], shape: tuple[int, ...]) -> list[Tensor]:
    """Labels of which those of skipped items have the shape of the others."""
    return [
        label.expand(shape) if label.ndim == 0 and label == SKIPPED_LABEL else label
        for label in labels
    ]


def _read(source: LabelledSamples, instead: str) -> Iterator[Tensor | None]:
    """The labels of the items, one by one; says once how long that takes, if it takes long."""
    total, started, is_said = len(source), time.monotonic(), False
    with open_bar("Reading labels", total, "img", shown=True) as bar:
        for index in range(total):
            yield label_at(source, index)
            bar.update()
            passed = time.monotonic() - started
            if not is_said and passed > _TRIED_FOR:
                is_said = True
                seconds = passed / (index + 1) * total
                if seconds > _LONG:
                    warn(
                        f"the labels of {type(source.dataset).__name__} are known only by reading "
                        f"all its {total:,} items, about {seconds / 60:.0f} min{instead}"
                    )


def label_at(source: LabelledSamples, index: int) -> Tensor | None:
    """The label of one image; -1 if it cannot be read and is skipped."""
    if is_our_source(source):
        return source.label(index)
    sample = source[index]  # a class of the user's own may give other labels than its dataset
    return torch.tensor(SKIPPED_LABEL) if isinstance(sample, Unreadable) else sample.label
