"""Batches that unreadable images would leave too small to train on."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from super_selfish.data import ImageSource
from super_selfish.data.filling import FilledBatches
from super_selfish.data.samples import Sample, Unreadable
from super_selfish.models import CombinedNet, NarrowResNet
from super_selfish.supervisors import RotateNetSupervisor, Supervisor
from tests.conftest import TinyBackbone

GOOD = {0, 5, 6, 11}


class Items:
    """Numbers, some of which cannot be read."""

    def __init__(self, count: int = 12, good: set[int] = GOOD) -> None:
        self.count, self.good = count, good
        self.reads = 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        self.reads += 1
        return index if index in self.good else Unreadable(index, f"item {index}", "broken")


def filled(indices: list[int], items: Items, **more: bool) -> list[int]:
    given = FilledBatches(items, **more).__getitems__(indices)
    assert isinstance(given, list)
    return [item for item in given if not isinstance(item, Unreadable)]


@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        ([0, 5, 6], [0, 5, 6]),
        ([0, 5, 1], [0, 5]),  # two are enough
        ([0, 1, 2], [0, 5]),  # the next that can be read
        ([1, 2, 3], [5, 6]),
        ([9, 10, 8], [11, 0]),  # round the end
        ([7], [11]),
        ([0], [0]),
        ([4, 5], [5, 6]),  # 5 is in the batch
    ],
)
def test_a_batch_is_filled_to_two(indices: list[int], expected: list[int]) -> None:
    assert filled(indices, Items()) == expected


def test_several_processes_get_full_batches() -> None:
    assert filled([0, 1, 2], Items(), to_full_size=True) == [0, 5, 6]
    assert filled([0, 5, 6], Items(), to_full_size=True) == [0, 5, 6]
    # where there are no more, images come twice: what is gathered must be of one size
    assert filled([0, 1, 2, 3, 4, 5], Items(), to_full_size=True) == [0, 5, 6, 11, 0, 5]


def test_who_is_left_out_is_told() -> None:
    given = FilledBatches(Items()).__getitems__([1, 0])
    assert [item.index for item in given if isinstance(item, Unreadable)] == [1]


@pytest.mark.parametrize("to_full_size", [True, False])
def test_where_nothing_can_be_read_every_item_is_tried_once(to_full_size: bool) -> None:
    items = Items(1000, set())
    assert filled(list(range(100)), items, to_full_size=to_full_size) == []
    assert items.reads == 1000


@pytest.fixture
def folder(tmp_path: Path, images: Tensor) -> Iterator[Path]:
    """22 images, of which 7 can be read: many a batch of four is left with one or none."""
    (tmp_path / "images").mkdir()
    for number, image in enumerate(images):
        path = tmp_path / "images" / f"{number:02}.png"
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
        if number % 3 or number == 21:
            path.write_bytes(path.read_bytes()[:60])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="left out: ")
        yield tmp_path / "images"


def rotate(folder: Path) -> RotateNetSupervisor:
    source = ImageSource(folder, 32, 3, on_error="skip")
    torch.manual_seed(0)
    return RotateNetSupervisor(source, TinyBackbone(), nn.Sequential(nn.Linear(16, 4)))


@pytest.mark.parametrize("options", [{}, {"num_workers": 2}, {"dataset_on_device": True}])
def test_a_run_over_mostly_broken_images_is_whole_and_resumes_bit_for_bit(
    folder: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    settings = {"batch_size": 4, "lr": 0.1, "progress": False, **options}
    whole = rotate(folder).supervise(epochs=3, name=None, **settings)
    rotate(folder).supervise(epochs=1, name=tmp_path / "run", **settings)
    resumed = rotate(folder).supervise(epochs=3, name=tmp_path / "run", resume=True, **settings)
    assert whole.run is not None and whole.run.global_step == 18
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert [row["unreadable"] for row in whole.history] == [15, 15, 15]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_dataset_of_which_nothing_can_be_read_ends_with_a_clear_word(
    folder: Path, num_workers: int
) -> None:
    supervisor = rotate(folder)
    for path in folder.iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="no image of a batch, nor any to take its place, can be"):
        supervisor.supervise(batch_size=4, name=None, num_workers=num_workers, progress=False)


class Half:
    """A dataset that cannot read every other item."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        if index % 2:
            raise OSError("gone")
        return torch.full((3, 32, 32), index / 10), index % 4 // 2


def collate(items: list[Any]) -> tuple[Tensor, Tensor]:
    return torch.stack([image for image, _ in items]), torch.tensor([label for _, label in items])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_plain_collate_fn_is_given_what_can_be_read(num_workers: int) -> None:
    source = ImageSource(Half(), on_error="skip")
    network = CombinedNet(TinyBackbone(), nn.Linear(16, 2))
    supervisor = Supervisor(network, source, nn.CrossEntropyLoss(), collate)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="left out: item 1: OSError: gone")
        warnings.filterwarnings("ignore", message="left out: ")
        supervisor.supervise(
            epochs=2, batch_size=2, name=None, num_workers=num_workers, progress=False
        )
    assert supervisor.run is not None and supervisor.run.global_step == 8


def test_one_sample_is_one_sample(folder: Path) -> None:
    batches = FilledBatches(ImageSource(folder, 32, 3, on_error="skip"))
    assert isinstance(batches[0], Sample) and isinstance(batches[1], Unreadable)
    assert len(batches) == 22 and batches.decodes_files


class Faulty(Dataset[tuple[Tensor, int]]):
    """Images of which one holds numbers that no image can."""

    def __init__(self, number: float) -> None:
        self.number = number

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = torch.full((3, 32, 32), index / 16)
        if index == 11:
            image[1, 2, 3] = self.number
        return image, index % 2


@pytest.mark.parametrize("number", [math.nan, -math.inf, 7.0])
@pytest.mark.parametrize("value_range", [None, (0, 1)])
@pytest.mark.parametrize("is_array", [False, True])
def test_an_image_of_impossible_numbers_is_left_out_and_named(
    number: float, value_range: Any, is_array: bool
) -> None:
    dataset: Any = Faulty(number)
    if is_array:
        dataset = torch.stack([dataset[index][0] for index in range(16)])
    source = ImageSource(dataset, on_error="skip", value_range=value_range)
    is_cut = value_range is not None and math.isfinite(number)  # a range cuts what lies outside
    found = [source[index] for index in range(16)]
    left_out = [each for each in found if isinstance(each, Unreadable)]
    assert [(each.index, each.name) for each in left_out] == [(11, "item 11")][is_cut:]
    assert all("NaN" in each.reason or "must lie in" in each.reason for each in left_out)
    if not is_cut:
        with pytest.raises(ValueError, match=r"item 11: .* on_error='skip'"):
            ImageSource(dataset, on_error="raise", value_range=value_range)[11]


@pytest.mark.parametrize("number", [math.nan, -7.0])
def test_a_run_leaves_out_an_image_of_impossible_numbers(number: float) -> None:
    supervisor = RotateNetSupervisor(Faulty(number), NarrowResNet(width=8), on_error="skip")
    with pytest.warns(UserWarning, match="item 11"):
        supervisor.supervise(epochs=1, batch_size=8, name=None, progress=False)
    assert supervisor.history[-1]["unreadable"] == 1
