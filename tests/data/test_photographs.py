from __future__ import annotations

import pytest
import torch

from super_selfish.data.photographs import PHOTOGRAPHS, _parts, _read, photographs
from super_selfish.data.sources import ImageSource, labels_of


def test_patches_are_uint8_colour_with_the_photograph_as_label() -> None:
    patches = photographs(48, per_photograph=5)

    assert patches.images.shape == (5 * len(PHOTOGRAPHS), 3, 48, 48)
    assert patches.images.dtype == torch.uint8
    image, label = patches[7]
    assert torch.equal(image, patches.images[7])
    assert patches.classes[label] == "brick"


def test_the_same_call_gives_the_same_patches() -> None:
    first, second = (photographs(64, split="test", per_photograph=4) for _ in range(2))

    assert torch.equal(first.images, second.images)
    assert torch.equal(first.labels, second.labels)


def test_every_photograph_gives_at_most_its_share() -> None:
    patches = photographs(64, per_photograph=20)

    assert patches.labels.bincount().tolist() == [20] * len(PHOTOGRAPHS)


@pytest.mark.parametrize("file", ["chelsea.png", "retina.jpg"])
def test_no_pixel_is_in_both_splits_and_none_is_lost(file: str) -> None:
    image = _read(file)

    areas = {
        split: sum(part.width * part.height for part in _parts(image, split))
        for split in ("train", "test", "all")
    }

    assert areas["train"] + areas["test"] == areas["all"] == image.width * image.height
    before, after = _parts(image, "train")
    middle = _parts(image, "test")[0]
    assert before.width + middle.width + after.width == image.width


def test_no_patch_of_one_split_is_in_the_other() -> None:
    train, test = (photographs(32, split=split) for split in ("train", "test"))

    seen = {image.numpy().tobytes() for image in train.images}
    assert not any(image.numpy().tobytes() in seen for image in test.images)


def test_nearly_constant_patches_are_left_out() -> None:
    patches = photographs(64, split="all", per_photograph=40)

    contrast = patches.images.to(torch.float64).mean(dim=1).flatten(1).std(dim=1)
    assert contrast.min() > 5.9


def test_a_patch_that_does_not_fit_is_refused_with_the_name_of_the_photograph() -> None:
    with pytest.raises(ValueError, match=r"200 pixels leave no patch of astronaut\.png"):
        photographs(200, split="test")


@pytest.mark.parametrize("option", ["patch", "stride", "per_photograph"])
def test_options_below_one_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} must be at least 1, got 0"):
        photographs(**{option: 0})  # type: ignore[arg-type]


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="split must be"):
        photographs(split="val")  # type: ignore[arg-type]


def test_patches_are_a_source_with_labels() -> None:
    patches = photographs(48, per_photograph=3)
    source = ImageSource(patches)

    assert source.image_size == (48, 48)
    labels = labels_of(source)
    assert labels is not None and torch.equal(labels, patches.labels)
