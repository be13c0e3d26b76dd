"""Pictures of images of any number of channels."""

from __future__ import annotations

import pytest
import torch

from super_selfish.data.pictures import picture


@pytest.mark.parametrize(
    ("channels", "shown"), [(1, [0, 0, 0]), (2, [0, 0, 0]), (3, [0, 1, 2]), (5, [0, 1, 2])]
)
def test_less_than_three_channels_are_gray_and_of_more_the_first_three_are_shown(
    channels: int, shown: list[int]
) -> None:
    image = torch.rand(channels, 4, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(picture(image, "").image, image[shown])
