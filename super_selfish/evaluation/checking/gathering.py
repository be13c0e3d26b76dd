"""From footprints to facts.

Shapes: `N` images for pretraining that can be read, `M` test images, `P` pairs.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from super_selfish.data.files import FileList
from super_selfish.data.items import ArrayItems
from super_selfish.data.known_labels import Labels
from super_selfish.data.sources import ImageSource
from super_selfish.evaluation.checking.alike import (
    Near,
    first_copies,
    groups,
    near_duplicates,
    thinned,
)
from super_selfish.evaluation.checking.facts import Facts, Film, Named, Shared
from super_selfish.evaluation.checking.films import films, natural_order
from super_selfish.evaluation.checking.footprints import Footprints
from super_selfish.evaluation.checking.looking_over import (
    Label,
    LookedOver,
    class_of,
    look_over,
    rooted,
)
from super_selfish.evaluation.features import LabelledSource
from super_selfish.training.display import quiet

FLAT = 0.02  # of the range used: a standard deviation below it is an image of one tone
_DARK, _BRIGHT = 0.1, 0.9  # of the range used
_ASKED_TWICE = 4  # items of a data set, spread over it
_EXAMPLES = 24  # pairs whose names are kept


class Part(NamedTuple):
    """Images, what was found in them, and their labels."""

    data: LabelledSource
    looked: LookedOver

    @property
    def source(self) -> ImageSource:
        """The images."""
        return self.data.images

    def source_with_labels(self) -> ImageSource:
        """The images with the labels that came apart from them."""
        return (
            self.source if self.data.labels is None else self.source.with_labels(self.data.labels)
        )

    def name(self, row: int) -> str:
        """Of an image, by its row in the footprints."""
        return self.name_at(int(self.looked.footprints.index[row]))

    def name_at(self, place: int) -> str:
        """Of an image, by its position; of files below the folder that was given."""
        root, _ = rooted(self.source, [])
        name = self.source.name(place)
        folder = root.dataset
        if not isinstance(folder, str | os.PathLike) or not isinstance(root.items, FileList):
            return name
        below = os.path.relpath(name, os.path.expanduser(os.fspath(folder)))
        return name if below.startswith(os.pardir) else below


class Likeness(NamedTuple):
    """Who is like whom.

    Attributes:
        first_of: `[N + M]`: the first row with the same pixels; test images come after the others.
        near: Near duplicates among all of these.
        flat: `[N + M]`, whether an image is of one tone.
        films: Rows of the frames of each film among the `N`.
        is_kept: `[N]`, whether an image stays where copies go.
    """

    first_of: NDArray[np.int64]
    near: Near
    flat: NDArray[np.bool_]
    films: list[NDArray[np.int64]]
    is_kept: NDArray[np.bool_]


def compare_parts(train: Part, test: Part | None, threshold: float | None) -> Likeness:
    """Finds out who is like whom."""
    ours = train.looked.footprints
    prints = ours if test is None else _one_after_the_other(ours, test.looked.footprints)
    number = len(ours.index)
    low, high = _used(train.looked)
    flat = np.asarray(prints.spread <= FLAT * (high - low))
    first_of = first_copies(prints.digest)
    is_first = first_of == np.arange(len(first_of))
    order = _order(train)
    moving = order[~flat[order]]
    film_of = np.full(len(flat), -1, np.int64)
    for film, frames in enumerate(films(ours, moving)):
        film_of[frames] = film
    near = near_duplicates(prints, np.flatnonzero(is_first & ~flat), threshold, film_of)
    within = near.chosen((near.first < number) & (near.second < number))
    return Likeness(
        first_of,
        near,
        flat,
        films(ours, moving, near.strangers),
        thinned(number, first_of[:number], within),
    )


def shared_rows(like: Likeness, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Pairs of images for pretraining and test images that are copies, one of each test image.

    Args:
        like: Who is like whom.
        number: `N`.

    Returns:
        Rows of the first kind, rows of the second, and how many of these have the same pixels;
        they come first.
    """
    tests = np.arange(number, len(like.first_of))
    same = tests[like.first_of[tests] < number]
    near = like.near
    across = np.flatnonzero((near.first < number) & (near.second >= number))
    # Test images of the same pixels are compared by the first of them.
    partner = np.full(len(like.first_of), -1, np.int64)
    best = across[np.argsort(near.agreement[across], kind="stable")]
    partner[near.second[best]] = near.first[best]
    nearly = tests[(like.first_of[tests] >= number) & (partner[like.first_of[tests]] >= 0)]
    ours = np.concatenate([like.first_of[same], partner[like.first_of[nearly]]])
    return ours, np.concatenate([same, nearly]), len(same)


