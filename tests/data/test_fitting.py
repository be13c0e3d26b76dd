"""Images are brought to a number of channels where that is clear, and else refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from super_selfish.data.fitting import fit_channels


def test_gray_is_repeated_and_colours_have_the_luminance_of_pil() -> None:
    image = torch.randint(256, (3, 9, 7), dtype=torch.uint8)
    gray = torch.from_numpy(np.array(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L")))
    assert torch.equal(fit_channels(image, 1), gray[None])
    assert torch.equal(fit_channels(gray[None], 3), gray.expand(3, 9, 7))
    assert fit_channels(image, 3) is image
    shares = fit_channels(torch.eye(3).view(3, 3, 1), 1).flatten()
    torch.testing.assert_close(shares, torch.tensor([0.299, 0.587, 0.114]))


@pytest.mark.parametrize(
    ("channels", "wanted"), [(1, 2), (1, 4), (2, 1), (2, 3), (3, 2), (3, 4), (4, 1), (4, 3)]
)
def test_other_steps_are_refused(channels: int, wanted: int) -> None:
    with pytest.raises(ValueError, match=rf"cannot turn {channels} channels? into {wanted} \(only"):
        fit_channels(torch.zeros(channels, 8, 8), wanted)
