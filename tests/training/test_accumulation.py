"""Batches of one update: what each weighs, and when what they write is written."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.training import accumulation
from super_selfish.training.accumulation import Accumulation

BATCHES = [[1.0, 5.0, 3.0, 7.0], [2.0, 8.0], [6.0]]  # the last are short


def gradient(batches: list[list[float]], several: Accumulation) -> Tensor:
    """Of the mean over all images, where an image's gradient is its number."""
    weight, unused = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
    for batch in batches:
        several.begin(len(batch), len(batches))
        several.weigh((weight * torch.tensor(batch)).mean()).backward()
    several.end_update([unused, weight])
    assert weight.grad is not None and unused.grad is None
    return weight.grad


@pytest.mark.parametrize("number", [1, 2, 3])
def test_every_image_weighs_as_much(number: int) -> None:
    batches = BATCHES[:number]
    images = [image for batch in batches for image in batch]
    several = Accumulation(4)
    for _ in range(2):  # nothing is left of the first update
        assert float(gradient(batches, several)) == pytest.approx(sum(images) / len(images))
    short = [[2.0, 8.0]]  # one batch is the mean over its own images
    assert float(gradient(short, several)) == pytest.approx(5.0)


def test_processes_with_fewer_images_weigh_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accumulation, "is_distributed", lambda: True)
    monkeypatch.setattr(accumulation, "world_size", lambda: 2)
    monkeypatch.setattr(accumulation.dist, "all_reduce", lambda number: number.add_(2.0))
    # Six images here and two there; torch has halved the sum over both processes.
    assert float(gradient(BATCHES[:2], Accumulation(4))) == pytest.approx(26 * 2 / 8)


def test_what_is_written_once_an_update_comes_when_all_batches_are_through() -> None:
    written: list[Any] = []
    several = Accumulation(4)
    several.write(written.append, torch.tensor(0))  # outside of a run
    assert written == [0]
    for number in (1, 2):
        several.begin(4, 2)
        several.write(written.append, torch.tensor(number))
        assert written == [0]
    several.end_update([])
    assert written == [0, 1, 2]
    several.end_update([])
    several.begin(4, 1)
    several.write(written.append, torch.tensor(3))
    assert written == [0, 1, 2, 3]


def test_an_update_that_is_broken_off_writes_nothing() -> None:
    written: list[Any] = []
    several = Accumulation(4)
    several.begin(4, 2)
    several.write(written.append, torch.tensor(1))
    with pytest.raises(KeyboardInterrupt), several:
        several.end_update([])  # entering has dropped what was before
        several.begin(4, 2)
        several.write(written.append, torch.tensor(2))
        raise KeyboardInterrupt
    several.end_update([])
    assert written == []
    several.write(written.append, torch.tensor(3))
    assert written == [3]


PARTS = [[3.0], [4.0, 8.0, 9.0], [1.0, 5.0]]  # of each batch, what another mean is over


def gradient_with_parts(number: int, several: Accumulation, player: str | None = None) -> float:
    """Of the mean over all images plus that over all parts, where each has its own number."""
    weight = nn.Parameter(torch.zeros(()))
    for batch, parts in list(zip(BATCHES, PARTS, strict=True))[:number]:
        several.begin(len(batch), number)
        part = (weight * torch.tensor(parts)).mean()
        several.count(len(parts), part, player)
        loss = (weight * torch.tensor(batch)).mean() + part
        assert several.set_apart(loss, [weight], lambda loss: loss, "another") is loss
        loss = several.set_apart(loss, [weight], lambda loss: loss, player)
        several.weigh(loss).backward()
    several.end_update([weight])
    assert weight.grad is not None
    return float(weight.grad)


@pytest.mark.parametrize("player", [None, "one"])
@pytest.mark.parametrize(("number", "expected"), [(1, 4 + 3), (2, 26 / 6 + 6), (3, 32 / 7 + 5)])
def test_what_a_part_is_a_mean_over_weighs_as_much_too(
    number: int, expected: float, player: str | None
) -> None:
    several = Accumulation(4)
    for _ in range(2):  # nothing is left of the first update
        assert gradient_with_parts(number, several, player) == pytest.approx(expected)


def test_a_loss_may_be_a_mean_over_something_else_than_images() -> None:
    several = Accumulation(4)
    several.count(3)  # outside of a step
    weight = nn.Parameter(torch.zeros(()))
    for labels in ([2.0], torch.tensor([5.0, 6.0, 8.0])):  # of four images each, some have labels
        several.begin(4, 2)
        several.count(torch.tensor(float(len(labels))))
        several.weigh((weight * torch.as_tensor(labels)).mean()).backward()
    several.end_update([weight])
    assert weight.grad is not None
    assert float(weight.grad) == pytest.approx(21 / 4)


def test_processes_with_fewer_labels_or_parts_weigh_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accumulation, "is_distributed", lambda: True)
    monkeypatch.setattr(accumulation, "world_size", lambda: 2)
    monkeypatch.setattr(accumulation.dist, "all_reduce", lambda number: number.add_(6.0))
    several, loss = Accumulation(4), torch.tensor(1.0)
    several.begin(4, 1)
    assert float(several.weigh(loss)) == 1.0  # every process has as many images
    several.count(2)
    assert float(several.weigh(loss)) == pytest.approx(2 * 2 / 8)
    several.end_update([])
    monkeypatch.setattr(accumulation, "share_of_images", lambda: 1.5)
    several.begin(6, 1)
    assert float(several.weigh(loss)) == 1.5
    shown = several.shown(loss)
    assert isinstance(shown, torch.Tensor) and float(shown) == 1.0  # weighed by images later
    several.begin(4, 1)
    several.count(2, torch.tensor(0.25))
    left = several.set_apart(loss, [], lambda loss: loss)
    assert float(left) == pytest.approx(0.75 + 0.25 * 2 * 2 / 8)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_of_one_process_that_is_not_finite_has_no_finite_gradient(
    bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accumulation, "is_distributed", lambda: True)
    weight = torch.tensor(2.0, requires_grad=True)
    several = Accumulation(4)
    several.begin(4, 1)
    several.weigh(3 * weight).backward()
    assert float(weight.grad) == 3.0  # type: ignore[arg-type]
    weight.grad = None
    several.begin(4, 1)
    several.weigh(3 * weight + bad).backward()
    assert math.isnan(weight.grad)  # type: ignore[arg-type]
