"""Which images are copies of one another, to the last pixel or nearly.

Two images are near duplicates if their perceptual hashes differ in at most `MOST_BITS` of 64 bits,
and then their details agree: of flat, dark or centred images the hash alone says nothing. How far
details of strangers agree is measured on the images themselves, and the bar laid above it.

Shapes: `N` images, `P` pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from super_selfish.evaluation.checking.close_bits import (
    bits_apart,
    close_pairs,
    comparisons,
)
from super_selfish.evaluation.checking.footprints import Footprints
from super_selfish.evaluation.checking.hashing import agreement

MOST_BITS = 6  # of 64
LEAST = 0.8  # agreement of details of near duplicates; docs/check.md measures it
HIGHEST = 0.98  # the most that is asked for: JPEGs of quality 75 agree so
_STRANGERS, _RARE = 20_000, 0.999  # random pairs, and the share of them that agree less
_PAIRS_AN_IMAGE = 50
_FAR_BITS = 10  # pairs that are nearer are no strangers
_CONFIRMED_AT_ONCE = 8192  # pairs: 16 MB of details
_FINE_SEARCH = 4 * 10**9  # comparisons, about 40 ns each: two or three minutes
_ANY_SEARCH = 4 * 10**10
_MOST_PAIRS = 2 * 10**7


class Near(NamedTuple):
    """Near duplicates.

    Attributes:
        first: `[P]` rows of the footprints, each smaller than that in `second`.
        second: `[P]`.
        agreement: `[P]`, of the details, -1 to 1.
        is_mirrored: `[P]`, whether left and right are exchanged.
        threshold: From which agreement on pairs count.
        strangers: What 99.9 % of random pairs stay below.
        limit: What the search leaves out since it would take too long, a sentence, or nothing.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    agreement: NDArray[np.float32]
    is_mirrored: NDArray[np.bool_]
    threshold: float
    strangers: float
    limit: str = ""

    @property
    def pairs(self) -> int:
        """`P`."""
        return len(self.first)

    def chosen(self, which: NDArray[np.bool_]) -> Near:
        """Some of the pairs."""
        return self._replace(
            first=self.first[which],
            second=self.second[which],
            agreement=self.agreement[which],
            is_mirrored=self.is_mirrored[which],
        )


