"""Stretches of images that follow one another like frames of a film.

Shapes: `N` images.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from super_selfish.evaluation.checking.close_bits import bits_apart
from super_selfish.evaluation.checking.footprints import Footprints
from super_selfish.evaluation.checking.hashing import agreement

MOST_BITS = 12  # of 64 between a frame and the next
LEAST = 0.5  # agreement of their details
SHORTEST = 8  # frames: of others so many in a row never follow one another by chance
_OFTENER = (
    2  # times as often as two at random, an image is much like the next where there are films
)
_RANDOM = 20_000  # pairs
_AT_ONCE = 8192

Film = NDArray[np.int64]  # rows of its frames, in their order


def natural_order(names: list[str]) -> NDArray[np.int64]:
    """The order in which frames follow one another: `frame2` comes before `frame10`."""
    keys = [
        [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
        for name in names
    ]
    return np.array(sorted(range(len(names)), key=keys.__getitem__), np.int64)


def films(prints: Footprints, order: NDArray[np.int64], strangers: float = 0.0) -> list[Film]:
    """Finds stretches in which each image is much like the next.

    Where two images at random are much alike half as often as neighbours are, as X-rays may be, the
    order says nothing, and there are none.

    Args:
        prints: Footprints `[N]`.
        order: `[N]`, rows in the order in which frames would follow one another.
        strangers: How far details of random pairs agree; frames have to agree more.
    """
    if len(order) < SHORTEST:
        return []
    least = max(LEAST, strangers)
    is_near = _are_alike(prints, order[:-1], order[1:], least)
    one, other = np.random.default_rng(0).choice(order, (2, _RANDOM))
    by_chance = _are_alike(prints, one[one != other], other[one != other], least)
    if is_near.mean() <= _OFTENER * by_chance.mean():
        return []
    edges = np.flatnonzero(np.diff(np.concatenate([[0], is_near.astype(np.int8), [0]])))
    stretches = edges.reshape(-1, 2)  # links from the first on, up to the second
    return [order[begin : end + 1] for begin, end in stretches if end - begin + 1 >= SHORTEST]


def _are_alike(
    prints: Footprints, one: NDArray[np.int64], other: NDArray[np.int64], least: float
) -> NDArray[np.bool_]:
    """Pair by pair, whether the one may be the next frame after the other."""
    alike = np.asarray(bits_apart(prints.bits[one], prints.bits[other]) <= MOST_BITS)
    places = np.flatnonzero(alike)
    for start in range(0, len(places), _AT_ONCE):
        some = places[start : start + _AT_ONCE]
        agrees = agreement(prints.detail[one[some]], prints.detail[other[some]])
        alike[some] = agrees >= least
    return alike
