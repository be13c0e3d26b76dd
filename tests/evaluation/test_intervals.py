"""Intervals of differences: by hand where they are small, and true as often as they say."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from super_selfish.evaluation.influences import (
    balanced_accuracy_influences,
    mean_average_precision_influences,
)
from super_selfish.evaluation.intervals import Interval, Measured, difference
from super_selfish.evaluation.knn import knn_scores
from super_selfish.evaluation.metrics import balanced_accuracy, mean_average_precision


def answered(is_right: Tensor) -> Measured:
    """Accuracies of answers `[E, M]`."""
    counts = is_right.double()
    values = counts.mean(dim=1)
    return Measured(values, counts - values[:, None])


def test_one_draw_by_hand() -> None:
    """Nine of ten images alike, 100 images: 8 for the one network, 2 for the other."""
    first, second = torch.zeros(2, 1, 100, dtype=torch.bool)
    first[0, :48], second[0, 8:50] = True, True
    found = difference(answered(first), answered(second))
    squares = 8 * 0.94**2 + 2 * 1.06**2 + 90 * 0.06**2
    reach = 1.98422 * ((squares + 2) / 102**2) ** 0.5  # Student's t, 99 degrees of freedom
    assert found == pytest.approx((0.06, 0.06 - reach, 0.06 + reach), abs=1e-5)


def test_two_draws_by_hand() -> None:
    """The images that both draws share are seen in the products of one draw with the other."""
    first = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 1]])
    second = torch.tensor([[0, 1, 0, 0], [0, 1, 0, 0]])
    found = difference(answered(first), answered(second))
    one, two = [0.5, -0.5, 0.5, -0.5], [0.5, -0.5, -0.5, 0.5]  # influences on the difference
    shared = sum(a * b for a, b in zip(one, two, strict=True))
    reach = (3.18245**2 * (shared + 2) / 36 + 0.0) ** 0.5  # both draws differ by 0.5
    assert found == pytest.approx((0.5, 0.5 - reach, 0.5 + reach), abs=1e-5)
    third = Measured(torch.tensor([0.25, 0.0]), answered(second).influences)
    wide = difference(answered(first), third)
    draws = 12.7062**2 * 0.5 * (0.5 - 0.75) ** 2 / 2  # variance of two, by two; one degree
    assert wide.high - wide.value == pytest.approx((reach**2 + draws) ** 0.5, abs=1e-4)


def test_networks_that_answer_alike_are_not_known_to_be_alike_everywhere() -> None:
    same = answered(torch.ones(1, 48))
    found = difference(same, same)
    assert found == pytest.approx((0.0, -2.01174 * 2**0.5 / 50, 2.01174 * 2**0.5 / 50), abs=1e-6)
    assert not found.is_told


def test_it_is_the_same_the_other_way_round(generator: torch.Generator) -> None:
    first, second = (answered(torch.rand(3, 40, generator=generator) < p) for p in (0.4, 0.8))
    there, back = difference(second, first), difference(first, second)
    assert there == pytest.approx((-back.value, -back.high, -back.low))
    assert there.is_told and back.is_told


def test_it_is_written_in_points() -> None:
    assert str(Interval(0.031, 0.012, 0.05)) == "+3.1 [+1.2, +5.0]"
    assert str(Interval(-0.031, -0.1, 0.0)) == "−3.1 [−10.0, +0.0]"  # noqa: RUF001
    assert [Interval(0.1, low, 0.2).is_told for low in (0.0, 1e-9)] == [False, True]


def test_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"same draws and test images, got \[1, 3\] and \[1, 4\]"):
        difference(answered(torch.ones(1, 3)), answered(torch.ones(1, 4)))


def share_that_hold_zero(draw: Callable[[], tuple[Measured, Measured]], times: int) -> float:
    found = [difference(*draw()) for _ in range(times)]
    return sum(not interval.is_told for interval in found) / times


@pytest.mark.parametrize("images", [50, 400])
@pytest.mark.parametrize("alike", [0.2, 0.8])
def test_equal_networks_are_found_within_noise_in_95_of_100_cases(
    generator: torch.Generator, images: int, alike: float
) -> None:
    def draw() -> tuple[Measured, Measured]:
        common = torch.rand(images, generator=generator)
        own = torch.rand(2, 1, images, generator=generator)
        first, second = alike * common + (1 - alike) * own > 0.5
        return answered(first), answered(second)

    assert 0.93 <= share_that_hold_zero(draw, 600) <= 0.985


@pytest.mark.parametrize("draws", [2, 5])
def test_also_where_every_draw_errs_by_itself(generator: torch.Generator, draws: int) -> None:
    def draw() -> tuple[Measured, Measured]:
        shifts = 0.1 * torch.randn(2, draws, 1, generator=generator)
        first, second = torch.rand(2, draws, 200, generator=generator) + shifts > 0.5
        return answered(first), answered(second)

    assert 0.93 <= share_that_hold_zero(draw, 600) <= 0.99


def test_also_by_balanced_accuracy_with_rare_classes(generator: torch.Generator) -> None:
    def measured(labels: Tensor) -> Measured:
        is_right = torch.rand(len(labels), generator=generator) < 0.6
        predictions = torch.where(is_right, labels, labels + 1)
        value = torch.tensor([balanced_accuracy(predictions, labels)], dtype=torch.float64)
        return Measured(value, balanced_accuracy_influences(predictions, labels)[None])

    def draw() -> tuple[Measured, Measured]:
        weights = torch.linspace(0.2, 3.0, 8).square()
        labels = torch.multinomial(weights, 80, replacement=True, generator=generator)
        return measured(labels), measured(labels)

    assert 0.92 <= share_that_hold_zero(draw, 500) <= 0.98


def test_also_by_mean_average_precision(generator: torch.Generator) -> None:
    def measured(labels: Tensor) -> Measured:
        scores = labels + torch.randn(labels.shape, generator=generator)
        value = torch.tensor([mean_average_precision(scores, labels)], dtype=torch.float64)
        return Measured(value, mean_average_precision_influences(scores, labels)[None])

    def draw() -> tuple[Measured, Measured]:
        labels = (torch.rand(100, 3, generator=generator) < 0.2).long()
        return measured(labels), measured(labels)

    assert 0.91 <= share_that_hold_zero(draw, 200) <= 0.99


def test_two_untrained_networks_differ_by_what_very_many_images_say() -> None:
    """The difference on 20,000 images is held by the intervals of 95 of 100 sets of 200."""
    generator = torch.Generator().manual_seed(5)

    def images(number: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(3, (number,), generator=generator)
        pixels = torch.rand(number, 3, 8, 8, generator=generator)
        pixels[torch.arange(number), labels] += 0.15
        return pixels, labels

    def answers(seed: int) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = nn.Sequential(nn.Conv2d(3, 12, 3), nn.ReLU(), nn.AvgPool2d(6), nn.Flatten())
        with torch.no_grad():
            known, tested = network(train[0]), network(test[0])
        votes = knn_scores(known, train[1], tested, k=5)
        return (votes.classes[votes.scores.argmax(dim=1)] == test[1])[None]

    train, test = images(60), images(20_000)
    first, second = answers(0), answers(1)
    true = (first.double() - second.double()).mean().item()
    held = 0
    for _ in range(300):
        chosen = torch.randint(20_000, (200,), generator=generator)
        found = difference(answered(first[:, chosen]), answered(second[:, chosen]))
        held += found.low <= true <= found.high
    assert 0.93 <= held / 300 <= 0.98
