"""Labelled images in two parts: to learn from, and to test on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

SEGMENTATION = "segmentation"


def labelled_parts(
    images: str,
    test: str | None,
    *,
    form: dict[str, Any] | None = None,
    seed: int = 0,
    flag: str = "--test",
) -> tuple[Any, Any]:
    """Both parts; where a user names only one, a fifth of it is the test.

    Args:
        images: A folder, a pattern or a table.
        test: The same, or None.
        form: Keywords of `as_source` that say how the images are read.
        seed: Of the draw; that of `pretrain` gives the images that it has kept from training.
        flag: By which a user names the test.

    Raises:
        ValueError: If there are no labels, or too few.
    """
    if test is not None:
        return images, test
    from super_selfish.data.opening import as_source
    from super_selfish.pretraining.subjects import Rated, Subject

    subject = Subject(as_source(images, **(form or {})))
    found: Rated | str = "no image has a label"
    if subject.has_labels:
        number = len(subject.source)
        found = subject.rated(subject.source.image_size, number, None, seed)
    if isinstance(found, str):
        raise ValueError(
            f"{images} cannot be rated by: {found}; sub-folders of classes or a .csv give labels, "
            f"{flag} names images to test on"
        )
    return found.train, found.test


def masked_parts(images: str, test: str | None) -> tuple[Any, Any]:
    """The same of images with masks; without a test part those of its lists.

    Args:
        images: A folder as `MaskFolder` takes it.
        test: The same, or None.
    """
    from super_selfish.data import MaskFolder

    if test is not None:
        return MaskFolder(images), MaskFolder(test)
    return MaskFolder(images, split="trainval"), MaskFolder(images, split="test")


def seed_of(name: str) -> int | None:
    """The seed by which `pretrain` has kept images from a run; None if it was not `pretrain`'s.

    Args:
        name: Of the checkpoint, without its ending.
    """
    from super_selfish.pretraining.choices import Paths, read_record

    paths = Paths(Path(os.path.dirname(name)))
    record = read_record(paths.choices) if os.path.basename(name) == paths.run.name else None
    return None if record is None else int(record.asked["seed"])
