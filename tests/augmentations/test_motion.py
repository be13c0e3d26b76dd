from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.augmentations.motion import block_flow, moving_parts, without_camera


def texture(height: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // 3, width // 3, generator=generator)
    return F.interpolate(coarse, size=(height, width), mode="bilinear")


def pair(camera: tuple[int, int], own: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Frames of 48x64 with an object of 16x16, how the camera and the object go on, and where."""
    world, thing = texture(80, 96, 0), texture(16, 16, 1)
    frames = []
    for step in (0, 1):
        top, left = 16 - step * camera[0], 16 - step * camera[1]
        frame = world[..., top : top + 48, left : left + 64].clone()
        row, column = 16 + step * (camera[0] + own[0]), 24 + step * (camera[1] + own[1])
        frame[..., row : row + 16, column : column + 16] = thing
        frames.append(frame)
    mask = torch.zeros(1, 1, 48, 64, dtype=torch.bool)
    mask[..., 16:32, 24:40] = True
    return frames[0], frames[1], mask


@pytest.mark.parametrize("camera", [(0, 0), (2, -3), (-4, 1)])
def test_blocks_are_found_again(camera: tuple[int, int]) -> None:
    first, second, _ = pair(camera, (2, 4))
    cells = block_flow(first, second) * 48
    inner = cells[0, :, 20:28, 28:36].flatten(1).median(dim=1).values
    around = cells[0, :, 6:12, 6:58].flatten(1).median(dim=1).values
    assert inner.tolist() == [camera[0] + 2, camera[1] + 4]
    assert around.tolist() == list(camera)


@pytest.mark.parametrize("camera", [(0, 0), (2, -3), (-4, 1)])
def test_what_moves_by_itself_is_found_whatever_the_camera_does(camera: tuple[int, int]) -> None:
    first, second, mask = pair(camera, (2, 4))
    motion = moving_parts(first, second)
    found = motion.share > 0.7
    overlap = (found & mask).sum() / (found | mask).sum()
    assert overlap > 0.4  # blocks blur the outline
    assert motion.is_usable.tolist() == [True]
    assert motion.share.min() >= 0 and motion.share.max() <= 1
    assert (motion.share[~mask] < 0.4).float().mean() > 0.85


@pytest.mark.parametrize("camera", [(0, 0), (3, -2)])
def test_where_nothing_moves_by_itself_a_pair_is_no_use(camera: tuple[int, int]) -> None:
    world = texture(80, 96, 0)
    first = world[..., 16:64, 16:80]
    second = world[..., 16 - camera[0] : 64 - camera[0], 16 - camera[1] : 80 - camera[1]]
    assert moving_parts(first, second).is_usable.tolist() == [False]


def test_a_pair_in_which_nearly_all_moves_is_no_use() -> None:
    first, second, _ = pair((0, 0), (2, 4))
    assert moving_parts(first, second, bounds=(0.0, 0.01)).is_usable.tolist() == [False]


def test_a_camera_that_turns_and_nears_leaves_nothing() -> None:
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, 20), torch.linspace(-1, 1, 30), indexing="ij"
    )
    camera = torch.stack([0.1 + 0.2 * rows - 0.1 * columns, -0.05 + 0.1 * rows + 0.2 * columns])
    assert without_camera(camera[None]).abs().max() < 1e-5
    moving = camera.clone()
    moving[0, 5:10, 5:15] += 0.5
    left = without_camera(moving[None])[0]
    expected = torch.zeros(2, 20, 30)
    expected[0, 5:10, 5:15] = 0.5
    torch.testing.assert_close(left, expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("size", [(32, 32), (40, 96), (200, 120)])
def test_any_size_and_channels(channels: int, size: tuple[int, int]) -> None:
    first, second = torch.rand(2, 2, channels, *size)
    motion = moving_parts(first, second)
    assert motion.share.shape == (2, 1, *size)
    assert motion.share.isfinite().all()


def test_a_flow_of_ones_own_takes_the_place_of_blocks() -> None:
    flow = torch.zeros(1, 2, 12, 16)
    flow[:, 1, 4:8, 6:10] = 0.1
    first = torch.rand(1, 3, 48, 64)
    motion = moving_parts(first, first, lambda first, second: flow)
    assert motion.is_usable.tolist() == [True]
    assert motion.share[0, 0, 20:28, 28:36].min() > 0.7
    assert motion.share[0, 0, :8].max() < 1e-4


@pytest.mark.parametrize(("way", "is_usable"), [(0.019, False), (0.023, True)])
def test_less_than_a_fiftieth_of_the_shorter_side_is_no_motion(way: float, is_usable: bool) -> None:
    flow = torch.zeros(1, 2, 12, 16)
    flow[:, 1, 4:8, 6:10] = way
    first = torch.rand(1, 3, 48, 64)
    assert moving_parts(first, first, lambda first, second: flow).is_usable.tolist() == [is_usable]
