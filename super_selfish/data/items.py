"""What a source is made of: something that gives items, and what an item holds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from super_selfish.data.conversion import images_from, select_images
from super_selfish.data.files import FileList
from super_selfish.data.tables import files_of_frame, files_of_table, is_frame, is_table_file
from super_selfish.data.value_range import ValueRange
from super_selfish.training.counting import plural

IMAGE_KEYS = ("image", "img", "pixel_values")
LABEL_KEYS = ("label", "labels", "target", "mask")  # the last is TorchGeo's, a class a pixel


class Item(NamedTuple):
    """One item of a dataset: the image as it came, or its path, and its label."""

    image: object
    label: Tensor | None


class ArrayItems:
    """Images that lie in memory as one tensor or array, with their labels if there are any.

    Attributes:
        images: `[N, C, H, W]`, `[N, H, W, C]` or `[N, H, W]`.
        labels: `[N, ...]` on the CPU, int64 if each is one whole number; or `None`.
    """

    def __init__(self, images: Tensor | NDArray[np.generic], labels: Tensor | None) -> None:
        if images.ndim not in (3, 4):
            raise ValueError(
                "images in one tensor or array must be [N, C, H, W], [N, H, W, C] or [N, H, W], "
                f"got shape {list(images.shape)}"
            )
        if labels is not None and len(labels) != len(images):
            raise ValueError(
                f"got {plural(len(images), 'image')} but {plural(len(labels), 'label')}"
            )
        self.images = images
        self.labels = None if labels is None else as_column(labels)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        """One image, with its label where there is one."""
        image = self.images[index]
        return image if self.labels is None else (image, self.labels[index])

    def select(
        self, indices: Tensor, values: ValueRange | None = None, channels: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Some images `[B, C, H, W]` at once, with their labels `[B, ...]`.

        Args:
            indices: `[B]`, int64.
            values: Which numbers are black and white, where the type does not say it.
            channels: How many the user says there are.

        Raises:
            TypeError: They cannot be images.
            ValueError: The same.
        """
        if isinstance(self.images, Tensor):
            chosen: Any = select_images(self.images, indices.to(self.images.device))
        else:
            chosen = self.images[indices.numpy()]
        labels = None if self.labels is None else self.labels[indices]
        return images_from(chosen, values, channels), labels


def items_of(data: Any, *, every: bool = False) -> Any:
    """Makes of a source's data something that gives its items one by one.

    Args:
        data: As for `ImageSource`.
        every: Whether files of any ending are taken from folders, for a reader of the user's own.

    Returns:
        A `FileList`, an `ArrayItems`, or `data` itself: it has `__len__` and `__getitem__`.

    Raises:
        TypeError: `data` gives no items.
        ValueError: It is empty.
    """
    items: Any
    if isinstance(data, (str, os.PathLike)):
        place = os.path.expanduser(os.fspath(data))
        is_table = not every and is_table_file(place)
        items = files_of_table(place) if is_table else FileList.from_path(data, every=every)
    elif is_frame(data):
        items = files_of_frame(data)
    elif isinstance(data, (Tensor, np.ndarray)):
        items = ArrayItems(data, None)
    elif _is_images_with_labels(data):
        items = ArrayItems(data[0], _column(data[1]))
    elif isinstance(data, (list, tuple)) and data and all(is_path(entry) for entry in data):
        items = FileList([os.path.expanduser(os.fspath(entry)) for entry in data])
    elif isinstance(data, Iterator):
        items = FileList(_paths_of(data))
    elif isinstance(data, Mapping) or not (
        hasattr(data, "__len__") and hasattr(data, "__getitem__")
    ):
        hint = f"; choose one of {list(data)}" if isinstance(data, Mapping) else ""
        raise TypeError(
            "expected a dataset with __len__ and __getitem__, a folder, a pattern such as "
            "'scans/**/*.tif', a table with a column of paths, a list of files or images, or a "
            "tensor [N, C, H, W], got "
            f"{type(data).__name__}{hint}"
        )
    else:
        items = data
    if len(items) == 0:
        raise ValueError("expected at least one image, got an empty dataset")
    return items


