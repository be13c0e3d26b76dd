"""Samples of tar shards, as `webdataset` gives them: a dict of the files that share a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from super_selfish.data.files import IMAGE_ENDINGS

_KEY, _SHARD = "__key__", "__url__"
_LABELS = ("cls", "label", "index.cls")


def is_tar_item(item: object) -> bool:
    """Whether an item is a sample of a tar shard."""
    return isinstance(item, Mapping) and _KEY in item


def as_item(item: Any) -> Any:
    """An item of a stream, as sources know it.

    Args:
        item: Anything; of a sample of a tar shard the image is found by its ending, and the class
            in a file that is called `cls`.

    Raises:
        TypeError: It is a sample without an image.
    """
    if not is_tar_item(item):
        return item
    key = next((key for key in item if _is_image(key)), None)
    if key is None:
        names = [key for key in item if not key.startswith("__")]
        raise TypeError(
            f"sample {name_of(item)} has no image among {names}: name it by an ending such as jpg "
            "or png, or make (image, label) of the samples by .to_tuple()"
        )
    label = next((_number(item[name]) for name in _LABELS if name in item), None)
    return {"image": item[key], "label": label}


def name_of(item: Any) -> str | None:
    """The name of an item, where it has one."""
    if not is_tar_item(item):
        return None
    shard = item.get(_SHARD)
    return f"{shard}: {item[_KEY]}" if shard else str(item[_KEY])


def _is_image(key: str) -> bool:
    ending = "." + key.rpartition(".")[2].lower()
    return not key.startswith("__") and (key == "image" or ending in IMAGE_ENDINGS)


def _number(value: Any) -> Any:
    """The number of a class, that of its text where it is not decoded."""
    if not isinstance(value, bytes):
        return value
    text = value.decode(errors="replace").strip()
    return int(text) if text.isascii() and text.lstrip("-").isdigit() else None
