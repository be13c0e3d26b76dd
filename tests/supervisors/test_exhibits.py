from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from torchvision.transforms.functional import to_pil_image

from super_selfish.augmentations.base import to_unit_range
from super_selfish.data.collate import Batch, Collator
from super_selfish.data.sources import ImageSource
from super_selfish.supervisors import (
    DenoiseNetSupervisor,
    LabelSupervisor,
    RotateNetSupervisor,
    Supervisor,
)
from super_selfish.supervisors.exhibits import (
    NothingToShow,
    seen_batch,
    seen_views,
    spread_positions,
)

Backbones = Callable[..., nn.Module]


@pytest.fixture
def folder(tmp_path: Path, images: Tensor) -> Path:
    """Twenty-two photographs, of which the first, the fourth and the last two cannot be read."""
    (tmp_path / "photos").mkdir()
    for number, image in enumerate(images):
        path = tmp_path / "photos" / f"{number:02}.png"
        if number in (0, 3, 20, 21):
            path.write_bytes(b"no image")
        else:
            to_pil_image(image).save(path)
    return tmp_path / "photos"


def test_positions_are_spread_evenly(images: Tensor) -> None:
    source = ImageSource(images)
    assert spread_positions(source, 4) == [0, 7, 14, 21]
    assert spread_positions(source, 99) == list(range(22))


def test_images_that_are_skipped_are_replaced_by_those_beside_them(folder: Path) -> None:
    source = ImageSource(folder, on_error="skip")
    assert spread_positions(source, 4) == [1, 2, 7, 14]  # after the last one comes the first
    assert spread_positions(source, 99) == [n for n in range(22) if n not in (0, 3, 20, 21)]


def test_views_are_shown_of_images_that_can_be_read(folder: Path, tiny_backbone: Backbones) -> None:
    source = ImageSource(folder, on_error="skip")
    supervisor = RotateNetSupervisor(source, backbone=tiny_backbone())
    assert seen_views(supervisor, 4).shape == (4, 4, 3, 32, 32)
    with pytest.raises(ValueError, match=r"cannot read image .*03\.png: "):
        seen_batch(supervisor, [2, 3])


def test_labels_come_with_their_images(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = LabelSupervisor(
        TensorDataset(images, torch.arange(22) % 3), backbone=tiny_backbone()
    )
    assert seen_batch(supervisor, [4, 5]).targets.tolist() == [1, 2]
    assert seen_views(supervisor, 2).shape == (2, 1, 3, 32, 32)


def test_what_shows_nothing_is_refused(images: Tensor, tiny_backbone: Backbones) -> None:
    options = {"backbone": tiny_backbone(), "image_size": 32, "in_channels": 3}
    with pytest.raises(ValueError, match="a supervisor with a dataset and a Collator"):
        seen_views(DenoiseNetSupervisor(**options))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no image to show"):
        seen_batch(DenoiseNetSupervisor(images, backbone=tiny_backbone()), [])


class Making(Collator):
    """Makes whatever a function makes of images in [0, 1]."""

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.make = make

    def augment(self, batch: Batch, generator: torch.Generator) -> Any:
        return self.make(to_unit_range(batch.images))


def captions(images: Tensor, backbone: nn.Module, make: Callable[[Tensor], Any]) -> list[str]:
    supervisor = Supervisor(backbone, images, collate_fn=Making(make))
    first, second = supervisor.exhibit([3, 5], 0)
    assert torch.equal(first[0].image, images[3] / 255)
    assert torch.equal(second[0].image, images[5] / 255)
    return [shown.caption for shown in first]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda x: x, ["view"]),
        (lambda x: (x, x.flip(-1)), ["part 1", "part 2"]),
        (lambda x: {"shown": x, "turned_to_the_left": x.mT}, ["shown", "turned to th\u2026"]),
        (lambda x: [torch.stack([x, x.flip(-1)], dim=1)], ["part 1", "part 1"]),
        (lambda x: {"pair": (x, x.mT), "weight": torch.ones(2)}, ["part 1", "part 2"]),
        (lambda x: {"a": x, "truth": torch.tensor([True, False])}, ["a\ntruth True"]),
        (
            lambda x: {"a": torch.stack([x, x], 1), "turn": torch.tensor([[1, 2], [3, 4]])},
            ["a\nturn 1", "a\nturn 2"],
        ),
    ],
)
def test_views_go_by_the_names_that_the_collator_gives_them(
    images: Tensor,
    tiny_backbone: Backbones,
    make: Callable[[Tensor], Any],
    expected: list[str],
) -> None:
    assert captions(images, tiny_backbone(), make) == expected


def test_a_batch_without_images_shows_nothing(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = Supervisor(tiny_backbone(), images, collate_fn=Making(lambda x: x.flatten(1)))
    for ask in (lambda: supervisor.exhibit([0], 0), lambda: seen_views(supervisor)):
        with pytest.raises(NothingToShow, match="the collator makes no images"):
            ask()