def _paths_of(iterator: Iterator[object]) -> list[str]:
    """Files that `pathlib`'s `glob` or another generator names, in the order of their paths.

    A folder is searched in an order that differs from system to system, and runs shall not.
    """
    paths = list(iterator)
    others = [type(path).__name__ for path in paths if not is_path(path)]
    if others:
        raise TypeError(
            f"a generator is taken as one of paths of images, but it gives a {others[0]}: give a "
            "list, or a dataset with __len__ and __getitem__"
        )
    files = (Path(os.path.expanduser(os.fspath(path))) for path in paths)  # type: ignore[call-overload]
    return [str(file) for file in sorted(files, key=lambda file: file.parts)]


def _column(given: Any) -> Tensor:
    """Labels of an array of images as a tensor.

    Raises:
        TypeError: They are text, or else no numbers.
    """
    if isinstance(given, Tensor):
        return given
    array = np.array(given)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"labels must be numbers, those of classes from 0, got {array.dtype} such as "
            f"{array.flat[0]!r}: number the classes, as np.unique(names, return_inverse=True) does"
        )
    return torch.as_tensor(array)


def _is_images_with_labels(data: Any) -> bool:
    """Whether `data` is `(images, labels)`, and not two images."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        return False
    images, given = data
    if not isinstance(images, (Tensor, np.ndarray)) or images.ndim < 3:
        return False
    if isinstance(given, (Tensor, np.ndarray)):
        return given.ndim in (1, 2)
    return isinstance(given, (list, tuple)) and all(isinstance(label, int) for label in given)


def split_item(item: object) -> Item:
    """Finds the image, and the label if there is one, in an item of a dataset.

    Args:
        item: An image (or path), a named tuple with a field `image` (and `label`), any other
            tuple or list that begins with one, or a mapping that holds one under "image", "img" or
            "pixel_values". The label is the second of the tuple, or under "label", "labels",
            "target" or "mask"; it counts if it is an int, a tensor or an array.

    Raises:
        TypeError: There is no image where one was looked for.
    """
    if isinstance(item, Mapping):
        key = next((key for key in IMAGE_KEYS if key in item), None)
        if key is None:
            raise TypeError(
                f"an item that is a dict must hold its image under one of {list(IMAGE_KEYS)}, "
                f"got the keys {list(item)}"
            )
        label = next((item[key] for key in LABEL_KEYS if key in item), None)
        return Item(item[key], as_label(label))
    if isinstance(item, tuple) and "image" in getattr(item, "_fields", ()):  # such as a Sample
        return Item(getattr(item, "image"), as_label(getattr(item, "label", None)))  # noqa: B009
    if isinstance(item, (tuple, list)):
        if not item:
            raise TypeError("an item that is a tuple must begin with an image, got an empty one")
        return Item(item[0], as_label(item[1]) if len(item) > 1 else None)
    return Item(item, None)


def as_label(label: object) -> Tensor | None:
    """A label as a tensor, int64 if it is one whole number; `None` for what is no label."""
    if isinstance(label, (int, np.integer)):
        number = int(label)
        return torch.tensor(number) if -(2**63) <= number < 2**63 else None
    if isinstance(label, np.generic | np.ndarray) and label.dtype.kind in "biuf":
        if label.dtype.itemsize > 8:  # long double, which torch does not know
            return None
        label = torch.as_tensor(np.array(label, dtype=label.dtype.newbyteorder("=")))
    if not isinstance(label, Tensor):
        return None
    is_whole = not label.dtype.is_floating_point and not label.dtype.is_complex
    label = label.detach().as_subclass(Tensor)
    return label.cpu().to(torch.int64) if label.ndim == 0 and is_whole else label


def as_column(labels: Tensor) -> Tensor:
    """Labels `[N, ...]` on the CPU, int64 if each is one whole number."""
    is_whole = not labels.dtype.is_floating_point and not labels.dtype.is_complex
    labels = labels.detach().cpu()
    return labels.to(torch.int64) if labels.ndim == 1 and is_whole else labels


def is_path(image: object) -> bool:
    """Whether an image is given as the path of its file."""
    return isinstance(image, (str, os.PathLike))
