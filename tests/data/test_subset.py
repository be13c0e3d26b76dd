from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from super_selfish.data.collate import LabelCollator
from super_selfish.data.sources import ImageSource, Sample, Unreadable, images_at, labels_of


def test_it_shows_the_chosen_images_under_their_new_positions(images: Tensor) -> None:
    subset = ImageSource((images, torch.arange(22) * 10)).subset([4, 21, 0])
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
    subset = source.subset([1])
    assert subset.dataset is images
    assert (subset.image_size, subset.in_channels) == ((48, 48), 1)
    assert torch.equal(subset.raw(0), images[1])


def test_broken_files_are_skipped_under_their_own_name(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    (tmp_path / "c.png").write_bytes(b"nothing")
    subset = ImageSource(tmp_path, 32, 3, on_error="skip").subset([1, 2])
    broken = subset[1]
    assert isinstance(broken, Unreadable)
    assert broken.index == 1
    assert broken.name.endswith("c.png")
    assert subset.name(0).endswith("b.png")


def test_wrong_indices_are_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match="at least one index"):
        ImageSource(images).subset([])
    with pytest.raises(ValueError, match=r"indices must lie in \[0, 22\), got 0 to 22"):
        ImageSource(images).subset([0, 22])


def test_other_labels_are_given_whichever_way_they_are_asked_for(
    images: Tensor, tmp_path: Path
) -> None:
    for number in range(4):
        Image.fromarray(images[number].permute(1, 2, 0).numpy()).save(tmp_path / f"{number}.png")
    kinds = {
        "array": ImageSource((images[:4], torch.arange(4))),
        "dataset": ImageSource([(image, 9) for image in images[:4]]),
        "files": ImageSource(tmp_path),
        "cache": ImageSource(tmp_path, cache=tmp_path / "cache"),
    }
    for kind, source in kinds.items():
        other = source.with_labels([5, 6, 7, 8])
        part = other.subset([3, 1])
        assert labels_of(other).tolist() == [5, 6, 7, 8], kind  # type: ignore[union-attr]
        assert labels_of(part).tolist() == [8, 6]  # type: ignore[union-attr]
        for position, (index, label) in enumerate(((3, 8), (1, 6))):
            sample = part[position]
            assert isinstance(sample, Sample) and sample.label == label == part.label(position)
            assert sample.index == position and torch.equal(sample.image, images[index])
            assert part.raw(position)[1] == label
        batch = LabelCollator().stack(part.__getitems__([1, 0]))
        assert batch.labels is not None and batch.labels.tolist() == [6, 8]
        assert torch.equal(batch.images, images[[1, 3]])
    cached = kinds["files"].with_labels([5, 6, 7, 8]).subset([2]).cached(tmp_path / "other")
    assert isinstance(cached[0], Sample) and cached[0].label == 7 and not cached.decodes_files
    assert (tmp_path / "other.npy").stat().st_size > images[:4].nbytes  # of all images


def test_names_of_classes_are_those_of_the_labels_that_the_dataset_has(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (32, 32)).save(tmp_path / name / "a.png")
    source = ImageSource(tmp_path)
    assert source.subset([1]).classes == ["cat", "dog"]
    assert source.with_labels([0, 0]).classes is None


def test_wrong_numbers_of_labels_are_refused(images: Tensor) -> None:
    source = ImageSource(images)
    for labels in (torch.arange(21), torch.tensor(3)):
        with pytest.raises(ValueError, match="expected one label an image, got labels"):
            source.with_labels(labels)
