"""How much a figure hangs on each test image, against the figure itself with a weight changed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from super_selfish.evaluation.influences import (
    average_precision_influences,
    balanced_accuracy_influences,
    mean_average_precision_influences,
    mean_iou_influences,
    ratio_influences,
    share_influences,
)
from super_selfish.evaluation.metrics import (
    average_precision,
    balanced_accuracy,
    confusion_matrix,
    mean_average_precision,
    mean_iou,
    pixel_accuracy,
)

ROWS = 12


def counted(values: Tensor, number: int, times: int) -> Tensor:
    """All rows a thousand times, one of them so many times more."""
    counts = torch.full((len(values),), 1000)
    counts[number] += times
    return values.repeat_interleave(counts, dim=0)


def test_of_a_share_it_is_what_is_above_it() -> None:
    found = share_influences(torch.tensor([True, False, True, True]))
    assert found.tolist() == [0.25, -0.75, 0.25, 0.25]


@pytest.mark.parametrize("levels", [4, 10**6])  # with and without equal scores
def test_of_average_precision_it_is_the_derivative(generator: torch.Generator, levels: int) -> None:
    is_positive = (torch.arange(ROWS) % 3 == 0).long()
    scores = (levels * torch.rand(ROWS, generator=generator)).floor()
    found = average_precision_influences(scores, is_positive)
    assert found.sum().item() == pytest.approx(0.0, abs=1e-9)
    for number in range(ROWS):
        up, down = (
            average_precision(counted(scores, number, step), counted(is_positive, number, step))
            for step in (1, -1)
        )
        assert found[number].item() == pytest.approx(ROWS * (up - down) / 0.002, abs=1e-4)


def test_of_several_classes_it_is_the_mean_over_those_that_there_are(
    generator: torch.Generator,
) -> None:
    labels = (torch.rand(ROWS, 3, generator=generator) < 0.4).long()
    labels[:, 1] = 0
    scores = torch.rand(ROWS, 3, generator=generator)
    found = mean_average_precision_influences(scores, labels)
    up, down = (
        mean_average_precision(counted(scores, 5, step), counted(labels, 5, step))
        for step in (1, -1)
    )
    assert found[5].item() == pytest.approx(ROWS * (up - down) / 0.002, abs=1e-4)


def test_of_balanced_accuracy_it_is_the_derivative_with_the_variance_of_few() -> None:
    labels = torch.tensor([0] * 8 + [1] * 3 + [2])
    predictions = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0])
    found = balanced_accuracy_influences(predictions, labels)
    for number, size in ((0, 8), (6, 8), (8, 3), (10, 3)):
        up, down = (
            balanced_accuracy(counted(predictions, number, step), counted(labels, number, step))
            for step in (1, -1)
        )
        derivative = ROWS * (up - down) / 0.002
        factor = (size / (size - 1)) ** 0.5
        assert found[number].item() == pytest.approx(factor * derivative, abs=1e-4)
    assert found[11].item() == pytest.approx(ROWS / 3 * (0 - 7 / 12))  # alone: against all


def test_the_variance_is_that_of_a_bootstrap_over_images(generator: torch.Generator) -> None:
    labels = (torch.rand(150, 4, generator=generator) < 0.3).long()
    scores = labels + torch.randn(150, 4, generator=generator)
    draws = [torch.randint(150, (150,), generator=generator) for _ in range(400)]
    drawn = torch.tensor([mean_average_precision(scores[rows], labels[rows]) for rows in draws])
    influences = mean_average_precision_influences(scores, labels)
    expected = (influences.square().mean() / 150).sqrt().item()
    assert drawn.std().item() == pytest.approx(expected, rel=0.12)


def test_of_masks_it_is_the_derivative_by_whole_images(generator: torch.Generator) -> None:
    masks = torch.randint(0, 3, (ROWS, 20), generator=generator)
    predicted = torch.where(torch.rand(ROWS, 20, generator=generator) < 0.6, masks, 3 - masks)
    classes = torch.arange(4)  # the last is only ever predicted
    hits, true, found = (
        torch.stack([(rows[:, None] == classes).sum(dim=0) for rows in of_image])
        for of_image in (masks.where(masks == predicted, -1), masks, predicted)
    )
    ious = mean_iou_influences(hits, true + found - hits, true.any(dim=0))
    shares = ratio_influences(hits.sum(dim=1), true.sum(dim=1))
    assert ious.sum().item() == pytest.approx(0.0, abs=1e-9)
    for number in range(ROWS):
        up, down = (
            confusion_matrix(
                counted(predicted, number, step).flatten(),
                counted(masks, number, step).flatten(),
                classes,
            )
            for step in (1, -1)
        )
        step = ROWS / 0.002
        assert ious[number].item() == pytest.approx(
            step * (mean_iou(up) - mean_iou(down)), abs=1e-4
        )
        change = pixel_accuracy(up) - pixel_accuracy(down)
        assert shares[number].item() == pytest.approx(step * change, abs=1e-4)
