"""By what labels are known again, and of how many of them."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from super_selfish.data import likeness
from super_selfish.data.sources import ImageSource


@pytest.mark.parametrize(
    ("most_bytes", "looked_at"), [(81, range(10)), (80, range(0, 10, 2)), (27, range(0, 10, 3))]
)
def test_of_many_labels_some_are_looked_at_and_of_few_all(
    most_bytes: int, looked_at: range, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likeness, "_MOST_BYTES", most_bytes)
    images = torch.zeros(10, 3, 32, 32, dtype=torch.uint8)
    images[..., 0] = 255

    def known(labels: torch.Tensor) -> object:
        found = likeness.label_likeness(ImageSource((images, labels)))
        assert found
        return found

    labels = torch.arange(10)  # of 80 bytes
    first = known(labels)
    assert known(labels.clone()) == first
    for place in range(10):
        other = labels.clone()
        other[place] = 99
        assert (known(other) != first) == (place in looked_at)


class Items:
    """Images that are known by their brightness; asking draws, and may change them."""

    def __init__(self, number: int, step: int = 0, *, broken: tuple[int, ...] = ()) -> None:
        self.number, self.step, self.broken = number, step, broken
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> Any:
        self.asked.append(index)
        random.random()
        np.random.rand()  # noqa: NPY002
        torch.rand(1)
        if index in self.broken:
            return b"no image"
        shade = index % 200 + self.step * len(self.asked)
        image = torch.zeros(3, 32, 32, dtype=torch.uint8)
        image[0, :16], image[0, 16:] = shade, 255
        return image


def source(items: Any) -> ImageSource:
    made = ImageSource(items, 32, 3, on_error="skip")
    getattr(items, "asked", []).clear()
    return made


@pytest.mark.parametrize(
    ("number", "asked"),
    [(16, [0, 4, 8, 12]), (301, [0, 80, 160, 240]), (3, [0, 1, 2][::4]), (1, [0])],
)
def test_of_items_four_are_asked_twice(number: int, asked: list[int]) -> None:
    items = Items(number)
    found = likeness.likeness(source(items))
    assert items.asked == 2 * asked
    shades = [(place % 200 + 255) / 6 / 255 for place in asked]
    assert found == {"brightness of some images": pytest.approx(shades, abs=6e-5)}


def test_items_that_change_say_nothing_and_broken_ones_are_known_as_such() -> None:
    assert likeness.likeness(source(Items(5, 1))) == {}
    found = likeness.likeness(source(Items(16, broken=(4,))))["brightness of some images"]
    assert [shade == -1.0 for shade in found] == [False, True, False, False]


def test_all_streams_of_chance_are_left_alone() -> None:
    made = source(Items(5))
    before = streams()
    likeness.likeness(made)
    likeness.label_likeness(made)
    assert made.dataset.asked
    assert streams() == before


def streams() -> list[Any]:
    numpy: Any = np.random.get_state()  # noqa: NPY002
    return [random.getstate(), numpy[1].tolist(), numpy[2], torch.get_rng_state().tolist()]


@pytest.mark.parametrize("number", [1, 15, 16, 17, 100])
def test_of_an_array_sixteen_rows_are_looked_at_from_the_first_to_the_last(number: int) -> None:
    images = torch.zeros(number, 3, 32, 32, dtype=torch.uint8)
    images[..., 0] = 255
    rows = {place * (number - 1) // 15 for place in range(16)}
    first = likeness.likeness(ImageSource(images))
    assert list(first) == ["images (digest of some)"]
    assert len(first["images (digest of some)"]) == 12
    for place in range(number):
        other = images.clone()
        other[place, 0, 5, 5] = 9
        assert (likeness.likeness(ImageSource(other)) != first) == (place in rows)


def test_labels_of_items_are_known_by_four_of_them() -> None:
    def known(labels: list[Any]) -> Any:
        image = torch.zeros(3, 32, 32, dtype=torch.uint8)
        image[..., 0] = 255
        return likeness.label_likeness(ImageSource(Labelled([(image, each) for each in labels])))

    labels: list[Any] = list(range(10))
    first = known(labels)
    assert list(first) == ["labels (digest)"]
    for place in range(10):
        other = [*labels[:place], 99, *labels[place + 1 :]]
        assert (known(other) != first) == (place in (0, 3, 6, 9))
    assert known([None] * 10) == {}


class Labelled(list[Any]):
    """Of which nobody knows the labels without asking."""


@pytest.mark.parametrize(
    ("files", "digest_of"),
    [
        (["a/1.png", "a/2.png"], [b"1.png", b"2.png"]),
        (["a/1.png", "b/1.png"], [b"a/1.png", b"b/1.png"]),
        (["a/1.png", "a/b/c/1.png"], [b"1.png", b"b/c/1.png"]),
        (["a/1.png", "./a/../a/2.png"], [b"1.png", b"2.png"]),
        (["a/1.png"], [b"1.png"]),
        (["a/1.png"] * 3, [b".", b".", b"."]),
    ],
)
def test_files_are_known_by_their_names_below_the_folder_of_all(
    files: list[str], digest_of: list[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in files:
        path = Path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    found = likeness.likeness(ImageSource(files))
    expected = hashlib.sha256(b"\0".join(digest_of)).hexdigest()[:12]
    assert found == {"names of the image files (digest)": expected}
