from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from super_selfish.augmentations import compiled as switch
from super_selfish.augmentations import recipes as recipe_book
from super_selfish.augmentations.base import Augmentation
from super_selfish.augmentations.color import ColorMatrix, shift_hue, transform_linearly
from super_selfish.augmentations.compiled import compiled_augmentation, is_wanted
from super_selfish.augmentations.filters import gaussian_blur
from super_selfish.augmentations.lab import lab_to_rgb, rgb_to_lab
from super_selfish.augmentations.one_pass import jitter_in_one_pass
from super_selfish.augmentations.recipes import cpc_v2

ROUNDING = 4e-6  # hue divides by what may be small


@pytest.fixture(params=["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(switch, "BACKEND", request.param)
    return str(request.param)


def recipes(size: tuple[int, int]) -> dict[str, Augmentation]:
    return {
        "moco": recipe_book.moco_v2(size),
        "simclr": recipe_book.simclr(size),
        "byol, view 1": recipe_book.byol(size, 1),
        "byol, view 2": recipe_book.byol(size, 2),
        "jigsaw": recipe_book.jigsaw_tile(),
        "pirl": recipe_book.pirl(size),
        "cpc": cpc_v2(size),
        "cpc, paper": cpc_v2(size, paper=True),
    }


@pytest.mark.parametrize(
    ("height", "width"), [(40, 56), pytest.param(225, 96, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", recipes((32, 32)))
def test_compiled_views_are_the_plain_ones(
    name: str, height: int, width: int, backend: str, generator: torch.Generator
) -> None:
    recipe = recipes((height, width))[name]
    coarse = torch.rand(5, 3, 6, 6, generator=generator)
    images = nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    parameters = recipe.draw((5, 3, height, width), generator)
    plain = recipe.apply(images, parameters)
    with compiled_augmentation():
        fast = recipe.apply(images, parameters)
    # Posterise, solarise and equalise have steps: a pixel on an edge may fall to the other side.
    is_far = (fast - plain).abs() > ROUNDING
    assert is_far.float().mean() < 2e-3
    if "cpc" not in name and name not in ("pirl", "byol, view 2"):
        assert not is_far.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_formula_for_the_compiler_is_the_one_in_place(
    dtype: torch.dtype, generator: torch.Generator
) -> None:
    images = torch.rand(64, 3, 16, 16, generator=generator, dtype=dtype)
    images[0] = 0.5  # gray has no hue
    images[1, 1:] = 0.0
    images[2, 1] = images[2, 2]
    factors = torch.rand(64, generator=generator, dtype=dtype) * 2
    before = ColorMatrix.identity(64, 3).brightness(factors).contrast(1 / (0.5 + factors))
    after = ColorMatrix.identity(64, 3).saturation(factors.flip(0))
    maps = [m.coefficients.T.to(dtype) for m in (before, after)]
    shifts = torch.rand(64, generator=generator, dtype=dtype) - 0.5
    expected = transform_linearly(images, maps[0])
    expected = shift_hue(expected, shifts)
    expected = transform_linearly(expected, maps[1])
    result = jitter_in_one_pass(images, maps[0], shifts, maps[1])
    torch.testing.assert_close(result, expected, atol=10 * torch.finfo(dtype).eps, rtol=0)


@pytest.mark.parametrize("taps", [3, 7, 23])
def test_compiled_blur_is_the_plain_blur(
    taps: int, backend: str, generator: torch.Generator
) -> None:
    images = torch.rand(3, 3, 40, 33, generator=generator)
    sigmas = torch.tensor([0.1, 1.0, 2.0])
    expected = gaussian_blur(images, sigmas, taps)
    with compiled_augmentation():
        torch.testing.assert_close(gaussian_blur(images, sigmas, taps), expected)


def test_compiled_lab_is_the_plain_one_and_back(backend: str, generator: torch.Generator) -> None:
    images = torch.rand(3, 3, 17, 33, generator=generator)
    with compiled_augmentation():
        lab = rgb_to_lab(images)
        torch.testing.assert_close(lab, rgb_to_lab_plain(images), atol=2e-4, rtol=0)
        torch.testing.assert_close(lab_to_rgb(lab), images, atol=1e-5, rtol=0)


def rgb_to_lab_plain(images: Tensor) -> Tensor:
    with compiled_augmentation(False):
        return rgb_to_lab(images)


def test_the_switch_goes_back_even_after_an_error() -> None:
    assert not is_wanted()
    with pytest.raises(KeyError), compiled_augmentation():
        assert is_wanted()
        with compiled_augmentation(False):
            assert not is_wanted()
        assert is_wanted()
        raise KeyError
    assert not is_wanted()
