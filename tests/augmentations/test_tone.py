from __future__ import annotations

import pytest
import torch
import torchvision.transforms.v2.functional as reference
from torch import Tensor

from super_selfish.augmentations.tone import (
    AutoContrast,
    Equalize,
    Invert,
    RandomPosterize,
    RandomSharpness,
    RandomSolarize,
    adjust_sharpness,
    autocontrast,
    equalize,
    invert,
    posterize,
    solarize,
)


@pytest.fixture(params=[1, 3])
def pixels(request: pytest.FixtureRequest, generator: torch.Generator) -> Tensor:
    """Bytes `(7, C, 31, 26)`: random, dark, few values, nearly flat, flat, two values, black."""
    channels = request.param
    shape = (channels, 31, 26)
    full = torch.randint(0, 256, (7, *shape), generator=generator)
    full[1] //= 3
    full[2] = full[2] // 60 * 60
    full[3] = 100 + full[3] // 128
    full[4] = 77
    full[5] = torch.where(full[5] < 2, 3, 200)
    full[6] = 0
    return full.to(torch.uint8)


def as_bytes(images: Tensor) -> Tensor:
    assert torch.allclose(images * 255, (images * 255).round(), atol=1e-3)
    return (images * 255).round().to(torch.uint8)


def test_invert_agrees_with_torchvision_on_bytes(pixels: Tensor) -> None:
    assert torch.equal(as_bytes(invert(pixels / 255)), reference.invert(pixels))


def test_autocontrast_agrees_with_torchvision(pixels: Tensor) -> None:
    images = pixels / 255
    torch.testing.assert_close(autocontrast(images), reference.autocontrast(images))


def test_equalize_agrees_with_torchvision_on_bytes(pixels: Tensor) -> None:
    assert torch.equal(as_bytes(equalize(pixels / 255)), reference.equalize(pixels))


def test_equalize_rounds_to_bytes_first(pixels: Tensor) -> None:
    images = pixels / 255
    noise = (torch.arange(images.numel()).view(images.shape) % 7 - 3) / 3 * 0.4 / 255
    assert torch.equal(equalize((images + noise).clamp(0, 1)), equalize(images))


def test_solarize_agrees_with_torchvision_on_bytes(pixels: Tensor) -> None:
    thresholds = [0, 1, 64, 77, 128, 200, 255]
    expected = [reference.solarize(x, t) for x, t in zip(pixels, thresholds, strict=True)]
    result = solarize(pixels / 255, torch.tensor(thresholds) / 255)
    assert torch.equal(as_bytes(result), torch.stack(expected))


@pytest.mark.parametrize("shift", range(9))
def test_posterize_agrees_with_torchvision_on_bytes(pixels: Tensor, shift: int) -> None:
    bits = (torch.arange(7) + shift) % 9
    expected = [reference.posterize(x, b) for x, b in zip(pixels, bits.tolist(), strict=True)]
    assert torch.equal(as_bytes(posterize(pixels / 255, bits)), torch.stack(expected))


def test_sharpness_agrees_with_torchvision(pixels: Tensor) -> None:
    images = pixels / 255
    factors = torch.tensor([0.0, 0.1, 0.7, 1.0, 1.5, 1.9, 3.0])
    expected = [
        reference.adjust_sharpness(x, f) for x, f in zip(images, factors.tolist(), strict=True)
    ]
    torch.testing.assert_close(
        adjust_sharpness(images, factors), torch.stack(expected), atol=2e-6, rtol=0
    )


def test_sharpness_of_one_returns_the_image(pixels: Tensor) -> None:
    images = pixels / 255
    torch.testing.assert_close(adjust_sharpness(images, torch.ones(7)), images)


def test_sharpness_changes_nothing_without_an_inside(generator: torch.Generator) -> None:
    images = torch.rand(2, 3, 2, 9, generator=generator)
    assert torch.equal(adjust_sharpness(images, torch.zeros(2)), images)


def test_eight_bits_only_round_to_bytes(generator: torch.Generator) -> None:
    images = torch.rand(3, 3, 5, 4, generator=generator)
    assert torch.equal(posterize(images, torch.full((3,), 8)), (images * 255).round() / 255)


@pytest.mark.parametrize(
    "augmentation",
    [
        Invert(),
        AutoContrast(),
        Equalize(),
        RandomSolarize(0.0, 1.0),
        RandomPosterize(5, 8),
        RandomSharpness(0.1, 1.9),
    ],
)
def test_five_channels_work_repeatably_stay_in_range_and_leave_the_input(  # type: ignore[no-untyped-def]
    augmentation, generator
) -> None:
    images = torch.rand(4, 5, 6, 8, generator=generator)
    before = images.clone()
    views = augmentation(images, torch.Generator().manual_seed(1))
    assert torch.equal(views, augmentation(images, torch.Generator().manual_seed(1)))
    assert views.shape == images.shape
    assert views.min() >= 0
    assert views.max() <= 1
    assert torch.equal(images, before)


def test_channels_are_treated_alike(generator: torch.Generator) -> None:
    images = torch.rand(2, 5, 9, 8, generator=generator)
    for function in (autocontrast, equalize):
        single = torch.cat([function(images[:, i : i + 1]) for i in range(5)], dim=1)
        assert torch.equal(function(images), single)


def test_parameters_span_their_ranges(generator: torch.Generator) -> None:
    shape = (4000, 3, 4, 4)
    bits = RandomPosterize(5, 8).draw(shape, generator).bits
    assert bits.unique().tolist() == [5, 6, 7, 8]
    assert bits.bincount()[5:].min() > 880
    thresholds = RandomSolarize(0.2, 0.6).draw(shape, generator).thresholds
    assert 0.2 <= thresholds.min() < 0.205
    assert 0.595 < thresholds.max() <= 0.6
    assert torch.equal(
        RandomSolarize().draw((3, 3, 4, 4), generator).thresholds, torch.full((3,), 128 / 255)
    )


def test_default_solarize_inverts_from_128_on() -> None:
    images = torch.tensor([127.0, 128.0]).view(1, 1, 1, 2) / 255
    views = RandomSolarize()(images, torch.Generator())
    assert (views * 255).round().flatten().tolist() == [127, 127]


def test_wrong_parameters_are_refused(generator: torch.Generator) -> None:
    images = torch.rand(3, 3, 4, 4, generator=generator)
    with pytest.raises(ValueError, match=r"thresholds must hold one number per sample"):
        solarize(images, torch.ones(4))
    with pytest.raises(TypeError, match="bits must be integers"):
        posterize(images, torch.ones(3))
    with pytest.raises(ValueError, match=r"bits must be in 0 \.\.\. 8, got 9"):
        posterize(images, torch.full((3,), 9))
    with pytest.raises(ValueError, match="factors must be >= 0"):
        adjust_sharpness(images, -torch.ones(3))
    with pytest.raises(ValueError, match="bits need"):
        RandomPosterize(5, 9)
    with pytest.raises(ValueError, match="thresholds need"):
        RandomSolarize(0.5, 1.5)


def test_the_one_pixel_inside_of_three_by_three_is_sharpened(generator: torch.Generator) -> None:
    images = torch.rand(2, 3, 3, 3, generator=generator)
    smooth = adjust_sharpness(images, torch.zeros(2))
    box = images.sum(dim=(2, 3)) + 4 * images[:, :, 1, 1]  # weight 5 in the middle, of 13
    torch.testing.assert_close(smooth[:, :, 1, 1], box / 13)
