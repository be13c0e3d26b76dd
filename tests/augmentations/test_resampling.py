from __future__ import annotations

import math

import pytest
import torch
import torchvision.transforms.v2.functional as tv
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import RandomResizedCrop as TorchvisionCrop

from super_selfish.augmentations import resampling
from super_selfish.augmentations.crops import RandomCrop, RandomHorizontalFlip, crop
from super_selfish.augmentations.resampling import (
    RandomResizedCrop,
    horizontal_flip,
    resize,
    resized_crop,
)
from tests.references import largest_uniform_deviation

BOXES = torch.tensor(
    [[0, 0, 40, 56], [3, 5, 20, 11], [39, 55, 1, 1], [10, 0, 30, 56], [7, 9, 12, 47]],
    dtype=torch.float32,
)
FLIP = torch.tensor([False, True, False, True, False])
INTERPOLATION = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
}


def torchvision_crops(images: torch.Tensor, size: tuple[int, int], mode: str) -> torch.Tensor:
    views = []
    for image, box, flip in zip(images, BOXES.int().tolist(), FLIP, strict=True):
        view = tv.resized_crop(image, *box, list(size), INTERPOLATION[mode], antialias=True)
        views.append(view.flip(-1) if flip else view)
    return torch.stack(views).clamp(0, 1)


@pytest.fixture(params=["batched", "one by one"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "LARGE", 10_000 if request.param == "batched" else 0)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(24, 24), (17, 64)])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_resized_crop_agrees_with_torchvision(
    mode: resampling.Mode, size: tuple[int, int], channels: int, generator: torch.Generator
) -> None:
    images = torch.rand(5, channels, 40, 56, generator=generator)
    expected = torchvision_crops(images, size, mode)
    actual = resized_crop(images, BOXES, size, FLIP, mode)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_uint8_agrees_with_float(mode: resampling.Mode, generator: torch.Generator) -> None:
    images = torch.randint(0, 256, (5, 3, 40, 56), dtype=torch.uint8, generator=generator)
    expected = torchvision_crops(images.float() / 255, (24, 30), mode)
    actual = resized_crop(images, BOXES, (24, 30), FLIP, mode)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, expected, atol=1.5 / 255, rtol=0)


def test_both_paths_take_a_large_uint8_image(generator: torch.Generator) -> None:
    images = torch.randint(0, 256, (2, 3, 120, 100), dtype=torch.uint8, generator=generator)
    boxes = torch.tensor([[0.0, 0.0, 120.0, 100.0], [5.0, 6.0, 70.0, 80.0]])
    fast = resized_crop(images, boxes, 50)
    exact = resized_crop(images.float() / 255, boxes, 50)
    torch.testing.assert_close(fast, exact, atol=1.5 / 255, rtol=0)


def test_a_crop_between_pixels_of_a_ramp_has_the_mean_of_its_box() -> None:
    ramp = (torch.arange(64.0) / 64).expand(1, 1, 64, 64)
    box = torch.tensor([[0.0, 16.5, 64.0, 24.0]])
    mean = resized_crop(ramp, box, (1, 1))
    torch.testing.assert_close(mean.item(), (16.5 + 12 - 0.5) / 64, atol=0.5 / 64, rtol=0)


def test_without_antialias_agrees_with_interpolate(generator: torch.Generator) -> None:
    images = torch.rand(2, 3, 40, 30, generator=generator)
    whole = torch.tensor([[0.0, 0.0, 40.0, 30.0]]).expand(2, 4)
    expected = torch.nn.functional.interpolate(images, (13, 50), mode="bilinear")
    actual = resized_crop(images, whole, (13, 50), antialias=False)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", [32, 100])
def test_the_whole_image_at_its_own_size_is_the_image(
    side: int, generator: torch.Generator
) -> None:
    images = torch.rand(2, 5, side, side, generator=generator)
    whole = torch.tensor([[0.0, 0.0, side, side]]).expand(2, 4)
    torch.testing.assert_close(resized_crop(images, whole, side), images, atol=1e-6, rtol=0)


def test_half_precision_and_double_keep_their_dtype(generator: torch.Generator) -> None:
    images = torch.rand(5, 3, 40, 56, generator=generator)
    expected = resized_crop(images, BOXES, 20)
    for dtype, tolerance in ((torch.bfloat16, 2e-2), (torch.float64, 1e-5)):
        actual = resized_crop(images.to(dtype), BOXES, 20)
        assert actual.dtype == dtype
        torch.testing.assert_close(actual.float(), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    "box", [(-1, 0, 5, 5), (0, 0, 41, 5), (0, 50, 5, 7), (0, 0, 0.5, 5)], ids=str
)
def test_a_box_outside_the_image_is_refused(box: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="inside the 40x56 image"):
        resized_crop(torch.rand(1, 3, 40, 56), torch.tensor([box]), 8)


