"""Folders of images and masks."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from super_selfish.data import MaskFolder


def folder(root: Path, masks: str, names: list[str], ending: str = "png") -> Path:
    for place, kind in ((root / "images", "jpg"), (root / masks, ending)):
        place.mkdir(parents=True)
        for name in names:
            Image.new("L", (4, 4)).save(place / f"{name}.{kind}")
    return root


def test_images_and_masks_of_one_name_are_pairs(tmp_path: Path) -> None:
    pairs = MaskFolder(folder(tmp_path, "masks", ["b", "a"]))
    assert [
        tuple(Path(path).relative_to(tmp_path).as_posix() for path in pair)
        for pair in pairs  # type: ignore[attr-defined]
    ] == [
        ("images/a.jpg", "masks/a.png"),
        ("images/b.jpg", "masks/b.png"),
    ]
    assert len(pairs) == 2
    assert pairs.numbers is None


def test_of_oxford_the_lists_of_names_are_read_and_hidden_files_are_not(tmp_path: Path) -> None:
    folder(tmp_path, "annotations/trimaps", ["Abyssinian_1", "pug_2", "pug_10"])
    (tmp_path / "annotations/trimaps/._pug_2.png").write_bytes(b"no picture")
    (tmp_path / "images/Abyssinian_1.mat").write_bytes(b"no picture")
    (tmp_path / "annotations/test.txt").write_text("# name class\npug_2 2 1 1\n\npug_10 2 1 1\n")
    assert len(MaskFolder(tmp_path)) == 3
    test = MaskFolder(str(tmp_path), split="test", ignored=[3])
    assert [Path(path).stem for path, _ in test] == ["pug_10", "pug_2"]  # type: ignore[attr-defined]
    assert test.numbers == {1: "pet", 2: "background", 3: "border"}
    assert test.ignored == (3,)
    with pytest.raises(ValueError, match=r"tests\.txt, which is missing: did you mean 'test'\?"):
        MaskFolder(tmp_path, split="tests")
    (tmp_path / "annotations/test.txt").write_text("gone_1 1\npug_2 1\n")
    with pytest.raises(ValueError, match=r"images lacks 1 image of 2: gone_1$"):
        MaskFolder(tmp_path, split="test")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"but .*images is missing"):
        MaskFolder(tmp_path)
    folder(tmp_path, "masks", ["a", "b", "c", "d", "e"])
    for name in "abcd":
        (tmp_path / f"masks/{name}.png").unlink()
    with pytest.raises(ValueError, match=r"masks lacks 4 masks of 5: a, b, c, \.\.\.$"):
        MaskFolder(tmp_path)
    (tmp_path / "masks/e.png").rename(tmp_path / "masks/e.jpg")
    with pytest.raises(ValueError, match=r"no file in .*masks ends in \.png"):
        MaskFolder(tmp_path)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    folder(tmp_path, "masks", ["a"])
    Image.new("L", (4, 4)).save(tmp_path / "images/a.png")
    with pytest.raises(ValueError, match=r"a\.png and .*a\.jpg have one name"):
        MaskFolder(tmp_path)
