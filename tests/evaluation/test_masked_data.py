"""Images with masks, in every form that a user may have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

from super_selfish.data import ImageSource, MaskFolder
from super_selfish.data.masks import Masks
from super_selfish.evaluation.features import LabelledSource
from super_selfish.evaluation.masked_data import check_masks_fit, open_masked
from super_selfish.evaluation.scoring import check_parts_fit, metric_of

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randint(0, 256, (4, 3, 32, 40), generator=GENERATOR, dtype=torch.uint8)
MASKS = torch.randint(1, 4, (4, 32, 40), generator=GENERATOR)


class Pairs(Dataset[Any]):
    """Items of some kind."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, index: int) -> Any:
        image, mask = IMAGES[index], MASKS[index]
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        return {
            "pictures": (picture, Image.fromarray(mask.numpy().astype(np.uint8))),
            "tensors": (image, mask),
            "channel": [image.float() / 255, mask[None].to(torch.uint8)],
            "dictionary": {"image": picture, "mask": mask.numpy()},
            "labels": (image, 3),
            "vectors": (image, torch.tensor([0, 1])),
            "nothing": image,
        }[self.kind]


def stored(root: Path, masks: str = "annotations/trimaps") -> Path:
    """The images as files, the second one turned by EXIF."""
    for place in (root / "images", root / masks):
        place.mkdir(parents=True)
    for index, (image, mask) in enumerate(zip(IMAGES, MASKS, strict=True)):
        pixels = image.permute(1, 2, 0)
        exif = Image.Exif()
        if index == 1:
            exif[0x0112] = 8  # to be turned by a quarter
            pixels = pixels.rot90(-1)
        Image.fromarray(pixels.numpy()).save(root / "images" / f"{index}.png", exif=exif)
        Image.fromarray(mask.numpy().astype(np.uint8)).save(root / masks / f"{index}.png")
    return root


def opened(data: Any, **options: Any) -> tuple[ImageSource, Masks]:
    source = open_masked(data, **options)
    assert source.labels is None and source.masks is not None
    return source.images, source.masks


@pytest.mark.parametrize(
    "data",
    [
        (IMAGES, MASKS),
        (IMAGES, MASKS[:, None].numpy()),
        (IMAGES, list(MASKS.to(torch.uint8))),
        (list(IMAGES), MASKS),
        TensorDataset(IMAGES, MASKS),
        *map(Pairs, ("pictures", "tensors", "channel", "dictionary")),
        ImageSource(Pairs("pictures")),
        ImageSource(Pairs("tensors")),
    ],
)
def test_images_and_masks_stay_together(data: Any) -> None:
    source, masks = opened(data)
    assert masks.numbers.dtype == torch.uint8
    assert torch.equal(masks.numbers.long(), MASKS)
    assert torch.equal(_images_of(source).float(), _scaled(source))
    assert masks.classes.tolist() == [1, 2, 3]
    assert open_masked(LabelledSource(source, None, masks)).masks is masks


def _images_of(source: ImageSource) -> Tensor:
    samples: list[Any] = [source[index] for index in range(len(source))]
    return torch.stack([sample.image for sample in samples])


def _scaled(source: ImageSource) -> Tensor:
    return IMAGES.float() / (1 if _images_of(source).dtype == torch.uint8 else 255)


def test_a_folder_of_oxford_is_read_with_its_names(tmp_path: Path) -> None:
    stored(tmp_path)
    for data in (tmp_path, str(tmp_path), MaskFolder(tmp_path)):
        source, masks = opened(data)
        assert torch.equal(masks.numbers.long(), MASKS)
        assert torch.equal(_images_of(source), IMAGES)
        assert masks.names == {1: "pet", 2: "background", 3: "border"}
    source, masks = opened(Subset(MaskFolder(tmp_path, ignored=[3]), [2, 0]))
    assert torch.equal(_images_of(source)[0], IMAGES[2])
    assert torch.equal(masks.numbers.long(), MASKS[[2, 0]].masked_fill(MASKS[[2, 0]] == 3, 255))
    assert masks.names[1] == "pet"


def test_masks_follow_the_images_to_another_size() -> None:
    blocks = torch.arange(20).reshape(4, 5).repeat_interleave(8, 0).repeat_interleave(8, 1)
    for data in ((IMAGES[:1], blocks[None]), [(IMAGES[0], blocks)]):
        source, masks = opened(data, image_size=16)
        assert source.image_size == (16, 16)
        half = blocks[::2, ::2]  # 16x20, of which two columns go on each side
        assert torch.equal(masks.numbers[0].long(), half[:, 2:18])


