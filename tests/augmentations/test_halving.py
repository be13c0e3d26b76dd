from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from super_selfish.augmentations.halving import KERNELS, RandomHalving


def by_pillow(images: torch.Tensor) -> torch.Tensor:
    """Lanczos' kernel of another library, channel by channel in float."""
    sides, halved = (images.shape[2] // 2, images.shape[3] // 2), []
    for channel in images.flatten(0, 1):
        picture = Image.fromarray(channel.numpy(), mode="F")
        small = picture.resize(
            (images.shape[3] // 2, images.shape[2] // 2), Image.Resampling.LANCZOS
        )
        halved.append(torch.from_numpy(np.array(small)))
    sides = (images.shape[2] // 2, images.shape[3] // 2)
    return torch.stack(halved).view(*images.shape[:2], *sides).clamp(0, 1)


def test_each_kernel_halves_as_torch_or_pillow_does(generator: torch.Generator) -> None:
    images = torch.rand(5, 3, 12, 20, generator=generator)
    expected = {
        "nearest": F.interpolate(images, scale_factor=0.5, mode="nearest"),
        "area": F.interpolate(images, size=(6, 10), mode="area"),
        "bilinear": F.interpolate(images, size=(6, 10), mode="bilinear", antialias=True),
        "bicubic": F.interpolate(images, size=(6, 10), mode="bicubic", antialias=True).clamp(0, 1),
        "lanczos": by_pillow(images),
    }
    assert expected.keys() == KERNELS.keys()
    for kernel, halved in expected.items():
        torch.testing.assert_close(RandomHalving([kernel])(images, generator), halved)


def test_every_image_has_a_kernel_of_its_own(generator: torch.Generator) -> None:
    images = torch.rand(1, 1, 8, 8, generator=generator).repeat(2000, 1, 1, 1)
    halving = RandomHalving()
    drawn = halving.draw((2000, 1, 8, 8), generator)
    assert (drawn.bincount(minlength=5) / 2000 - 0.2).abs().max() < 0.04
    halved = halving.apply(images, drawn)
    for number, kernel in enumerate(halving.kernels):
        assert torch.equal(halved[drawn == number], KERNELS[kernel](images[drawn == number]))
    assert len(halved.flatten(1).unique(dim=0)) == 5


def test_an_odd_side_loses_its_last_line(generator: torch.Generator) -> None:
    images = torch.rand(3, 3, 9, 12, generator=generator)
    halved = RandomHalving(["area"])(images, generator)
    assert halved.shape == (3, 3, 4, 6) == RandomHalving().output_shape((3, 3, 9, 12))
    torch.testing.assert_close(halved, F.avg_pool2d(images[:, :, :8], 2))


@pytest.mark.parametrize("kernels", [(), ("lanczos3",), "area"])
def test_unknown_kernels_are_refused(kernels: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"kernels are some of nearest, .*, lanczos, got"):
        RandomHalving(kernels)
