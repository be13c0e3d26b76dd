from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from super_selfish.augmentations.halving import KERNELS, RandomHalving


def test_each_kernel_halves_as_torch_does(generator: torch.Generator) -> None:
    images = torch.rand(5, 3, 12, 20, generator=generator)
    expected = {
        "nearest": F.interpolate(images, scale_factor=0.5, mode="nearest"),
        "area": F.interpolate(images, size=(6, 10), mode="area"),
        "bilinear": F.interpolate(images, size=(6, 10), mode="bilinear", antialias=True),
        "bicubic": F.interpolate(images, size=(6, 10), mode="bicubic", antialias=True).clamp(0, 1),
    }
    assert expected.keys() == KERNELS.keys()
    for kernel, halved in expected.items():
        torch.testing.assert_close(RandomHalving([kernel])(images, generator), halved)


def test_every_image_has_a_kernel_of_its_own(generator: torch.Generator) -> None:
    images = torch.rand(1, 1, 8, 8, generator=generator).repeat(2000, 1, 1, 1)
    halving = RandomHalving()
    drawn = halving.draw((2000, 1, 8, 8), generator)
    assert (drawn.bincount(minlength=4) / 2000 - 0.25).abs().max() < 0.04
    halved = halving.apply(images, drawn)
    for number, kernel in enumerate(halving.kernels):
        assert torch.equal(halved[drawn == number], KERNELS[kernel](images[drawn == number]))
    assert len(halved.flatten(1).unique(dim=0)) == 4


def test_an_odd_side_loses_its_last_line(generator: torch.Generator) -> None:
    images = torch.rand(3, 3, 9, 12, generator=generator)
    halved = RandomHalving(["area"])(images, generator)
    assert halved.shape == (3, 3, 4, 6) == RandomHalving().output_shape((3, 3, 9, 12))
    torch.testing.assert_close(halved, F.avg_pool2d(images[:, :, :8], 2))


@pytest.mark.parametrize("kernels", [(), ("lanczos",), "area"])
def test_unknown_kernels_are_refused(kernels: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="kernels are some of nearest, area, bilinear, bicubic"):
        RandomHalving(kernels)
