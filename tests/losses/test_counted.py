"""What a loss of classes is a mean over, by the loss itself: mean times number is the sum."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.losses.counted import counted

WEIGHT = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64)
MASKS = torch.tensor([[[0, 1], [2, 255]], [[255, 255], [255, 1]]])  # (2, 2, 2)


@pytest.mark.parametrize("kind", [nn.CrossEntropyLoss, nn.NLLLoss])
@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("targets", [torch.tensor([0, 2, 255, 1]), MASKS])
def test_the_mean_times_what_counts_is_the_sum(
    kind: Any, weight: Tensor | None, targets: Tensor
) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (len(targets), 3, *targets.shape[1:])
    outputs = torch.randn(shape, generator=generator, dtype=torch.float64).log_softmax(1)
    options: dict[str, Any] = {"weight": weight, "ignore_index": 255}
    mean = kind(**options)
    number = counted(mean, outputs, targets)
    assert number is not None and number.dtype == torch.float64
    total = kind(**options, reduction="sum")(outputs, targets)
    of_an_image = targets.numel() / len(targets)
    torch.testing.assert_close(mean(outputs, targets) * number * of_an_image, total)


def test_of_a_single_class_what_is_left_out_counts_nothing() -> None:
    loss = nn.CrossEntropyLoss(weight=torch.tensor([2.0]), ignore_index=255)
    assert counted(loss, torch.randn(3, 1), torch.tensor([0, 255, 0])) == 4


def test_images_count_alike_where_nothing_else_is_known() -> None:
    class Mine(nn.CrossEntropyLoss):
        """May do anything."""

    outputs, targets = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    assert counted(nn.CrossEntropyLoss(), outputs, targets) == 4
    for loss in (Mine(), nn.MSELoss(), nn.CrossEntropyLoss(reduction="sum"), None):
        assert counted(loss, outputs, targets) is None
    for odd in (targets.double(), targets[:0], [0, 1, 2, 0]):
        assert counted(nn.CrossEntropyLoss(), outputs, odd) is None
