from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from super_selfish.data.collate import LabelCollator, move
from super_selfish.data.loaders import EpochBatches, build_loader
from super_selfish.data.samples import Batch, Sample, Unreadable
from super_selfish.data.sources import ImageSource, images_at

CHOSEN = [4, 0, 21, 7, 7, 13]


def stacked(source: ImageSource, indices: list[int], *, at_once: bool) -> Batch:
    samples = source.__getitems__(indices) if at_once else [source[index] for index in indices]
    assert isinstance(samples, Batch) is at_once
    return LabelCollator().stack(samples)


def assert_equal(first: Batch, second: Batch) -> None:
    assert first.images.dtype == second.images.dtype
    assert torch.equal(_comparable(first.images), _comparable(second.images))
    assert torch.equal(first.index, second.index)
    assert (first.labels is None) == (second.labels is None)
    if first.labels is not None and second.labels is not None:
        assert first.labels.dtype == second.labels.dtype
        assert torch.equal(first.labels, second.labels)
    assert first.unreadable == second.unreadable


def _comparable(images: Tensor) -> Tensor:
    return images.to(torch.int32) if images.dtype == torch.uint16 else images


def of_kind(images: Tensor, kind: str) -> Any:
    """The conftest's images [22, 3, 32, 32] as another kind of array."""
    last = images.permute(0, 2, 3, 1).contiguous()
    kinds: dict[str, Any] = {
        "tensor": images,
        "tensor, channels last": last,
        "tensor, channels last seen as first": last.permute(0, 3, 1, 2),
        "tensor, grey": images[:, 0],
        "tensor of doubles": images.double() / 255,
        "tensor slightly out of range": images.float() / 254.9,
        "tensor of bools": images > 99,
        "tensor of uint16": (images.to(torch.int32) * 257).to(torch.uint16),
        "array": last.numpy(),
        "array, channels first": images.numpy(),
        "array, read-only": np.broadcast_to(last.numpy()[:1], last.shape),
        "array, reversed": last.numpy()[::-1, ::-1],
        "array, big-endian": (images.numpy().astype(">u2") * 257),
        "array of doubles": last.numpy() / 255,
        "five channels": images[:, [0, 1, 2, 0, 1]],
    }
    return kinds[kind]


KINDS = (
    *("tensor", "tensor, channels last", "tensor, channels last seen as first", "tensor, grey"),
    *("tensor of doubles", "tensor slightly out of range", "tensor of bools", "tensor of uint16"),
    *("array", "array, channels first", "array, read-only", "array, reversed"),
    *("array, big-endian", "array of doubles", "five channels"),
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [None, 20, (40, 56)])
def test_a_batch_read_at_once_equals_its_samples(
    images: Tensor, kind: str, size: int | tuple[int, int] | None
) -> None:
    source = ImageSource((of_kind(images, kind), torch.arange(22)), size)
    assert_equal(stacked(source, CHOSEN, at_once=True), stacked(source, CHOSEN, at_once=False))


@pytest.mark.parametrize(("kind", "channels"), [("tensor", 1), ("tensor, grey", 3)])
@pytest.mark.parametrize("size", [32, 24])
def test_channels_are_changed_at_once_as_one_by_one(
    images: Tensor, kind: str, channels: int, size: int
) -> None:
    source = ImageSource(of_kind(images, kind), size, channels)
    batch = stacked(source, CHOSEN, at_once=True)
    assert_equal(batch, stacked(source, CHOSEN, at_once=False))
    batch.images.add_(1)  # no two pixels share their memory


@pytest.mark.parametrize(
    "labels",
    [
        torch.arange(22, dtype=torch.int32),
        torch.arange(22) / 7,
        torch.arange(22) % 2 == 0,
        torch.arange(66, dtype=torch.uint8).view(22, 3),
        list(range(22)),
        np.arange(22, dtype=np.uint8),
    ],
    ids=["int32", "float", "bool", "vectors", "list", "array"],
)
def test_labels_of_every_type_come_at_once_as_one_by_one(images: Tensor, labels: Any) -> None:
    source = ImageSource((images, labels))
    assert_equal(stacked(source, CHOSEN, at_once=True), stacked(source, CHOSEN, at_once=False))


