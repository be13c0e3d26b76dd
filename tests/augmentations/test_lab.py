from __future__ import annotations

import pytest
import torch
from skimage.color import lab2rgb, rgb2lab
from torch import Tensor

from super_selfish.augmentations.lab import (
    lab_to_rgb,
    normalize_lab,
    rgb_to_lab,
)


@pytest.fixture
def colors(generator: torch.Generator) -> Tensor:
    """Random, dark and extreme colours, `(5, 3, 11, 16)`."""
    images = torch.rand(5, 3, 11, 16, generator=generator)
    images[1] *= 0.06  # around sRGB's straight piece
    images[2] = images[2].round()  # primaries, black and white
    images[3] = (images[3] * 255).round() / 255
    return images


def in_skimage(function, images: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
    return torch.from_numpy(function(images.double().numpy(), channel_axis=1)).float()


def test_lab_agrees_with_skimage(colors: Tensor) -> None:
    expected = in_skimage(rgb2lab, colors)
    torch.testing.assert_close(rgb_to_lab(colors), expected, atol=1e-3, rtol=0)


def test_rgb_agrees_with_skimage(colors: Tensor) -> None:
    lab = rgb_to_lab(colors)
    torch.testing.assert_close(lab_to_rgb(lab), in_skimage(lab2rgb, lab), atol=1e-4, rtol=0)


@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
def test_impossible_colors_are_clamped_as_in_skimage(generator: torch.Generator) -> None:
    lab = torch.rand(4, 3, 8, 8, generator=generator) * torch.tensor([100.0, 256, 256]).view(
        3, 1, 1
    )
    lab -= torch.tensor([0.0, 128, 128]).view(3, 1, 1)
    torch.testing.assert_close(lab_to_rgb(lab), in_skimage(lab2rgb, lab), atol=1e-4, rtol=0)


def test_there_and_back_is_the_identity(colors: Tensor) -> None:
    torch.testing.assert_close(lab_to_rgb(rgb_to_lab(colors)), colors, atol=1e-4, rtol=0)


def test_gray_has_no_color_and_white_is_one_hundred() -> None:
    gray = torch.linspace(0, 1, 8).view(1, 1, 2, 4).repeat(1, 3, 1, 1)
    lab = rgb_to_lab(gray)
    assert lab[0, 0, 0, 0].item() == pytest.approx(0.0, abs=1e-4)
    assert lab[0, 0, 1, 3].item() == pytest.approx(100.0, abs=1e-3)
    assert lab[:, 1:].abs().max() < 0.02  # the published matrix and white point differ by that


def test_normalized_lab_spans_minus_one_to_one_over_all_of_srgb() -> None:
    steps = torch.linspace(0, 1, 18)
    cube = torch.cartesian_prod(steps, steps, steps).T.reshape(1, 3, 18, 18 * 18)
    normalized = normalize_lab(rgb_to_lab(cube))
    torch.testing.assert_close(normalized.amin((0, 2, 3)), -torch.ones(3), atol=2e-3, rtol=0)
    torch.testing.assert_close(normalized.amax((0, 2, 3)), torch.ones(3), atol=2e-3, rtol=0)


def test_both_directions_are_differentiable(generator: torch.Generator) -> None:
    images = torch.rand(1, 3, 2, 3, generator=generator, dtype=torch.float64) * 0.8 + 0.1
    lab = rgb_to_lab(images).requires_grad_()
    assert torch.autograd.gradcheck(rgb_to_lab, images.requires_grad_())
    assert torch.autograd.gradcheck(lab_to_rgb, lab)


def test_autocast_and_half_precision_inputs_are_converted_in_float32(colors: Tensor) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = rgb_to_lab(colors)
    assert torch.equal(inside, rgb_to_lab(colors))
    assert rgb_to_lab(colors.half()).dtype == torch.float32


def test_chunks_do_not_matter(colors: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rgb_to_lab(colors)
    monkeypatch.setattr("super_selfish.augmentations.chunks.PIXELS_PER_CHUNK", 2 * 11 * 16)
    torch.testing.assert_close(rgb_to_lab(colors), whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 1, 4, 4),
        torch.zeros(3, 4, 4),
        torch.zeros(2, 3, 4, 4, dtype=torch.uint8),
    ],
)
def test_other_than_float_rgb_is_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected float RGB images \[B, 3, H, W\]"):
        rgb_to_lab(images)