def test_masks_that_were_given_are_left_as_they_are() -> None:
    numbers = MASKS.to(torch.uint8)
    _, masks = opened((IMAGES, numbers))
    masks.numbers.zero_()
    assert torch.equal(numbers.long(), MASKS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((IMAGES, MASKS[:3]), "got 4 images and 3 masks"),
        ((IMAGES, MASKS[:, :31]), "item 0 is 32x40 pixels, but its mask is 31x40"),
        ((IMAGES, [*MASKS[:3], MASKS[3, :, 1:]]), "item 3 is 32x40 pixels, but its mask is 32x39"),
        ((IMAGES, MASKS.float()), "must be whole"),
        ((IMAGES, [*MASKS[:3], MASKS[3] + 300]), "mask of item 3: .* got 301 to 303"),
        ((IMAGES, MASKS[..., None, None]), r"masks must be \[N, H, W\], got \[4, 32, 40, 1, 1\]"),
        ((IMAGES, "masks"), "must be a tensor, an array or a list, got str"),
        ((IMAGES, torch.full_like(MASKS, 255)), "no pixel of any mask counts"),
        (Pairs("labels"), "item 0 has a label instead of a mask: give a pair"),
        (Pairs("vectors"), "item 0 has a label instead of a mask"),
        (Pairs("nothing"), "item 0 has none instead of a mask"),
        (LabelledSource(ImageSource(IMAGES), None), "segmentation needs masks: give a pair"),
    ],
)
def test_what_does_not_fit_is_named(data: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        open_masked(data)


def test_numbers_that_no_class_has_are_named(tmp_path: Path) -> None:
    stored(tmp_path)
    mask = MASKS[2].numpy().astype(np.uint8)
    mask[3, 4], mask[0, 0] = 7, 255
    Image.fromarray(mask).save(tmp_path / "annotations/trimaps/2.png")
    with pytest.raises(
        ValueError, match=r"\[7\], 7 first in mask 2; known are 1 \(pet\), 2 \(backg"
    ):
        open_masked(tmp_path)
    _, masks = opened(MaskFolder(tmp_path, ignored=[7]))
    assert masks.classes.tolist() == [1, 2, 3]


def test_broken_masks_are_named(tmp_path: Path) -> None:
    stored(tmp_path, "masks")
    (tmp_path / "masks/1.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"mask of .*masks/1\.png: cannot identify"):
        open_masked(tmp_path)


def test_of_images_that_are_skipped_no_pixel_counts(tmp_path: Path) -> None:
    stored(tmp_path, "masks")
    (tmp_path / "images/1.png").write_bytes(b"nothing")
    with pytest.raises((OSError, ValueError), match=r"images/1\.png"):
        open_masked(tmp_path)
    source = ImageSource(MaskFolder(tmp_path), on_error="skip")
    _, masks = opened(source)
    assert [len(mask.unique()) for mask in masks.numbers] == [3, 1, 3, 3]
    assert (masks.numbers[1] == 255).all()


def parts(train: Tensor, test: Tensor, *names: dict[int, str]) -> tuple[Masks, Masks]:
    ours, theirs = names or ({}, {})
    return Masks(train.to(torch.uint8), ours), Masks(test.to(torch.uint8), theirs)


def test_parts_that_cannot_be_rated_by_one_another_are_refused() -> None:
    check_masks_fit(*parts(MASKS, torch.ones(1, 2, 2)))
    only = torch.zeros(1, 4, 4)
    with pytest.raises(ValueError, match=r"one class only, 0$"):
        check_masks_fit(*parts(only, MASKS))
    only[0, 1, 1] = 255
    with pytest.raises(ValueError, match="one class only, 0; 255 means pixels that do not count"):
        check_masks_fit(*parts(only, MASKS))
    check_masks_fit(*parts(MASKS, MASKS, {1: "cat", 2: "dog"}, {2: "dog", 3: "cow"}))
    with pytest.raises(
        ValueError, match="class 2 is 'dog' in the train part and 'cow' in the test"
    ):
        check_masks_fit(*parts(MASKS, MASKS, {1: "cat", 2: "dog"}, {2: "cow"}))


def test_the_checks_of_all_data_know_masks() -> None:
    train, test = open_masked((IMAGES, MASKS)), open_masked((IMAGES, MASKS))
    check_parts_fit(train, test)
    assert metric_of(train) == "mean IoU"
    with pytest.raises(ValueError, match="one class only"):
        check_parts_fit(open_masked((IMAGES, torch.ones_like(MASKS))), test)


def test_tensors_of_images_and_masks_go_in_as_a_data_set_of_torch() -> None:
    found = open_masked(TensorDataset(IMAGES, MASKS), None, None).masks
    plain = open_masked((IMAGES, MASKS), None, None).masks
    assert found is not None and plain is not None
    assert torch.equal(found.numbers, plain.numbers)
