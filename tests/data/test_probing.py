"""A look at some images, and the size that follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from super_selfish.data import probing
from super_selfish.data.probing import default_size, look, size_in_words
from super_selfish.data.sources import ImageSource


class Items(list[Any]):
    """Notes which of them are asked for."""

    def __init__(self, *items: Any) -> None:
        super().__init__(items)
        self.asked: list[Any] = []

    def __getitem__(self, index: Any) -> Any:
        self.asked.append(index)
        return super().__getitem__(index)


def image(height: int = 32, width: int = 40) -> torch.Tensor:
    made = torch.zeros(3, height, width, dtype=torch.uint8)
    made[..., width // 2 :] = 255
    return made


def test_of_many_items_thirty_two_are_looked_at() -> None:
    items = Items(*[image()] * 63)
    source = ImageSource(items)
    items.asked.clear()
    found = look(source)
    assert found.indices == [2 * place for place in range(32)]
    assert set(items.asked) == set(found.indices)
    assert found.shapes == [(3, 32, 40)] * 32
    assert len(found.numbers) == 32


def test_of_an_array_the_first_tells_all() -> None:
    found = look(ImageSource(torch.stack([image()] * 9)))
    assert (found.indices, found.shapes, found.numbers) == ([0], [(3, 32, 40)], [])


def test_of_files_headers_are_read_and_of_a_users_reader_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "_PROBED_HEADERS", 4)
    monkeypatch.setattr(probing, "_PROBED_ITEMS", 3)
    for number in range(7):
        pixels = image(32, 33 + number).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    found = look(ImageSource(tmp_path))
    assert found.indices == [0, 2, 4, 6]
    assert [width for _, _, width in found.shapes] == [33, 35, 37, 39]
    assert found.numbers == []
    source = ImageSource(tmp_path, loader=lambda path: np.asarray(Image.open(path)))
    found = look(source)
    assert (found.indices, len(found.numbers)) == ([0, 3, 6], 3)


def test_where_all_that_are_looked_at_are_broken_the_first_other_one_tells() -> None:
    items = Items(*[None] * 80)
    items[3], items[4] = image(), image(50)  # between the third and the fourth that is looked at
    source = ImageSource(items, on_error="skip")
    assert [place * 79 // 31 for place in range(1, 3)] == [2, 5]
    found = look(source)
    assert found.indices == [3]
    assert len(found.shapes) == 1
    broken = [*[None] * 40]
    with pytest.raises(ValueError, match="none can be read of 40 images looked at; item 0: "):
        ImageSource(broken, on_error="skip")
    with pytest.raises((ValueError, OSError), match="cannot read image item 0"):
        ImageSource(broken)


@pytest.mark.parametrize(
    ("sizes", "size", "said"),
    [
        ([(40, 50)] * 2, (40, 50), None),
        ([(32, 32)], (32, 32), None),
        (
            [(28, 31)],
            (32, 32),
            "Images of 28x31 pixels become 32x32, as networks need sides of 32 pixels; ",
        ),
        ([(100, 20)], (100, 32), "Images of 100x20 pixels become 100x32, as networks need"),
        (
            [(40, 50), (40, 51)],
            (225, 225),
            "Images of different sizes become 225x225, as networks take images of one size; ",
        ),
    ],
)
def test_images_keep_their_size_where_it_is_one_and_large_enough(
    sizes: Any, size: Any, said: str | None
) -> None:
    shapes = [(3, *each) for each in sizes]
    assert default_size(shapes) == size
    words = size_in_words(shapes, size)
    assert words is None if said is None else str(words).startswith(said)