def test_a_part_of_a_source_is_read_at_once_too(images: Tensor) -> None:
    part = ImageSource((images, torch.arange(22) * 3)).subset([9, 20, 1, 5])
    batch = stacked(part, [3, 0, 1], at_once=True)
    assert_equal(batch, stacked(part, [3, 0, 1], at_once=False))
    assert torch.equal(batch.images, images[[5, 9, 20]])
    assert batch.index.tolist() == [3, 0, 1]


def test_a_batch_is_a_copy(images: Tensor) -> None:
    before = images.clone()
    images_at(ImageSource(images), [0, 1]).zero_()
    assert torch.equal(images, before)


def test_a_batch_is_a_sequence_of_samples(images: Tensor) -> None:
    batch = ImageSource((images, torch.arange(22))).__getitems__([3, 5, 8])
    assert isinstance(batch, Batch)
    assert [sample.index for sample in batch] == [3, 5, 8]
    assert isinstance(batch[1], Sample)
    assert torch.equal(batch[1].image, images[5])
    assert [int(sample.label) for sample in batch[1:] if sample.label is not None] == [5, 8]


def test_negative_indices_count_from_the_end_and_others_are_out_of_range(images: Tensor) -> None:
    source = ImageSource(images)
    assert [sample.index for sample in source.__getitems__([-1, 0])] == [21, 0]
    with pytest.raises(IndexError, match="index 22 is out of range for 22 images"):
        source.__getitems__([0, 22])


def test_a_wrong_image_among_many_is_named(images: Tensor) -> None:
    floats = images.float() / 255
    source = ImageSource(floats)
    floats[7] *= 3
    with pytest.raises(ValueError, match=r"item 7: float images must lie in \[0, 1\]"):
        source.__getitems__([0, 7])


def test_files_are_read_one_by_one(tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (32, 32), (80 * number, 0, 0)).save(tmp_path / f"{number}.png")
    samples = ImageSource(tmp_path).__getitems__([2, 0])
    assert isinstance(samples, list)
    assert [int(s.image[0, 0, 0]) for s in samples if isinstance(s, Sample)] == [160, 0]


def test_decoded_images_stay_channels_last_in_a_batch(tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (40, 36), (80 * number, 9, 0)).save(tmp_path / f"{number}.jpg")
    for size in (None, 32):
        batch = LabelCollator().stack(list(ImageSource(tmp_path, size)))  # type: ignore[call-overload]
        assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_a_batch_keeps_what_it_says_of_itself_on_its_way_to_a_device() -> None:
    batch = Batch(torch.zeros(2, 3, 4, 4), torch.tensor([5, 1]), None, ("a: broken",), "no labels")
    for moved in (batch.to(torch.device("cpu")), move(batch, torch.device("cpu"))):
        assert isinstance(moved, Batch) and len(moved) == 2
        assert moved.index.tolist() == [5, 1]
        assert (moved.unreadable, moved.no_labels) == (("a: broken",), "no labels")
    assert len(LabelCollator().stack([Unreadable(0, "a", "broken")])) == 0


def test_a_plain_loader_of_torch_takes_the_samples_of_a_batch(images: Tensor) -> None:
    loader = DataLoader(ImageSource((images, torch.arange(22))), batch_size=4, num_workers=1)
    for given, wanted in zip(loader, range(0, 22, 4), strict=True):
        assert torch.equal(given.image, images[wanted : wanted + 4])
        assert given.label.tolist() == [*range(22)[wanted : wanted + 4]]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_a_loader_pins_a_batch(images: Tensor) -> None:
    order = EpochBatches(22, 4)
    source = ImageSource((images, torch.arange(22)))
    loader = build_loader(source, order, LabelCollator(), num_workers=1, pin_memory=True)
    for batch in loader:
        assert isinstance(batch, Batch) and batch.labels is not None
        assert batch.images.is_pinned() and batch.index.is_pinned() and batch.labels.is_pinned()
