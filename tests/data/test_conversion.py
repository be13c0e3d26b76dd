"""Images are picked from many in the layout that they have."""

from __future__ import annotations

import pytest
import torch

from super_selfish.data.conversion import select_images


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [1, 3])
def test_picked_images_have_the_layout_of_all(
    dtype: torch.dtype, layout: torch.memory_format, channels: int
) -> None:
    images = (1000 * torch.rand(5, channels, 4, 6)).to(dtype).contiguous(memory_format=layout)
    picked = select_images(images, torch.tensor([3, 0, 3]))
    assert picked.tolist() == [images[place].tolist() for place in (3, 0, 3)]
    assert picked.is_contiguous(memory_format=layout)


def test_of_gray_images_without_channels_some_are_picked() -> None:
    images = torch.rand(5, 4, 6)
    assert torch.equal(select_images(images, torch.tensor([4, 1])), images[[4, 1]])
