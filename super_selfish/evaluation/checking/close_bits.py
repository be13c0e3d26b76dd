"""Pairs of 64-bit hashes that differ in a few bits, without comparing all pairs.

Multi-index hashing (Norouzi, Punjani, Fleet, 2012, https://arxiv.org/abs/1307.2982): of two hashes
that differ in at most seven bits, one of the four quarters differs in at most one. So each quarter
is a table, in which only hashes with the same 16 bits, or with one of them turned, are compared.

Shapes: `N` hashes, `P` pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

QUARTERS, WIDTH = 4, 16  # bits: 4 x 16 = 64
SURE = 2 * QUARTERS - 1  # bits: all pairs that differ in no more are found with one bit turned
SURE_OF_EQUAL = QUARTERS - 1  # the same where one quarter has to be equal
_AT_ONCE = 2**20  # pairs compared at once

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]
Hashes = NDArray[np.uint64]

_ONES = np.array([bin(number).count("1") for number in range(2**8)], np.uint8)
_ONES_OF_16 = (_ONES[:, None] + _ONES[None, :]).reshape(-1)


def bits_apart(first: Hashes, second: Hashes) -> NDArray[np.uint8]:
    """How many bits differ, pair by pair `[P]`."""
    return np.asarray(_by_quarter(first ^ second).sum(axis=1, dtype=np.uint8))


def _by_quarter(different: Hashes) -> NDArray[np.uint8]:
    """`[P, 4]`: how many bits are set in each quarter."""
    quarters = np.ascontiguousarray(different).view(np.uint16).reshape(-1, QUARTERS)
    counted: Any = getattr(np, "bitwise_count", None)  # of NumPy 2, five times as fast
    return np.asarray(_ONES_OF_16[quarters] if counted is None else counted(quarters), np.uint8)


def comparisons(first: Hashes, second: Hashes, *, turned: bool) -> int:
    """How many pairs `close_pairs` will compare: its cost, known beforehand."""
    total = 0.0
    every = np.arange(2**WIDTH)
    for quarter in range(QUARTERS):
        ones, others = (_histogram(_quarter(hashes, quarter)) for hashes in (first, second))
        total += sum(float(ones @ others[every ^ mask]) for mask in _masks(turned=turned))
    return int(total)


def close_pairs(
    first: Hashes, second: Hashes, most: int, *, turned: bool = True
) -> Iterator[Pairs]:
    """Finds pairs that differ in at most so many bits, part by part.

    Args:
        first: `[N]`.
        second: `[N]`, of the same pictures (the same hashes, or those of the mirrored ones).
        most: Bits; up to `SURE` all pairs are found, or up to `SURE_OF_EQUAL` without `turned`.
        turned: Whether quarters may differ in a bit.

    Yields:
        Positions `i < j` with `first[i]` near `second[j]`, each pair once.
    """
    for quarter in range(QUARTERS):
        keys = _quarter(first, quarter).astype(np.int64)
        others = _quarter(second, quarter)
        order = np.argsort(others, kind="stable")
        starts = np.concatenate([[0], np.cumsum(_histogram(others)).astype(np.int64)])
        for mask in _masks(turned=turned):
            begins, ends = starts[keys ^ mask], starts[(keys ^ mask) + 1]
            for one, place, counts in _compared(first, second[order], begins, ends, most):
                # Of the quarters that show a pair the first one gives it.
                shows = counts <= int(turned)
                chosen = (one < order[place]) & (shows.argmax(axis=1) == quarter)
                if chosen.any():
                    yield one[chosen], order[place[chosen]]


def _compared(
    first: Hashes,
    ordered: Hashes,
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    most: int,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]]:
    """Compares each hash with others from one place of their order to another.

    Yields:
        Of near pairs `[P]` the position of the one, the place of the other, and the bits that
        differ in each quarter.
    """
    lengths = ends - begins
    total = np.concatenate([[0], np.cumsum(lengths)])
    start = 0
    while start < len(first):
        end = int(np.searchsorted(total, total[start] + _AT_ONCE, side="right")) - 1
        end = min(max(end, start + 1), len(first))
        here = lengths[start:end]
        shift = np.repeat(begins[start:end] - (total[start:end] - total[start]), here)
        places = shift + np.arange(len(shift))
        counts = _by_quarter(np.repeat(first[start:end], here) ^ ordered[places])
        near = np.flatnonzero(counts.sum(axis=1, dtype=np.uint8) <= most)
        if len(near):
            one = np.searchsorted(total, near + total[start], side="right") - 1
            yield one, places[near], counts[near]
        start = end


def _masks(*, turned: bool) -> list[int]:
    return [0, *(1 << bit for bit in range(WIDTH))] if turned else [0]


def _quarter(hashes: Hashes, quarter: int) -> NDArray[np.uint16]:
    return np.ascontiguousarray(hashes).view(np.uint16).reshape(-1, QUARTERS)[:, quarter]


def _histogram(keys: NDArray[np.uint16]) -> NDArray[np.float64]:
    return np.bincount(keys, minlength=2**WIDTH).astype(np.float64)
