from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from super_selfish.data.sources import ImageSource, Sample, Unreadable, images_at, labels_of
from super_selfish.data.subset import ImageSubset


def test_it_shows_the_chosen_images_under_their_new_positions(images: Tensor) -> None:
    subset = ImageSubset(ImageSource((images, torch.arange(22) * 10)), [4, 21, 0])
    assert len(subset) == 3
    for position, index in enumerate((4, 21, 0)):
        sample = subset[position]
        assert isinstance(sample, Sample)
        assert sample.index == position
        assert torch.equal(sample.image, images[index])
        assert subset.label(position) == index * 10
    labels = labels_of(subset)
    assert labels is not None
    assert labels.tolist() == [40, 210, 0]
    assert torch.equal(images_at(subset, [1, 2]), images[[21, 0]])
    with pytest.raises(IndexError, match="out of range for 3 images"):
        subset[3]


def test_it_keeps_what_the_source_says_of_itself(images: Tensor) -> None:
    source = ImageSource(images, 48, 1)
    subset = ImageSubset(source, [1])
    assert subset.dataset is images
    assert (subset.image_size, subset.in_channels) == ((48, 48), 1)
    assert torch.equal(subset.raw(0), images[1])


def test_broken_files_are_skipped_under_their_own_name(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    (tmp_path / "c.png").write_bytes(b"nothing")
    subset = ImageSubset(ImageSource(tmp_path, 32, 3, on_error="skip"), [1, 2])
    broken = subset[1]
    assert isinstance(broken, Unreadable)
    assert broken.index == 1
    assert broken.name.endswith("c.png")
    assert subset.name(0).endswith("b.png")


def test_wrong_indices_are_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match="at least one index"):
        ImageSubset(ImageSource(images), [])
    with pytest.raises(ValueError, match=r"indices must lie in \[0, 22\), got 0 to 22"):
        ImageSubset(ImageSource(images), [0, 22])
