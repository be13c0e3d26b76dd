"""Images that join one by one."""

from __future__ import annotations

import copy

import pytest
import torch

from super_selfish.data.growing import GrowingBatches, Growth, drawn_order
from super_selfish.data.loaders import EpochBatches


def batches_of(order: EpochBatches, epoch: int, step: int = 0) -> list[list[int]]:
    order.start_at(epoch, step)
    return list(order)


def growing(views: int = 4, least: int = 3, *, number: int = 12, size: int = 4) -> GrowingBatches:
    return GrowingBatches(Growth(views, least, drawn_order(number)), number, size, seed=5)


@pytest.mark.parametrize(
    ("seen", "joined"),
    [(0, 3), (15, 3), (16, 4), (19, 4), (20, 5), (47, 11), (48, 12), (10**9, 12)],
)
def test_another_image_joins_after_so_many_views(seen: int, joined: int) -> None:
    assert Growth(4, 3, drawn_order(12)).joined(seen) == joined


def test_how_soon_is_told_in_words() -> None:
    assert str(Growth(10, 1024, drawn_order(2))) == "1,024 at first, one more every 10 views"


def test_there_are_no_more_from_the_start_than_there_are() -> None:
    assert Growth(4, 300, drawn_order(12)).joined(0) == 12


def test_batches_hold_who_has_joined_and_are_as_large_as_ever() -> None:
    order, plain = growing(), EpochBatches(12, 4, seed=5)
    assert len(order) == len(plain) == 3
    for epoch in range(6):
        found, usual = batches_of(order, epoch), batches_of(plain, epoch)
        for step, batch in enumerate(found):
            joined = order.joined(epoch, step)
            assert joined == min(12, max(3, (12 * epoch + 4 * step) // 4))
            assert len(batch) == 4
            assert set(batch) <= set(drawn_order(12)[:joined].tolist())
            expected = [int(order.growth.members[p % joined]) for p in places(usual[step])]
            assert batch == (usual[step] if joined == 12 else expected)


def places(batch: list[int]) -> list[int]:
    """When each image joins."""
    members = drawn_order(12).tolist()
    return [members.index(image) for image in batch]


def test_who_has_joined_keeps_its_place_in_the_batch() -> None:
    order, plain = growing(), EpochBatches(12, 4, seed=5)
    for epoch in range(4):
        pairs = zip(batches_of(order, epoch), batches_of(plain, epoch), strict=True)
        for step, (batch, usual) in enumerate(pairs):
            there = set(drawn_order(12)[: order.joined(epoch, step)].tolist())
            kept = [(a, b) for a, b in zip(batch, usual, strict=True) if b in there]
            assert all(a == b for a, b in kept)


def test_an_epoch_that_goes_on_in_its_middle_is_the_same() -> None:
    order = growing()
    for epoch, step in ((0, 1), (1, 2), (2, 1)):
        assert batches_of(order, epoch, step) == batches_of(copy.copy(order), epoch)[step:]


def test_processes_share_the_batches_of_one() -> None:
    growth = Growth(4, 3, drawn_order(12))
    one = GrowingBatches(growth, 12, 4, seed=5)
    two = [GrowingBatches(growth, 12, 2, seed=5, rank=rank, world_size=2) for rank in range(2)]
    for epoch in range(3):
        parts = [batches_of(each, epoch) for each in two]
        both = zip(*parts, batches_of(one, epoch), strict=True)
        assert all(whole[0::2] == first and whole[1::2] == second for first, second, whole in both)


def test_all_images_are_seen_about_as_often_while_they_are_there() -> None:
    order = growing(views=10, least=5, number=100, size=10)
    seen = torch.zeros(100)
    for epoch in range(5):  # 500 views: half have joined
        for batch in batches_of(order, epoch):
            seen.index_add_(0, torch.tensor(batch), torch.ones(len(batch)))
    members = drawn_order(100)
    assert seen.sum() == 500 and int((seen > 0).sum()) <= 50
    assert 15 <= float(seen[members[:10]].mean()) <= 40  # 10 ln(50 / k) for the k-th
    assert float(seen[members[40:50]].mean()) <= 5


def test_the_order_of_joining_depends_on_the_number_alone() -> None:
    assert torch.equal(drawn_order(50), drawn_order(50))
    assert drawn_order(50).sort().values.tolist() == list(range(50))
    assert drawn_order(50).tolist() != list(range(50))
