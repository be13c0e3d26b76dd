from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from super_selfish.augmentations import Compose, RandomResizedCrop
from super_selfish.augmentations.base import Augmentation
from super_selfish.data.collate import Batch
from super_selfish.supervisors import SUPERVISORS
from super_selfish.supervisors.multi_crop import (
    Crops,
    MultiCropCollator,
    embedded_crops,
    fitting_small_size,
    require_small_size,
)
from tests.conftest import TinyBackbone


class Numbered(Augmentation):
    """Crops that are constant: which image they are of, and a number of their own."""

    def __init__(self, size: int) -> None:
        self.size = size

    def draw(self, shape: tuple[int, int, int, int], generator: torch.Generator) -> Tensor:
        return torch.rand(shape[0], generator=generator)

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        values = images[:, 0, 0, 0].float() + parameters / 2
        return values[:, None, None, None].expand(-1, 3, self.size, self.size)


def numbered(num_small: int, generator: torch.Generator) -> Crops:
    images = torch.arange(4, dtype=torch.uint8)[:, None, None, None].expand(4, 3, 8, 8)
    collator = MultiCropCollator(Numbered(8), Numbered(8), Numbered(3), num_small)
    return collator.augment(Batch(images, torch.arange(4) + 10), generator)


def test_every_crop_is_of_its_image_and_no_two_are_alike(generator: torch.Generator) -> None:
    crops = numbered(5, generator)
    assert crops.first.shape == crops.second.shape == (4, 3, 8, 8)
    assert crops.small.shape == (4, 5, 3, 3, 3)
    assert crops.index.tolist() == [10, 11, 12, 13]
    of_images = torch.cat(
        [crops.first[:, :1, 0, 0], crops.second[:, :1, 0, 0], crops.small[:, :, 0, 0, 0]], dim=1
    )
    assert torch.equal(of_images.floor(), torch.arange(4.0)[:, None].expand(4, 7))
    assert len(of_images.unique()) == 28


def test_crops_of_a_size_lie_side_by_side_a_view_after_the_other(
    generator: torch.Generator,
) -> None:
    crops = numbered(3, generator)
    assert torch.equal(crops.large_crops(), torch.cat([crops.first, crops.second]))
    small = crops.small_crops()
    assert small.shape == (12, 3, 3, 3)
    for view in range(3):
        assert torch.equal(small.unflatten(0, (3, 4))[view], crops.small[:, view])


def test_there_may_be_no_small_crops(generator: torch.Generator) -> None:
    crops = numbered(0, generator)
    assert crops.small.shape == (4, 0, 3, 8, 8)
    assert crops.small_crops().shape == (0, 3, 8, 8)


def test_further_large_crops_lie_behind_the_first_two(generator: torch.Generator) -> None:
    images = torch.arange(4, dtype=torch.uint8)[:, None, None, None].expand(4, 3, 8, 8)
    for num_small in (0, 2):
        collator = MultiCropCollator(Numbered(8), Numbered(8), Numbered(3), num_small, 5)
        crops = collator.augment(Batch(images, torch.arange(4)), generator)
        assert crops.further is not None and crops.further.shape == (4, 3, 3, 8, 8)
        views = crops.large_crops().unflatten(0, (5, 4))
        assert torch.equal(views[0], crops.first) and torch.equal(views[1], crops.second)
        assert torch.equal(views[2:], crops.further.transpose(0, 1))
        assert torch.equal(views[:, :, 0, 0, 0].floor(), torch.arange(4.0).expand(5, 4))
        assert len(views[:, :, 0, 0, 0].unique()) == 20
        found = embedded_crops(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), crops)
        assert found.shape == (5 + num_small, 4, 3)
        torch.testing.assert_close(found[:5, :, 0], views[:, :, 0, 0, 0])
        torch.testing.assert_close(found[5:, :, 0], crops.small[:, :, 0, 0, 0].T)


class Fixed(nn.Module):
    """A network that takes images of one size alone."""

    num_features = 4

    def __init__(self, side: int) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * side * side, 4)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layer(images.flatten(1))
        return features


def test_small_crops_are_enlarged_where_the_backbone_wants_it() -> None:
    strided = nn.Conv2d(3, 4, 32, stride=32)
    assert fitting_small_size(TinyBackbone(), 3, (64, 40)) == (27, 17)
    assert fitting_small_size(strided, 3, (64, 40)) == (32, 32)
    assert fitting_small_size(strided, 3, (224, 224)) == (96, 96)
    with pytest.warns(UserWarning, match=r"takes no images of 27x27 pixels, so small crops are sh"):
        assert fitting_small_size(Fixed(64), 3, (64, 64)) == (64, 64)


def test_a_network_of_one_size_trains(images: Tensor) -> None:
    torch.manual_seed(0)
    supervisor = SUPERVISORS["swav"](images, Fixed(32))  # small crops of 32 pixels
    supervisor.supervise(epochs=1, batch_size=11, name=None)
    for side in (20, (30, 32)):
        with pytest.raises(ValueError, match="small_size: the backbone takes no crops of"):
            SUPERVISORS["swav"](images, Fixed(32), small_size=side)
    without = SUPERVISORS["swav"](images, Fixed(32), num_small=0)
    without.supervise(epochs=1, batch_size=11, name=None)


@pytest.mark.parametrize(
    ("small_size", "fits"),
    [((40, 64), True), ((41, 40), False), ((20, 65), False), ((30, 64), True), ((64, 30), False)],
)
def test_neither_side_of_a_small_crop_is_longer(small_size: tuple[int, int], fits: bool) -> None:
    if fits:
        require_small_size(TinyBackbone(), 3, small_size, (40, 64))
        return
    with pytest.raises(ValueError, match=r"small_size is that of small crops, at most .* 40x64"):
        require_small_size(TinyBackbone(), 3, small_size, (40, 64))


def test_a_pair_is_of_large_and_of_small_crops(images: Tensor, generator: torch.Generator) -> None:
    large = Compose([RandomResizedCrop((32, 32))])
    small = Compose([RandomResizedCrop((20, 16))])
    supervisor = SUPERVISORS["swav"](
        images, TinyBackbone(), augmentation=(large, small), small_size=(20, 16), num_small=2
    )
    batch = Batch(images, torch.arange(len(images)))
    crops = supervisor.collate_fn.augment(batch, generator)
    assert crops.first.shape == (22, 3, 32, 32)
    assert crops.small.shape == (22, 2, 3, 20, 16)
    with pytest.raises(ValueError, match=r"augmentation= must make small crops of \[3, 20, 16\]"):
        SUPERVISORS["swav"](images, TinyBackbone(), augmentation=large, small_size=(20, 16))
    with pytest.raises(ValueError, match="is one for large and small crops, or a pair"):
        SUPERVISORS["swav"](images, TinyBackbone(), augmentation=["moco"] * 3)


def test_small_crops_are_no_larger_than_large_ones(images: Tensor) -> None:
    with pytest.raises(ValueError, match="at most that of the large ones, 32x32 pixels, got 200"):
        SUPERVISORS["swav"](images, TinyBackbone(), small_size=200)
    SUPERVISORS["swav"](images, TinyBackbone(), small_size=32)
