from __future__ import annotations

import pytest
import torch
from torch import nn

from super_selfish.augmentations.compiled import compiled_augmentation
from super_selfish.augmentations.filters import gaussian_blur
from super_selfish.augmentations.lab import rgb_to_lab
from tests.augmentations.test_compiled import recipes

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator"),
]


@pytest.mark.parametrize("is_compiled", [False, True])
@pytest.mark.parametrize("name", recipes((32, 32)))
def test_an_accelerator_makes_the_views_of_the_cpu(
    name: str, is_compiled: bool, generator: torch.Generator
) -> None:
    recipe = recipes((96, 80))[name]
    coarse = torch.rand(16, 3, 8, 8, generator=generator)
    images = nn.functional.interpolate(coarse, size=(96, 80), mode="bilinear")
    parameters = recipe.draw((16, 3, 96, 80), generator)
    expected = recipe.apply(images, parameters)
    with compiled_augmentation(is_compiled):
        result = recipe.apply(images.to("cuda"), parameters).cpu()
    # Steps (posterise, solarise, equalise) put a pixel on an edge to one side or the other.
    assert ((result - expected).abs() > 2e-3).float().mean() < 5e-3


def test_an_accelerator_blurs_and_converts_alike(generator: torch.Generator) -> None:
    images = torch.rand(4, 3, 64, 64, generator=generator)
    sigmas = torch.tensor([0.1, 0.5, 1.0, 2.0])
    for taps in (3, 23):
        result = gaussian_blur(images.to("cuda"), sigmas, taps).cpu()
        torch.testing.assert_close(result, gaussian_blur(images, sigmas, taps), atol=1e-3, rtol=0)
    lab = rgb_to_lab(images.to("cuda")).cpu()
    torch.testing.assert_close(lab, rgb_to_lab(images), atol=1e-2, rtol=1e-4)
