"""Labels that no loss can take are refused in words, when the supervisor is built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from super_selfish.supervisors import LabelSupervisor

IMAGES = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
NAN = float("nan")


@pytest.mark.parametrize("num_classes", [None, 2])
@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (torch.tensor([0.0, 1.0, 1.5, 0.0]), r"whole numbers.*float32 of 0 to 1\.5"),
        (torch.tensor([0.0, NAN, 1.0, 0.0]), "whole numbers.*NaN among others"),
        (torch.tensor([-1, 1, 1, -1]), "got -1 .*-1 to 1.*number the classes"),
        (torch.tensor([[0.0, 2.0]] * 4), r"must lie in \[0, 1\], got 0 to 2"),
        (torch.tensor([[0.0, NAN]] * 4), r"must lie in \[0, 1\], got NaN"),
    ],
)
def test_labels_that_name_no_classes(
    tiny_backbone: Callable[..., Any], labels: Any, words: str, num_classes: int | None
) -> None:
    with pytest.raises(ValueError, match=words):
        LabelSupervisor((IMAGES, labels), tiny_backbone(), num_classes=num_classes)


def test_labels_of_more_classes_than_said(tiny_backbone: Callable[..., Any]) -> None:
    data = (IMAGES, torch.tensor([0, 1, 2, 0]))
    with pytest.raises(ValueError, match=r"a label is 2, but num_classes=2 .*give num_classes=3"):
        LabelSupervisor(data, tiny_backbone(), num_classes=2)


def test_labels_that_are_text(tiny_backbone: Callable[..., Any]) -> None:
    for items in (
        [(image, "cat") for image in IMAGES],
        [{"image": image, "label": "cat"} for image in IMAGES],
    ):
        with pytest.raises(ValueError, match=r"labels are text, such as 'cat'.*number them"):
            LabelSupervisor(items, tiny_backbone())
    with pytest.raises(TypeError, match=r"labels must be numbers.*'cat'.*number the classes"):
        LabelSupervisor((IMAGES, np.array(["cat"] * 4)), tiny_backbone())


def test_labels_that_mean_something_are_taken(tiny_backbone: Callable[..., Any]) -> None:
    left_out = LabelSupervisor((IMAGES, torch.tensor([0, 1, -100, 0])), tiny_backbone())
    assert left_out.model(torch.rand(2, 3, 32, 32)).shape == (2, 2)
    soft = torch.tensor([[0.0, 0.5]] * 4)
    LabelSupervisor((IMAGES, soft), tiny_backbone())
    LabelSupervisor((IMAGES, torch.tensor([0.0, 1.0, 0.0, 1.0])), tiny_backbone(), num_classes=1)
    measured = torch.tensor([-3.5, 1.0, 2.0, 7.0])
    LabelSupervisor((IMAGES, measured), tiny_backbone(), num_classes=1, loss=nn.MSELoss())