def test_wrong_arguments_are_refused() -> None:
    images, box = torch.rand(1, 3, 8, 8), torch.tensor([[0.0, 0.0, 8.0, 8.0]])
    with pytest.raises(ValueError, match="mode must be one of bilinear, bicubic, got 'cubic'"):
        resized_crop(images, box, 8, mode="cubic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="size must be"):
        resized_crop(images, box, 0)
    with pytest.raises(ValueError, match="one per image"):
        resized_crop(images, box.expand(2, 4), 8)
    with pytest.raises(TypeError, match="uint16 or float"):
        resized_crop(images.long(), box, 8)
    with pytest.raises(ValueError, match="scale must be"):
        RandomResizedCrop(8, scale=(0.5, 1.5))
    with pytest.raises(ValueError, match="ratio must be"):
        RandomResizedCrop(8, ratio=(2.0, 1.0))
    with pytest.raises(ValueError, match="p_flip is a probability"):
        RandomResizedCrop(8, p_flip=2.0)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_resize_agrees_with_torchvision(mode: resampling.Mode, generator: torch.Generator) -> None:
    images = torch.rand(2, 3, 40, 30, generator=generator)
    expected = tv.resize(images, [20, 45], INTERPOLATION[mode], antialias=True).clamp(0, 1)
    torch.testing.assert_close(resize(images, (20, 45), mode), expected)


def test_resize_to_the_same_size_converts_uint8_only() -> None:
    images = torch.tensor([[[[0, 51], [255, 102]]]], dtype=torch.uint8)
    torch.testing.assert_close(resize(images, 2) * 5, torch.tensor([[[[0.0, 1.0], [5.0, 2.0]]]]))


def test_crop_is_the_slice(generator: torch.Generator) -> None:
    images = torch.rand(3, 2, 9, 12, generator=generator)
    offsets = torch.tensor([[0, 0], [4, 2], [1, 5]])
    views = crop(images, offsets, (5, 7))
    for view, image, (top, left) in zip(views, images, offsets.tolist(), strict=True):
        assert torch.equal(view, image[:, top : top + 5, left : left + 7])


def test_horizontal_flip_mirrors_the_chosen(generator: torch.Generator) -> None:
    images = torch.rand(2, 3, 4, 5, generator=generator)
    views = horizontal_flip(images, torch.tensor([True, False]))
    assert torch.equal(views[0], images[0].flip(-1))
    assert torch.equal(views[1], images[1])


@pytest.mark.parametrize(("height", "width"), [(40, 40), (30, 64)])
def test_drawn_boxes_have_torchvisions_bounds_and_means(
    height: int, width: int, generator: torch.Generator
) -> None:
    boxes = RandomResizedCrop(8).draw((4000, 3, height, width), generator).boxes
    torch.manual_seed(0)
    peer = TorchvisionCrop(8)
    # torchvision before 0.21 calls it otherwise.
    draw = peer.make_params if hasattr(peer, "make_params") else peer._get_params
    theirs = [draw([torch.empty(3, height, width)]) for _ in range(1500)]
    others = torch.tensor([[p[k] for k in ("top", "left", "height", "width")] for p in theirs])
    assert torch.equal(boxes, boxes.round())
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] >= 1).all()
    assert (boxes[:, 0] + boxes[:, 2] <= height).all()
    assert (boxes[:, 1] + boxes[:, 3] <= width).all()
    error = boxes.std(dim=0) * math.sqrt(1 / 4000 + 1 / 1500)
    assert ((boxes.mean(dim=0) - others.float().mean(dim=0)).abs() < 4 * error).all()


def test_area_is_uniform_and_aspect_log_uniform_where_every_box_fits(
    generator: torch.Generator,
) -> None:
    crops = RandomResizedCrop(8, scale=(0.1, 0.5)).draw((4000, 3, 1000, 1000), generator)
    _, _, heights, widths = crops.boxes.unbind(dim=1)
    bound = 1.63 / math.sqrt(4000)  # Kolmogorov-Smirnov at 1 %
    areas = heights * widths / 1e6
    assert largest_uniform_deviation(areas, 0.1, 0.5) < bound
    aspects = (widths / heights).log()
    assert largest_uniform_deviation(aspects, math.log(3 / 4), math.log(4 / 3)) < bound


def test_a_box_that_never_fits_falls_back_to_the_centre(generator: torch.Generator) -> None:
    crops = RandomResizedCrop(8, scale=(1.0, 1.0)).draw((3, 3, 20, 60), generator)
    assert crops.boxes.tolist() == [[0.0, 16.0, 20.0, 27.0]] * 3


def test_equal_generators_draw_equal_views(generator: torch.Generator) -> None:
    images = torch.rand(4, 3, 20, 24, generator=generator)
    augmentation = RandomResizedCrop((16, 12), p_flip=0.5)
    first, second = (augmentation(images, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.shape == augmentation.output_shape((4, 3, 20, 24)) == (4, 3, 16, 12)


def test_flips_come_with_their_probability(generator: torch.Generator) -> None:
    flips = RandomResizedCrop(8, p_flip=0.3).draw((4000, 3, 8, 8), generator).flip
    assert abs(flips.float().mean().item() - 0.3) < 0.03
    alone = RandomHorizontalFlip(0.3).draw((4000, 3, 8, 8), generator)
    assert abs(alone.float().mean().item() - 0.3) < 0.03


def test_random_crop_reaches_every_window_of_the_padded_image(
    generator: torch.Generator,
) -> None:
    augmentation = RandomCrop((6, 5), padding=1)
    corners = augmentation.draw((2000, 3, 6, 7), generator)
    assert corners.amin(dim=0).tolist() == [0, 0]
    assert corners.amax(dim=0).tolist() == [2, 4]
    images = torch.ones(1, 3, 6, 7)
    view = augmentation.apply(images, torch.tensor([[0, 4]]))
    assert view.shape == (1, 3, 6, 5)
    assert view[0, 0].sum() == 5 * 4  # a black row above and a black column to the right


def test_random_crop_says_when_the_window_does_not_fit(generator: torch.Generator) -> None:
    with pytest.raises(ValueError, match="10x10 window does not fit into a 8x9 image"):
        RandomCrop(10)(torch.rand(1, 3, 8, 9), generator)
