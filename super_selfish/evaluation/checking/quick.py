"""A look of seconds at some images: what is bad enough to be said before a long run.

Test images among those for training are looked for by where they come from, without reading them:
the same files, copies that kept their names, the same items of a data set, equal rows of arrays.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset

from super_selfish.data.items import ArrayItems
from super_selfish.data.known_labels import known_file
from super_selfish.data.likeness import streams_left_alone
from super_selfish.data.sources import ImageSource
from super_selfish.evaluation.checking.check import Check
from super_selfish.evaluation.checking.facts import Shared
from super_selfish.evaluation.checking.findings import findings_of
from super_selfish.evaluation.checking.gathering import Part, compare_parts, gather, varies
from super_selfish.evaluation.checking.looking_over import look_over, rooted
from super_selfish.evaluation.features import LabelledSource, open_data
from super_selfish.training.counting import plural
from super_selfish.training.telling import warn

LOOKED_AT = 256  # images of each part
SECONDS = 3.0  # of reading, for each part
_SAID = ("test images", "changing images", "unreadable files", "empty images")  # before a long run
_MOST_BYTES = 2**30  # of an array whose rows are compared
_SAME_NAMES = 256  # files of equal names that are compared byte by byte

Places = dict[Hashable, int]


def quick_check(
    images: Any, test: Any = None, *, num_images: int = LOOKED_AT, seconds: float = SECONDS
) -> Check:
    """Looks at some images, evenly spread, for a few seconds.

    Args:
        images: As for `check`; no stream.
        test: As for `check`.
        num_images: At most so many of each part are read.
        seconds: Reading a part ends after so long.

    Returns:
        What `check` gives, of these images. What only a look at all can tell is left out: films,
        labels, and that no test image is among the others.

    Raises:
        ValueError: If no image can be read.
        TypeError: If `images` come one after the other.
    """
    data = open_data(images)
    tested = None if test is None else open_data(test)
    shared = [] if tested is None else shared_places(data.images, tested.images)
    few = shared[: num_images // 4]
    with streams_left_alone():
        train = _sampled(data, [one for one, _ in few], data.images, num_images, seconds)
        other = None
        if tested is not None:
            places = [place for _, place in few]
            other = _sampled(tested, places, data.images, num_images, seconds)
        changes = varies(data.images)
    like = compare_parts(train, other, None)
    looked_at = _number(train)
    is_whole = looked_at == len(data.images) and (
        other is None or _number(other) == len(other.source)
    )
    remarks = (
        [] if is_whole else [f"A quick look at {looked_at:,} images; check() looks at all of them."]
    )
    facts = gather(train, other, like, varies=changes, remarks=remarks)
    if not is_whole:
        facts = replace(
            facts, labels=None, films=(), shared=_told(facts.shared, shared, data, tested)
        )
    return Check(facts, findings_of(facts), train, other, like, is_whole)


def warn_of_images(images: LabelledSource, tests: Mapping[str, LabelledSource]) -> None:
    """Warns of what would spoil a run, by a quick look; says nothing of images that are in order.

    Args:
        images: For pretraining.
        tests: Parts that accuracies will be of, by the names of their sets; `""` has no name. Where
            there is none, only the images themselves are looked at.
    """
    is_skipping = images.images.on_error == "skip"  # a run names what it leaves out itself
    said = [topic for topic in _SAID if not (is_skipping and topic == "unreadable files")]
    told: dict[str, None] = {}  # each sentence once
    parts: dict[str, LabelledSource | None] = {**tests} or {"": None}
    for name, test in parts.items():
        for finding in quick_check(images, test).bad():
            if finding.topic in said:
                is_of_set = bool(name) and finding.topic == "test images"
                told[f"{name}: {finding.text}" if is_of_set else finding.text] = None
    if told:
        warn(f"{' '.join(told)} super_selfish.check(images, test) has that, and says more.")


def warn_of_shared(test: ImageSource, others: Mapping[str, ImageSource]) -> None:
    """Warns if test images come from the same place as others; reads none of them.

    Args:
        test: Images that accuracies will be of.
        others: Such as those that a network has seen, by what to call them. The first that have a
            test image are named.
    """
    for what, images in others.items():
        shared = shared_places(images, test)
        if shared:
            total, verb = plural(len(test), "test image"), "is" if len(shared) == 1 else "are"
            warn(
                f"{len(shared):,} of {total} {verb} among {what} as well, such as "
                f"{test.name(shared[0][1])}. Accuracy on images that were learned from flatters: "
                "super_selfish.check(images, test).without_duplicates() leaves them out."
            )
            return


def shared_places(train: ImageSource, test: ImageSource) -> list[tuple[int, int]]:
    """Positions of images in two sources that come from the same place.

    Args:
        train: The one.
        test: The other.

    Returns:
        Pairs of positions, one for each image of the second source that the first one has.
    """
    ours, theirs = _places(train), _places(test)
    both = [(ours[place], number) for place, number in theirs.items() if place in ours]
    return both or _same_files(ours, theirs)


def _places(source: ImageSource) -> Places:
    """Where each image comes from, and its position; nothing where that would take long."""
    root, positions = rooted(source, range(len(source)))
    items = root.items
    if known_file(items, positions[0]) is not None:
        names = (known_file(items, position) for position in positions)
        return {os.path.abspath(str(name)): number for number, name in enumerate(names)}
    while type(items) is Subset:
        positions = [int(items.indices[position]) for position in positions]
        items = items.dataset
    if not isinstance(items, ArrayItems):
        return {(id(items), position): number for number, position in enumerate(positions)}
    rows = items.images
    size = rows.nbytes // max(1, len(rows))
    if size * len(positions) > _MOST_BYTES:
        return {}
    return {_digest(rows[position]): number for number, position in enumerate(positions)}


def _digest(row: Any) -> bytes:
    if isinstance(row, Tensor):
        row = row.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=8).digest()


def _same_files(ours: Places, theirs: Places) -> list[tuple[int, int]]:
    """Files of equal names in different folders that hold the same bytes."""
    by_name = {os.path.basename(file): file for file in ours if isinstance(file, str)}
    found = []
    named = [file for file in theirs if isinstance(file, str)]
    candidates = [file for file in named if os.path.basename(file) in by_name]
    for file in candidates[:_SAME_NAMES]:
        other = by_name[os.path.basename(file)]
        if _have_same_bytes(file, other):
            found.append((ours[other], theirs[file]))
    return found


def _have_same_bytes(file: str, other: str) -> bool:
    try:
        if os.path.getsize(file) != os.path.getsize(other):
            return False
        with open(file, "rb") as one, open(other, "rb") as two:
            return one.read() == two.read()
    except OSError:  # whoever reads the image will say so
        return False


def _sampled(
    data: LabelledSource, wanted: list[int], form: ImageSource, number: int, seconds: float
) -> Part:
    total = len(data.images)
    spread = np.linspace(0, total - 1, min(total, number)).round().astype(np.int64)
    chosen = sorted({*wanted, *spread.tolist()})
    looked = look_over(
        data.images,
        chosen,
        label="Checking",
        cover=form.image_size,
        num_workers=0,
        progress=False,
        seconds=seconds,
    )
    return Part(data, looked)


def _number(part: Part) -> int:
    return len(part.looked.footprints.index) + len(part.looked.unreadable)


def _told(
    seen: Shared | None,
    places: list[tuple[int, int]],
    train: LabelledSource,
    test: LabelledSource | None,
) -> Shared | None:
    """What is known of test images among the others, if there is one."""
    if seen is None or test is None:
        return None
    if not places:
        return replace(seen, missing_classes=()) if seen.exact + seen.near else None
    named = tuple((train.images.name(one), test.images.name(other)) for one, other in places[:24])
    return Shared(len(test.images), len(places), 0, named)
