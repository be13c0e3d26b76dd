from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from super_selfish.data import on_device
from super_selfish.data.collate import Batch, LabelCollator
from super_selfish.data.loaders import EpochBatches
from super_selfish.data.on_device import held_on_device
from super_selfish.data.reading import Reading, open_loader
from super_selfish.data.sources import ImageSource

CPU = torch.device("cpu")


def batches_of(source: ImageSource, *, held: bool, device: torch.device = CPU, **more: Any) -> Any:
    order = EpochBatches(len(source), 4, seed=3, **more)
    reading = Reading(on_device=held, progress=False)
    return list(open_loader(source, order, LabelCollator(), device, num_workers=0, reading=reading))


def assert_equal(first: list[Batch], second: list[Batch]) -> None:
    for one, other in zip(first, second, strict=True):
        assert one.images.dtype == other.images.dtype
        assert torch.equal(one.images.to(torch.float64).cpu(), other.images.to(torch.float64))
        assert one.images.stride() == other.images.stride()
        assert torch.equal(one.index, other.index)
        assert one.unreadable == other.unreadable
        assert (one.labels is None) == (other.labels is None)
        if one.labels is not None and other.labels is not None:
            assert torch.equal(one.labels.cpu(), other.labels)


class Pairs:
    """A dataset in the manner of torchvision."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.images[index].permute(1, 2, 0).numpy()), index % 3


def folder(path: Path, images: Tensor) -> Path:
    for index, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path / f"{index:02}.png")
    return path


KINDS = ["tensor", "array", "floats", "uint16", "no labels", "dataset", "files", "grey", "part"]


def source_of(kind: str, images: Tensor, path: Path) -> ImageSource:
    labels = torch.arange(len(images))
    if kind == "array":
        return ImageSource((images.permute(0, 2, 3, 1).numpy(), labels))
    if kind == "floats":
        return ImageSource((images / 255, labels))
    if kind == "uint16":
        return ImageSource(((images.to(torch.int32) * 257).to(torch.uint16), labels))
    if kind == "no labels":
        return ImageSource(images)
    if kind == "dataset":
        return ImageSource(Pairs(images), 36)
    if kind == "files":
        return ImageSource(folder(path, images), 40)
    if kind == "grey":
        return ImageSource(images[:, :1], 32, 3)
    if kind == "part":
        return ImageSource((images, labels)).subset([7, 3, 20, 1, 9, 10, 11])
    return ImageSource((images, labels))


@pytest.mark.parametrize("kind", KINDS)
def test_batches_equal_those_of_the_ordinary_way(images: Tensor, kind: str, tmp_path: Path) -> None:
    source = source_of(kind, images, tmp_path)
    assert_equal(batches_of(source, held=True), batches_of(source, held=False))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
@pytest.mark.parametrize("kind", KINDS)
def test_batches_lie_on_the_device(images: Tensor, kind: str, tmp_path: Path) -> None:
    source = source_of(kind, images, tmp_path)
    device = torch.device("cuda")
    held = batches_of(source, held=True, device=device)
    assert all(batch.images.device.type == "cuda" for batch in held)
    assert_equal(held, batches_of(source, held=False))


def test_every_process_takes_its_share_of_the_same_order(images: Tensor) -> None:
    source = ImageSource(images)
    for rank in range(2):
        share: dict[str, Any] = {"rank": rank, "world_size": 2}
        assert_equal(
            batches_of(source, held=True, **share), batches_of(source, held=False, **share)
        )


def test_workers_fill_the_tensor_alike(images: Tensor, tmp_path: Path) -> None:
    source = ImageSource(folder(tmp_path, images), 32)
    first, second = (held_on_device(source, CPU, num_workers=n, progress=False) for n in (0, 2))
    everything = list(range(len(images)))
    assert_equal(
        [LabelCollator().stack(first.__getitems__(everything))],
        [LabelCollator().stack(second.__getitems__(everything))],
    )


def test_unreadable_images_are_left_out_under_their_names(images: Tensor, tmp_path: Path) -> None:
    folder(tmp_path, images)
    for number in ("03", "17"):
        (tmp_path / f"{number}.png").write_bytes(b"nothing")
    source = ImageSource(tmp_path, 32, 3, on_error="skip")
    held = batches_of(source, held=True)
    assert_equal(held, batches_of(source, held=False))
    assert sum(len(batch.unreadable) for batch in held) == 2
    with pytest.raises(ValueError, match="none can be read of 2 images"):
        held_on_device(source.subset([3, 17]), CPU)


def test_images_come_in_one_piece_and_as_copies(images: Tensor) -> None:
    held = held_on_device(ImageSource(images), CPU)
    batch = held.__getitems__([2, 5])
    assert isinstance(batch, Batch)
    batch.images.zero_()
    assert torch.equal(held.__getitems__([5])[0].image, images[5])  # type: ignore[union-attr]


def test_too_many_images_are_refused_in_bytes(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_device, "free_memory", lambda device: 70_000)
    with pytest.raises(ValueError, match=r"22 images of \(3, 32, 32\) need 0\.00 GB on cpu"):
        held_on_device(ImageSource(images), CPU)


def test_images_that_differ_in_type_are_refused_by_name() -> None:
    mixed = [torch.zeros(3, 32, 32, dtype=torch.uint8)] * 256 + [torch.zeros(3, 32, 32)] * 2
    with pytest.raises(ValueError, match=r"differ in type: torch.uint8, and near item 256 .*float"):
        held_on_device(ImageSource(mixed), CPU)


def test_arrays_are_not_changed_by_holding_them(images: Tensor) -> None:
    array = images.permute(0, 2, 3, 1).numpy().copy()
    before = array.copy()
    batches_of(ImageSource(array), held=True)[0].images.zero_()
    assert np.array_equal(array, before)


def test_images_may_take_nine_tenths_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_device, "free_memory", lambda device: free)  # type: ignore[has-type]
    for dtype, bytes_each in ((torch.uint8, 3 * 32 * 32), (torch.float32, 4 * 3 * 32 * 32)):
        images = torch.zeros(9, 3, 32, 32, dtype=dtype)
        images[:, 0] = 255 if dtype == torch.uint8 else 1
        source = ImageSource(images)
        free = 10 * bytes_each
        held_on_device(source, CPU, progress=False)
        free -= 2
        with pytest.raises(ValueError, match=r"9 images of \(3, 32, 32\) need 0.00 GB"):
            held_on_device(source, CPU, progress=False)
    free = int(1.2e7)
    many = ImageSource(torch.eye(3).view(3, 3, 1, 1).expand(-1, -1, 1000, 1000))
    with pytest.raises(ValueError, match=r"need 0\.04 GB on cpu, where 0\.01 GB are free"):
        held_on_device(many, CPU, progress=False)


def test_labels_lie_with_the_images_where_all_have_one() -> None:
    images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    images[..., 0] = 255
    items = [(image, number * 7) for number, image in enumerate(images)]
    held = held_on_device(ImageSource(items), CPU, progress=False)
    assert held.stored is not None and held.stored.labels is not None
    assert held.stored.labels.tolist() == [0, 7, 14, 21]
    broken = [*items[:2], (b"no image", 3), items[3]]
    held = held_on_device(ImageSource(broken, 32, 3, on_error="skip"), CPU, progress=False)
    assert held.stored is not None and held.stored.labels is not None
    assert held.stored.labels.tolist() == [0, 7, 0, 21]
    assert held.stored.unreadable == {2}
    partly: list[Any] = [*items[:2], images[2], items[3]]
    held = held_on_device(ImageSource(partly), CPU, progress=False)
    assert held.stored is not None and held.stored.labels is None


def test_labels_of_several_shapes_are_left_to_the_items() -> None:
    images = torch.zeros(258, 3, 32, 32, dtype=torch.uint8)
    images[..., 0] = 255
    items = [(image, [1] if place < 256 else [1, 2]) for place, image in enumerate(images)]
    held = held_on_device(ImageSource(items), CPU, progress=False)  # two batches
    assert held.stored is not None and held.stored.labels is None


def test_a_source_is_left_as_it_was() -> None:
    source = ImageSource(torch.zeros(4, 3, 32, 32, dtype=torch.uint8))
    held = held_on_device(source, CPU, progress=False)
    assert source.stored is None
    assert held.stored is not None and held is not source
