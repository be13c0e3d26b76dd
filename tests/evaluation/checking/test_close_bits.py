"""Near hashes are found as comparing all pairs finds them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from super_selfish.evaluation.checking import close_bits
from super_selfish.evaluation.checking.close_bits import (
    SURE,
    SURE_OF_EQUAL,
    bits_apart,
    close_pairs,
    comparisons,
)


def some_hashes(number: int = 400) -> NDArray[np.uint64]:
    """Hashes, and some of which 1 to 12 bits are turned."""
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 2**64, number, dtype=np.uint64)
    for place in range(number // 2, number):
        turned = generator.choice(64, 1 + place % 12, replace=False)
        mask = sum(1 << int(bit) for bit in turned)
        hashes[place] = int(hashes[place - number // 2]) ^ mask
    return hashes


def by_all_pairs(
    first: NDArray[np.uint64], second: NDArray[np.uint64], most: int
) -> list[tuple[int, int]]:
    return [
        (i, j)
        for i in range(len(first))
        for j in range(i + 1, len(second))
        if bin(int(first[i]) ^ int(second[j])).count("1") <= most
    ]


def found(
    first: NDArray[np.uint64], second: NDArray[np.uint64], most: int, *, turned: bool
) -> list[tuple[int, int]]:
    parts = close_pairs(first, second, most, turned=turned)
    pairs = [
        pair for one, other in parts for pair in zip(one.tolist(), other.tolist(), strict=True)
    ]
    return sorted(pairs)


@pytest.mark.parametrize(
    ("most", "turned"), [(SURE, True), (SURE - 1, True), (SURE_OF_EQUAL, False)]
)
def test_all_pairs_up_to_the_sure_distance_are_found_once(most: int, turned: bool) -> None:
    hashes = some_hashes()
    expected = by_all_pairs(hashes, hashes, most)
    assert len(expected) > 40
    assert found(hashes, hashes, most, turned=turned) == expected


def test_pairs_of_two_lists_are_found() -> None:
    hashes = some_hashes()
    others = hashes[::-1].copy()
    expected = by_all_pairs(hashes, others, SURE)
    assert len(expected) > 40
    assert found(hashes, others, SURE, turned=True) == expected


def test_small_steps_give_the_same_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = np.concatenate([some_hashes(60), np.zeros(30, np.uint64)])
    whole = found(hashes, hashes, 6, turned=True)
    assert len(whole) > 30 * 29 / 2
    monkeypatch.setattr(close_bits, "_AT_ONCE", 7)
    assert found(hashes, hashes, 6, turned=True) == whole


def test_bits_are_counted_with_and_without_the_function_of_numpy_2(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = some_hashes(), some_hashes()[::-1].copy()
    expected = [bin(int(a) ^ int(b)).count("1") for a, b in zip(first, second, strict=True)]
    assert bits_apart(first, second).tolist() == expected
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert bits_apart(first, second).tolist() == expected


def test_the_cost_is_the_number_of_pairs_with_like_quarters() -> None:
    zeros = np.zeros(10, np.uint64)
    assert comparisons(zeros, zeros, turned=False) == 4 * 100
    ones = np.full(10, 1, np.uint64)  # one bit of one quarter
    assert comparisons(zeros, ones, turned=False) == 3 * 100
    assert comparisons(zeros, ones, turned=True) == 4 * 100