def first_copies(digests: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Of each image the first one that has the same pixels, itself if there is none before."""
    _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    return np.asarray(first[inverse.reshape(-1)], np.int64)


def near_duplicates(
    prints: Footprints,
    candidates: NDArray[np.int64],
    threshold: float | None = None,
    film_of: NDArray[np.int64] | None = None,
) -> Near:
    """Searches for pairs among some images.

    Args:
        prints: Footprints of all.
        candidates: Rows to be compared, in ascending order: one of each set of copies, none flat.
        threshold: From which agreement on pairs count; `None` finds it, see `threshold_for`.
        film_of: Number of the film of each image, -1 for none: frames of one are no strangers.
    """
    bits, mirrored = prints.bits[candidates], prints.mirrored[candidates]
    detail = prints.detail[candidates]
    of_candidates = None if film_of is None else film_of[candidates]
    strangers = agreement_of_strangers(bits, detail, of_candidates)
    threshold = threshold_for(strangers) if threshold is None else threshold
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], bool]] = []
    limit, number = "", 0
    for is_mirrored, others in ((False, bits), (True, mirrored)):
        turned = comparisons(bits, others, turned=True) <= _FINE_SEARCH
        if not turned and comparisons(bits, others, turned=False) > _ANY_SEARCH:
            limit = (
                "So many hashes are alike that comparing them would take hours: near duplicates "
                "were not searched for."
            )
            continue
        if not turned:
            limit = (
                "So many hashes are alike that the search was a coarser one, which misses some "
                "near duplicates whose hashes differ in four bits or more."
            )
        for one, other in close_pairs(bits, others, MOST_BITS, turned=turned):
            for first, second, agrees in _agreeing(detail, one, other, threshold, is_mirrored):
                found.append((first, second, agrees, is_mirrored))
                number += len(first)
            if number > _MOST_PAIRS:
                limit = (
                    f"The search ended at {_MOST_PAIRS:,} pairs: nearly all images are alike, and "
                    "numbers of near duplicates are the least that they can be."
                )
                break
    return _ordered(found, candidates, threshold, strangers, limit)


def _agreeing(
    detail: NDArray[np.int8],
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    threshold: float,
    is_mirrored: bool,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
    for start in range(0, len(one), _CONFIRMED_AT_ONCE):
        first, second = (rows[start : start + _CONFIRMED_AT_ONCE] for rows in (one, other))
        theirs = detail[second]
        agrees = agreement(detail[first], theirs[:, :, ::-1] if is_mirrored else theirs)
        good = agrees >= threshold
        if good.any():
            yield first[good], second[good], agrees[good]


def _ordered(
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], bool]],
    candidates: NDArray[np.int64],
    threshold: float,
    strangers: float,
    limit: str,
) -> Near:
    """Pairs in order; of one that is a copy both ways, as symmetric images are, the plain one."""
    if not found:
        none = np.empty(0, np.int64)
        return Near(
            none, none, np.empty(0, np.float32), np.empty(0, bool), threshold, strangers, limit
        )
    first, second, agrees = (np.concatenate([part[k] for part in found]) for k in range(3))
    flipped = np.concatenate([np.full(len(part[0]), part[3]) for part in found])
    order = np.lexsort((flipped, second, first))
    first, second, agrees, flipped = (x[order] for x in (first, second, agrees, flipped))
    again = np.concatenate([[False], (first[1:] == first[:-1]) & (second[1:] == second[:-1])])
    first, second, agrees, flipped = (x[~again] for x in (first, second, agrees, flipped))
    return Near(candidates[first], candidates[second], agrees, flipped, threshold, strangers, limit)


def agreement_of_strangers(
    bits: NDArray[np.uint64], detail: NDArray[np.int8], film_of: NDArray[np.int64] | None = None
) -> float:
    """What 99.9 % of random pairs of images, that do not look like copies, agree less than.

    Args:
        bits: `[N]` perceptual hashes.
        detail: `[N, S, S]`.
        film_of: `[N]` numbers of films, -1 for none.
    """
    if len(bits) < 2:
        return 0.0
    number = min(_STRANGERS, _PAIRS_AN_IMAGE * len(bits))
    one, other = np.random.default_rng(0).integers(0, len(bits), (2, number))
    is_pair = one != other
    if film_of is not None:
        is_pair &= (film_of[one] != film_of[other]) | (film_of[one] < 0)
    one, other = one[is_pair], other[is_pair]
    if not len(one):
        return 0.0
    is_far = bits_apart(bits[one], bits[other]) > _FAR_BITS
    if is_far.mean() >= 0.5:  # else all images are so alike that hashes tell nothing
        one, other = one[is_far], other[is_far]
    parts = range(0, len(one), _CONFIRMED_AT_ONCE)
    size = _CONFIRMED_AT_ONCE
    agrees = [agreement(detail[one[s : s + size]], detail[other[s : s + size]]) for s in parts]
    return max(0.0, float(np.quantile(np.concatenate(agrees), _RARE)))


def threshold_for(strangers: float) -> float:
    """From which agreement on two images are near duplicates.

    `LEAST` where strangers agree in a fifth of their detail, as photographs do; the nearer they
    are to one another, the less a copy may differ, by the square of the room above them. Clothes of
    Fashion-MNIST agree in 0.77 of their detail, and there copies have to agree in `HIGHEST`.

    Args:
        strangers: See `agreement_of_strangers`.
    """
    room = min(1.0, (1.0 - strangers) / 0.8)
    return min(HIGHEST, 1.0 - (1.0 - LEAST) * room**2)


def thinned(number: int, first_of: NDArray[np.int64], near: Near) -> NDArray[np.bool_]:
    """Which of images `[N]` to keep so that none is a copy of another that is kept.

    In order: an image stays unless it has the pixels of one before it, or is a near duplicate of
    one that stays. So of a slow film more than one image remains.
    """
    kept = np.asarray(first_of == np.arange(number))
    order = np.argsort(near.second, kind="stable")
    for first, second in zip(near.first[order].tolist(), near.second[order].tolist(), strict=True):
        if kept[first]:
            kept[second] = False
    return kept


def groups(number: int, first_of: NDArray[np.int64], near: Near) -> NDArray[np.int64]:
    """The group of each image: images that copies lead from one to the other have the same."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one = np.concatenate([first_of, near.first])
    other = np.concatenate([np.arange(number), near.second])
    links = coo_array((np.ones(len(one), bool), (one, other)), shape=(number, number))
    return np.asarray(connected_components(links, directed=False)[1], np.int64)
