"""Samples of tar shards are known by their files."""

from __future__ import annotations

from typing import Any

import pytest

from super_selfish.data.tar_items import as_item, is_tar_item, name_of


def test_a_sample_of_a_shard_is_a_dict_with_a_key() -> None:
    assert is_tar_item({"__key__": "1"})
    for other in ({"key": "1"}, ["__key__"], "__key__", None):
        assert not is_tar_item(other)
        assert as_item(other) is other
        assert name_of(other) is None


@pytest.mark.parametrize("ending", ["jpg", "PNG", "seg.tif", "image"])
def test_the_image_is_found_by_its_ending(ending: str) -> None:
    sample = {"__key__": "1", "__url__.jpg": "x", "txt": "no", "imagejpg": "no", ending: "yes"}
    assert as_item(sample) == {"image": "yes", "label": None}


@pytest.mark.parametrize(
    ("text", "label"),
    [
        *((b"7", 7), (b" 12\n", 12), (b"-1", -1), (b"cat", None), (b"", None), (b"1.5", None)),
        *((b"\xff", None), ("\u0663".encode(), None), (3, 3), ("3", "3"), (None, None)),
    ],
)
@pytest.mark.parametrize("name", ["cls", "label", "index.cls"])
def test_the_class_is_the_number_in_its_file(name: str, text: Any, label: Any) -> None:
    assert as_item({"__key__": "1", "jpg": 0, name: text}) == {"image": 0, "label": label}


def test_of_several_classes_the_first_by_the_names_counts() -> None:
    sample = {"__key__": "1", "index.cls": b"3", "label": b"2", "cls": b"1", "a.png": 0, "b.png": 1}
    assert as_item(sample) == {"image": 0, "label": 1}


def test_a_sample_without_an_image_is_told_with_what_it_has() -> None:
    sample = {"__key__": "1", "__url__": "a.tar", "txt": "x", "cls": 1}
    with pytest.raises(TypeError, match=r"sample a.tar: 1 has no image among \['txt', 'cls'\]"):
        as_item(sample)


def test_the_name_of_a_sample_holds_its_shard_where_that_is_known() -> None:
    assert name_of({"__key__": 1}) == "1"
    assert name_of({"__key__": "1", "__url__": "a.tar"}) == "a.tar: 1"