def in_test(like: Likeness, number: int) -> NDArray[np.bool_]:
    """`[N]`: which images for pretraining have the same pixels as a test image, or nearly."""
    found = np.zeros(len(like.first_of), bool)
    found[like.first_of[number:]] = True
    near = like.near
    across = (near.first < number) & (near.second >= number)
    found[near.first[across]] = True
    return found[like.first_of[:number]]


def varies(source: ImageSource) -> bool:
    """Whether some images are others when they are asked for again."""
    root, _ = rooted(source, [])
    if isinstance(root.items, ArrayItems) or root.decodes_files:
        return False
    places = np.linspace(0, len(source) - 1, _ASKED_TWICE).round().astype(int)
    chosen = [int(place) for place in np.unique(places)]
    with quiet():
        looks = [
            look_over(source, chosen, label="", cover=source.image_size, num_workers=0)
            for _ in range(2)
        ]
    first, second = (look.footprints for look in looks)
    both = np.intersect1d(first.index, second.index)
    digests = [look.digest[np.isin(look.index, both)] for look in (first, second)]
    return bool((digests[0] != digests[1]).any())


def gather(
    train: Part,
    test: Part | None,
    like: Likeness,
    *,
    varies: bool,
    remarks: Sequence[str],
) -> Facts:
    """Puts all that was found into words and numbers."""
    looked, prints = train.looked, train.looked.footprints
    number = len(prints.index)
    first_of = like.first_of[:number]
    near = like.near.chosen((like.near.first < number) & (like.near.second < number))
    is_copy = first_of != np.arange(number)
    gone = ~like.is_kept & ~is_copy
    labels = labels_of_part(train)
    low, high = _used(looked)
    flat = like.flat[:number]
    level = (prints.mean - low) / max(high - low, 1e-6)
    often = max(looked.tally.items(), key=lambda item: item[1].images)[1]
    contradicting = _contradicting(labels, first_of, near)
    dead = often.dead() if often.images > 1 else []
    return Facts(
        images=len(train.source),
        looked_at=number + len(looked.unreadable),
        image_size=train.source.image_size,
        sizes={(h, w): n for (h, w), n in _counted(prints.sizes[:, 1:]).items()},
        channels={c: int(n) for (c,), n in _counted(prints.sizes[:, :1]).items()},
        kinds=dict(looked.kinds),
        threshold=like.near.threshold,
        used=(low, high),
        dead=tuple(dead),
        idle=tuple((often.constant / often.images).tolist()),
        grey=int(prints.is_grey.sum()),
        unreadable=tuple(
            (train.name_at(place), looked.unreadable[place]) for place in sorted(looked.unreadable)
        ),
        black=int((flat & (level < _DARK)).sum()),
        white=int((flat & (level > _BRIGHT)).sum()),
        flat=int(flat.sum()),
        flat_names=tuple(train.name(row) for row in np.flatnonzero(flat)[:_EXAMPLES]),
        copies=int(is_copy.sum()),
        copy_pairs=_named(train, first_of[is_copy], np.flatnonzero(is_copy)),
        near=int(gone.sum()),
        near_pairs=_named(train, near.first, near.second),
        mirrored=int(near.is_mirrored.sum()),
        largest_group=int(np.bincount(groups(number, first_of, near)).max()),
        strangers=like.near.strangers,
        contradicting=len(contradicting),
        contradicting_pairs=tuple(
            (train.name(one), train.name(other)) for one, other in contradicting[:_EXAMPLES]
        ),
        films=tuple(
            Film(len(film), train.name(film[0]), train.name(film[-1]))
            for film in sorted(like.films, key=len, reverse=True)
        ),
        labels=_label_counts(train, labels),
        shared=None if test is None else _shared(train, test, like),
        varies=varies,
        remarks=(*remarks, *([like.near.limit] if like.near.limit else [])),
        seconds=looked.seconds + (0.0 if test is None else test.looked.seconds),
    )


