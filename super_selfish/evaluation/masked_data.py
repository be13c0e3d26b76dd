"""Opens images with masks, and looks at all masks before anything is computed.

Shapes: `N` images, `H, W` height, width in pixels.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Subset, TensorDataset

from super_selfish.data.conversion import numbers_from
from super_selfish.data.decoding import DECODING_ERRORS, read_header
from super_selfish.data.files import FileList
from super_selfish.data.items import LABEL_KEYS, ArrayItems, is_path, split_item
from super_selfish.data.mask_folder import MaskFolder
from super_selfish.data.masks import IGNORED, Masks, checked_numbers, fit_mask, read_mask
from super_selfish.data.samples import ReadingError
from super_selfish.data.sources import ImageSource
from super_selfish.evaluation.features import LabelledSource, open_images
from super_selfish.training.counting import plural
from super_selfish.training.display import DELAY, open_bar
from super_selfish.training.distributed import rank

MASK_KEYS = ("mask", "masks", "segmentation_mask", *LABEL_KEYS)
_FORMS = (
    "a pair (images, masks), a dataset whose items are (image, mask), or a folder with images/ and "
    "masks/ or annotations/trimaps/"
)


def open_masked(
    data: Any,
    image_size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
    reading: Mapping[str, Any] | None = None,
) -> LabelledSource:
    """Opens images with masks; all masks are read, checked, and brought to the size of the images.

    Args:
        data: A pair `(images, masks)`: whatever `as_source` takes, and as many masks as a tensor or
            array `[N, H, W]` or a list of what `read_mask` takes; a dataset whose items are
            `(image, mask)`, or dictionaries with "image" and "mask"; a `MaskFolder`, or the path
            of its folder.
        image_size: As for `as_source`.
        in_channels: As for `as_source`.
        reading: As for `open_data`.

    Returns:
        The source, with `masks`.

    Raises:
        ValueError: If there are no masks, not as many as images, one is of another size than its
            image, or has numbers that no class has.
        TypeError: If a mask is none.
    """
    if isinstance(data, LabelledSource):
        if data.masks is None:
            raise ValueError(f"segmentation needs masks: give {_FORMS}")
        images = open_images(data.images, image_size, in_channels, reading)
        return data._replace(images=images)
    if isinstance(data, str | os.PathLike):
        data = MaskFolder(data)
    if isinstance(data, TensorDataset) and len(data.tensors) == 2:
        data = data.tensors
    if isinstance(data, tuple) and len(data) == 2:
        source = open_images(data[0], image_size, in_channels, reading)
        numbers = _given(source, data[1])
    else:
        source = open_images(data, image_size, in_channels, reading)
        numbers = _read(source, None)
    folder = data
    while isinstance(folder, Subset):
        folder = folder.dataset
    names: Mapping[int, str] | None = getattr(folder, "numbers", None)
    for number in getattr(folder, "ignored", ()):
        numbers[numbers == number] = IGNORED
    masks = Masks(numbers, names or {})
    _check_numbers(masks, names)
    return LabelledSource(source, None, masks)


def check_masks_fit(train: Masks, test: Masks) -> None:
    """Refuses parts that cannot be rated by one another.

    Raises:
        ValueError: If the training part has one class only, or one number has two names.
    """
    classes = train.classes.tolist()
    if len(classes) < 2:
        also = ""
        if bool((train.numbers == IGNORED).any()):
            also = f"; {IGNORED} means pixels that do not count: if it is the object, make it 1"
        raise ValueError(f"masks of the train part have one class only, {classes[0]}{also}")
    for number in sorted(train.names.keys() & test.names.keys()):
        ours, theirs = train.names[number], test.names[number]
        if ours != theirs:
            raise ValueError(
                f"class {number} is {ours!r} in the train part and {theirs!r} in the test part: "
                "number classes alike"
            )


def _check_numbers(masks: Masks, names: Mapping[int, str] | None) -> None:
    found = masks.classes.tolist()
    if not found:
        raise ValueError(f"no pixel of any mask counts: all of them are {IGNORED}")
    unknown = [number for number in found if names is not None and number not in names]
    if unknown and names is not None:
        place = next(i for i, mask in enumerate(masks.numbers) if bool((mask == unknown[0]).any()))
        known = ", ".join(f"{number} ({name})" for number, name in names.items())
        raise ValueError(
            f"masks have numbers that no class has: {unknown[:5]}, {unknown[0]} first in mask "
            f"{place}; known are {known}, and {IGNORED} for pixels that do not count"
        )


def _given(source: ImageSource, masks: Any) -> Tensor:
    """Masks that came apart from the images, `[N, H, W]` at the size of the source."""
    if not hasattr(masks, "__len__") or is_path(masks):
        raise TypeError(f"masks must be a tensor, an array or a list, got {type(masks).__name__}")
    if len(masks) != len(source):
        raise ValueError(
            f"expected a mask for each image, got {plural(len(source), 'image')} and "
            f"{plural(len(masks), 'mask')}"
        )
    if isinstance(masks, np.ndarray):
        masks = torch.as_tensor(masks)
    if not isinstance(masks, Tensor) or not isinstance(source.items, ArrayItems):
        return _read(source, masks)
    masks = masks.detach().cpu()
    masks = masks[:, 0] if masks.ndim == 4 and masks.shape[1] == 1 else masks
    if masks.ndim != 3:
        raise ValueError(f"masks must be [N, H, W], got {list(masks.shape)}")
    _compare(source, 0, source.read_numbers(0, None)[0].shape, masks.shape)
    return fit_mask(checked_numbers(masks), source.image_size).contiguous().clone()


def _read(source: ImageSource, masks: Sequence[Any] | None) -> Tensor:
    """Masks one by one, of the items if they did not come apart."""
    numbers = torch.full((len(source), *source.image_size), IGNORED, dtype=torch.uint8)
    with open_bar("Masks", len(source), "mask", shown=rank() == 0, delay=DELAY) as bar:
        for index in range(len(source)):
            bar.update()
            try:
                item = source.item(index)
                given = _mask_of(source, index, item) if masks is None else masks[index]
                shape = _shape_of(source, index, split_item(item).image)
            except ReadingError as error:
                if source.on_error == "skip":  # no pixel of it counts
                    continue
                source.fail(index, error)
            try:
                mask = read_mask(given)
            except (TypeError, *DECODING_ERRORS) as error:
                name = given if is_path(given) else source.name(index)
                raise ValueError(f"mask of {name}: {error}") from error
            _compare(source, index, shape, mask.shape)
            numbers[index] = fit_mask(mask, source.image_size)
    return numbers


def _mask_of(source: ImageSource, index: int, item: Any) -> Any:
    """The mask in an item."""
    if isinstance(item, Mapping):
        mask = next((item[key] for key in MASK_KEYS if key in item), None)
    else:
        mask = item[1] if isinstance(item, tuple | list) and len(item) > 1 else None
    if mask is None or isinstance(mask, int | np.integer) or getattr(mask, "ndim", 2) < 2:
        what = "none" if mask is None else "a label"
        raise ValueError(f"{source.name(index)} has {what} instead of a mask: give {_FORMS}")
    return mask


def _shape_of(source: ImageSource, index: int, image: Any) -> Sequence[int]:
    """Shape of an image that ends in its own height and width; of files by their header."""
    shape: Sequence[int] | None = None
    if isinstance(image, Image.Image):
        shape = image.height, image.width
    elif isinstance(source.items, FileList):
        shape = source.reader.shape(source.items, index)
    elif is_path(image) and source.reader.loader is None:
        try:
            shape = read_header(os.path.expanduser(os.fspath(image)), source.reader.pages)
        except DECODING_ERRORS as error:
            raise ReadingError(error) from error
    elif isinstance(image, Tensor | np.ndarray):
        shape = numbers_from(image, source.reader.channels).shape
    return source.read_numbers(index, None)[0].shape if shape is None else shape


def _compare(source: ImageSource, index: int, image: Sequence[int], mask: Sequence[int]) -> None:
    ours, theirs = tuple(image[-2:]), tuple(mask[-2:])
    if ours != theirs:
        raise ValueError(
            f"{source.name(index)} is {ours[0]}x{ours[1]} pixels, but its mask is "
            f"{theirs[0]}x{theirs[1]}: a mask has the size of its image"
        )
