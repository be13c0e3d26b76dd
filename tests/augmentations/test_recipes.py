from __future__ import annotations

import pytest
import torch
from torch import Tensor

from super_selfish.augmentations.recipes import jigsaw_tile, pirl, pirl_tile


def is_gray(images: Tensor) -> Tensor:
    return (images - images.mean(dim=1, keepdim=True)).abs().amax(dim=(1, 2, 3)) < 1e-5


def test_a_jigsaw_tile_keeps_its_place_and_is_often_gray(generator: torch.Generator) -> None:
    tile = torch.rand(1, 3, 8, 8, generator=generator)
    tile[:, :, :, :4] *= 0.2  # dark on the left
    tiles = jigsaw_tile()(tile.repeat(2000, 1, 1, 1), generator)
    assert tiles.shape == (2000, 3, 8, 8)
    assert float(is_gray(tiles).float().mean()) == pytest.approx(0.3, abs=0.04)
    assert bool((tiles[..., :4].mean(dim=(1, 2, 3)) < tiles[..., 4:].mean(dim=(1, 2, 3))).all())


@pytest.mark.parametrize("channels", [1, 3])
def test_pirl_crops_its_plain_view_and_keeps_its_tiles(
    channels: int, generator: torch.Generator
) -> None:
    images = torch.rand(4, channels, 20, 24, generator=generator)
    for views in (pirl((20, 24))(images, generator), pirl_tile()(images, generator)):
        assert views.shape == images.shape
        assert 0.0 <= float(views.min()) <= float(views.max()) <= 1.0
        assert not torch.equal(views, images)
    assert pirl((32, 16))(images, generator).shape == (4, channels, 32, 16)


def test_pirl_turns_a_fifth_gray_and_flips_half_of_its_tiles(generator: torch.Generator) -> None:
    tile = torch.rand(1, 3, 8, 8, generator=generator) * 0.3 + 0.2
    tile[:, 0] += 0.1
    tiles = pirl_tile()(tile.repeat(2000, 1, 1, 1), generator)
    assert float(is_gray(tiles).float().mean()) == pytest.approx(0.2, abs=0.04)
    level = tile.mean(dim=1)  # noisy, so that a mirrored tile does not resemble it
    likeness, mirrored = (
        torch.stack([torch.corrcoef(torch.stack((x, y.flatten())))[0, 1].abs() for x in shown])
        for shown, y in ((tiles.mean(dim=1).flatten(1)[:300], z) for z in (level, level.flip(-1)))
    )
    assert float((mirrored > likeness).float().mean()) == pytest.approx(0.5, abs=0.1)