def labels_of_part(part: Part) -> list[Label]:
    """The labels of the images that can be read, those that came apart from them first."""
    known: Labels | None = part.data.labels
    source: ImageSource | None = part.source
    while source is not None and known is None:
        if source.given_labels is not None:
            known = part.source.known_labels()
        source = source.whole
    if known is None:
        return part.looked.labels
    places = part.looked.footprints.index.tolist()
    return [class_of(torch.as_tensor(known[place])) for place in places]


def _shared(train: Part, test: Part, like: Likeness) -> Shared:
    number = len(train.looked.footprints.index)
    ours, theirs, same = shared_rows(like, number)
    known = _label_counts(train, labels_of_part(train))
    asked = _label_counts(test, labels_of_part(test))
    missing = () if not known or not asked else tuple(name for name in asked if name not in known)
    return Shared(
        test=len(test.looked.footprints.index),
        exact=same,
        near=len(theirs) - same,
        examples=tuple(
            (train.name(one), test.name(other - number))
            for one, other in zip(ours[:_EXAMPLES], theirs[:_EXAMPLES], strict=True)
        ),
        missing_classes=missing,
    )


def _one_after_the_other(first: Footprints, second: Footprints) -> Footprints:
    pairs: Iterator[tuple[NDArray[Any], NDArray[Any]]] = zip(first, second, strict=True)
    return Footprints(*(np.concatenate(pair) for pair in pairs))


def _used(looked: LookedOver) -> tuple[float, float]:
    """The range that the images of the commonest number of channels use."""
    return max(looked.tally.values(), key=lambda channels: channels.images).used()


def _counted(columns: NDArray[np.int32]) -> dict[tuple[int, ...], int]:
    values, counts = np.unique(columns, axis=0, return_counts=True)
    return {tuple(row): n for row, n in zip(values.tolist(), counts.tolist(), strict=True)}


def _order(part: Part) -> NDArray[np.int64]:
    """Rows in the order in which frames of a film would follow one another."""
    index = part.looked.footprints.index
    root, _ = rooted(part.source, [])
    if not isinstance(root.items, FileList):
        return np.arange(len(index))
    return natural_order([part.source.name(int(place)) for place in index])


def _named(part: Part, first: NDArray[np.int64], second: NDArray[np.int64]) -> tuple[Named, ...]:
    pairs = zip(first[:_EXAMPLES].tolist(), second[:_EXAMPLES].tolist(), strict=True)
    return tuple((part.name(one), part.name(other)) for one, other in pairs)


def _label_counts(part: Part, labels: Sequence[Label]) -> dict[str, int] | None:
    """Images of each class, by its name or number; `None` where no label is a class."""
    classes = part.source.classes or []
    labels = [label for label in labels if label is not None]
    if not labels:
        return None
    if all(isinstance(label, int) for label in labels):
        counts = Counter(label for label in labels if isinstance(label, int))
    else:
        rows = [label for label in labels if isinstance(label, tuple)]
        if len(rows) < len(labels) or len({len(row) for row in rows}) > 1:
            return None
        counts = Counter(dict(enumerate(np.array(rows).sum(axis=0).tolist())))
    return {
        classes[number] if 0 <= number < len(classes) else str(number): counts[number]
        for number in sorted(counts)
    }


def _contradicting(
    labels: Sequence[Label], first_of: NDArray[np.int64], near: Near
) -> list[tuple[int, int]]:
    """Pairs of rows that are copies and have different labels."""
    later = np.flatnonzero(first_of != np.arange(len(first_of)))
    pairs = [
        *zip(first_of[later].tolist(), later.tolist(), strict=True),
        *zip(near.first.tolist(), near.second.tolist(), strict=True),
    ]
    known = [(one, other) for one, other in pairs if None not in (labels[one], labels[other])]
    return [(one, other) for one, other in known if labels[one] != labels[other]]
